"""The code that decides a sweep's outcome, as a checksum: the same on every node, or the results do not compare."""

from __future__ import annotations

from pathlib import Path

import components
from pipelines.record import digest_of

# Modules beside this one that shape a sweep.
DECISIVE = ("halving", "journal", "plan", "record", "search", "settings", "suggest", "sweep", "trial")


def code_digest() -> str:
    """Return a digest of the code that decides a sweep's outcome."""
    here, parts = Path(__file__).parent, Path(components.__file__).parent
    files = {f"{name}.py": here / f"{name}.py" for name in DECISIVE}
    for path in parts.rglob("*.py"):
        if path.is_file() and not path.name.startswith("."):  # an editor's lock is no code
            files[f"components/{path.relative_to(parts).as_posix()}"] = path
    return digest_of(*((name, files[name].read_text(encoding="utf-8")) for name in sorted(files)))
