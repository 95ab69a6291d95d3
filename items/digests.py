"""SHA-256 digests of files and of JSON documents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes: 64 hexadecimal digits.

    Raises:
        OSError: the file is not there or cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(document: object) -> str:
    """Return the sha256 of a JSON-able document in canonical form: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
