"""The code that decides a sweep's outcome, as a checksum: the same on every node, or the results do not compare."""

from __future__ import annotations

from pathlib import Path

import components
from pipelines.sweep.record import digest_of

# Packages that shape a sweep.
DECISIVE = ("sweep", "settings")


def code_digest() -> str:
    """Return a digest of the code that decides a sweep's outcome."""
    here, parts = Path(__file__).parents[1], Path(components.__file__).parent
    files = {f"{name}/{path.name}": path for name in DECISIVE for path in (here / name).glob("*.py")}
    for path in parts.rglob("*.py"):
        if path.is_file() and not path.name.startswith("."):  # an editor's lock is no code
            files[f"components/{path.relative_to(parts).as_posix()}"] = path
    return digest_of(*((name, files[name].read_text(encoding="utf-8")) for name in sorted(files)))
