from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from items.errors import ItemError
from items.npy import NpyFile

ARRAY = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", ">i4", "float64", "bool"])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 3, 4), (0, 3), (7, 0)])
def test_rows_are_those_that_numpy_wrote(tmp_path: Path, order, dtype, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    file = NpyFile(tmp_path / "a.npy")
    for start, stop in [(0, 7), (2, 5), (5, 99), (6, 7)]:
        if shape[0]:
            rows = file.rows(start, stop)
            np.testing.assert_array_equal(rows, array[start:stop])
            assert rows.dtype == array.dtype
            assert rows.flags.c_contiguous
    if array.size:
        np.testing.assert_array_equal(file.mapped(), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path: Path, version: tuple[int, int]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, ARRAY, version=version)
    np.testing.assert_array_equal(NpyFile(tmp_path / "a.npy").rows(0, 2), ARRAY)


def with_header(text: str, values: int = 8) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + bytes(values)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin"),
        (b"\x93NUMPY\x09\x00", "version 1, 2 or 3"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "4294967295 bytes, 1 to 10000 are read"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (8,)"), "must be a dictionary"),
        (with_header("'(" * 40), "must be a dictionary"),
        (with_header("-" * 9000), "must be a dictionary"),
        (
            with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 4400 + ",)}"),
            "must be a dictionary",
        ),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9" * 4200 + ",)}"), "a tuple of sizes"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-8,)}"), "a tuple of sizes"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}"), "a tuple of sizes"),
        (with_header("{'descr': '|u1', 'fortran_order': 0, 'shape': (8,)}"), "True or False"),
        (with_header("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8,)}"), "booleans or numbers"),
        (with_header("{'descr': '|S0', 'fortran_order': False, 'shape': (8,)}"), "booleans or numbers"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (7,)}"), "it has 73 bytes, its header says 72"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9,)}"), "it has 73 bytes, its header says 74"),
    ],
)
def test_a_header_that_is_not_right_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ItemError, match=reason):
        NpyFile(tmp_path / "a.npy")


def test_any_damage_to_a_header_is_refused_or_harmless(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", ARRAY)
    whole = (tmp_path / "whole.npy").read_bytes()
    path = tmp_path / "damaged.npy"
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(128)] = generator.choice(
                b"\0\n '\"(){}[]0123456789,:LTFux<>|" + generator.randbytes(9)
            )
        path.write_bytes(damaged)
        try:
            file = NpyFile(path)
        except ItemError:
            continue
        assert file.mapped().nbytes == ARRAY.nbytes


def test_a_file_that_becomes_shorter_is_an_error_and_no_signal(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAY)
    file = NpyFile(tmp_path / "a.npy")
    with (tmp_path / "a.npy").open("r+b") as other:
        other.truncate(140)
    with pytest.raises(ItemError, match="shorter"):
        file.rows(0, 2)
