from __future__ import annotations

from pathlib import Path

from items.digests import json_digest, sha256_of


def test_a_files_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # an example of FIPS 180-2
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_documents_digest_is_that_of_its_canonical_json(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"a":[1,null],"b":"c"}')
    assert json_digest({"b": "c", "a": (1, None)}) == sha256_of(tmp_path / "x")
