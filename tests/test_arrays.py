from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from drupe import arrays
from drupe.arrays import read_arrays


def archive(compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array(values: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values))
    return buffer.getvalue()


def headed(shape: str, kind: str = "<f4") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def with_field(content: bytes, local: int, central: int, value: int) -> bytes:
    """Write a field of 16 bits in the local and the central header of a ZIP of one member."""
    changed = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = changed.index(mark) + offset
        changed[place : place + 2] = value.to_bytes(2, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_arrays_come_back_however_they_were_packed(compression: int) -> None:
    found = read_arrays(archive(compression, a=array([1.5, 2.5]), b=array([[1], [2]])))
    assert {name: values.tolist() for name, values in found.items()} == {
        "a": [1.5, 2.5],
        "b": [[1], [2]],
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip file"),
        (array([1, 2]), "not a zip file"),  # a bare array, as np.save writes it
        (archive(a=b"no array"), "magic"),
        (archive(a=headed("(3,)")), "array"),  # a header without data
        (archive(a=headed("(1000000000000,)")), "."),
        (archive(a=headed("(-1,)")), "negative"),
        (archive(a=headed("(2,)", "|O")), "Object arrays"),
        (with_field(archive(a=array([1])), 8, 10, 99), "compression"),
        (with_field(archive(a=array([1])), 6, 8, 1), "encrypted"),
        (archive(zipfile.ZIP_LZMA, a=array([1]))[:-60], "zip file"),
    ],
)
def test_anything_else_is_refused_in_one_line(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        read_arrays(content)
    assert "\n" not in str(refused.value)


def test_a_few_bytes_that_stand_for_many_are_refused_unread(monkeypatch) -> None:
    content = archive(zipfile.ZIP_DEFLATED, a=array(np.zeros(100_000)))
    assert len(content) < 2000
    monkeypatch.setattr(arrays, "MOST_BYTES", 800_000)
    with pytest.raises(ValueError, match="800,128 bytes, at most 800,000"):
        read_arrays(content)
