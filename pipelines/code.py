"""The code that decides a sweep's outcome, as a checksum: the same on every node, or the results do not compare."""

from __future__ import annotations

from pathlib import Path

import components
from pipelines.record import digest_of

# Modules beside this one that shape a sweep.
DECISIVE = ("halving", "journal", "plan", "search", "settings", "suggest", "sweep", "trial")


def code_digest() -> str:
    """Return a digest of the code that decides a sweep's outcome."""
    here = Path(__file__).parent
    files = [*Path(components.__file__).parent.rglob("*.py"), *(here / f"{name}.py" for name in DECISIVE)]
    return digest_of(*((path.name, path.read_text()) for path in sorted(files)))
