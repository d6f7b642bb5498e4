from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from drupe.derived import read_arrays, read_document, sealed, write_arrays, write_document

MADE_FROM = {"version": 1, "items": "abc"}
DTYPES = {"groups": np.dtype(np.int32)}
GROUPS = np.array([0, 1, 1, 2], np.int32)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    write_arrays(tmp_path / "groups.npz", MADE_FROM, {"groups": GROUPS})
    return tmp_path / "groups.npz"


def archive(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_arrays_are_read_as_they_were_written(kept: Path, caplog) -> None:
    found = read_arrays(kept, MADE_FROM, DTYPES)

    assert found is not None
    assert found["groups"].dtype == np.int32
    assert found["groups"].tolist() == [0, 1, 1, 2]
    assert caplog.messages == []


def test_what_is_not_there_is_no_news(tmp_path: Path, caplog) -> None:
    assert read_arrays(tmp_path / "none.npz", MADE_FROM, DTYPES) is None
    assert read_document(tmp_path / "none.json", {}) is None
    assert caplog.messages == []


def test_every_single_wrong_byte_is_noticed(kept: Path, caplog) -> None:
    """Some bytes of an archive mean nothing; none may change an array or be an exception."""
    whole = kept.read_bytes()
    refused = 0
    for place in range(len(whole)):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        found = read_arrays(kept, MADE_FROM, DTYPES)
        refused += found is None
        assert found is None or found["groups"].tolist() == [0, 1, 1, 2], place
    assert refused > len(whole) / 2
    assert len(caplog.messages) == refused
    assert all(line.endswith("counts as absent and is made anew") for line in caplog.messages)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"PK\x03\x04",
        archive(groups=GROUPS),
        archive(seal=np.zeros(3, np.uint8), groups=GROUPS),
        archive(seal=np.frombuffer(b"[]", np.uint8), groups=GROUPS),
        archive(seal=np.frombuffer(b"[" * 100_000, np.uint8), groups=GROUPS),
    ],
)
def test_what_was_never_sealed_counts_as_absent(kept: Path, caplog, content: bytes) -> None:
    kept.write_bytes(content)

    assert read_arrays(kept, MADE_FROM, DTYPES) is None
    assert len(caplog.messages) == 1
    assert str(kept) in caplog.text


def test_another_array_under_the_same_seal(kept: Path) -> None:
    with np.load(kept) as found:
        seal = found["seal"]
    for other in (GROUPS[::-1], GROUPS[:3], GROUPS.astype(np.int64), GROUPS.reshape(2, 2)):
        kept.write_bytes(archive(seal=seal, groups=other))
        assert read_arrays(kept, MADE_FROM, DTYPES) is None


def test_what_was_made_from_something_else(kept: Path, caplog) -> None:
    assert read_arrays(kept, {"version": 2, "items": "abc"}, DTYPES) is None
    assert read_arrays(kept, {"version": 1, "items": "abd"}, DTYPES) is None
    assert "made from something else" in caplog.text
    assert read_arrays(kept, MADE_FROM, {"groups": np.dtype(np.int64)}) is None
    assert read_arrays(kept, MADE_FROM, {}) is None


def test_documents(tmp_path: Path, caplog) -> None:
    path = tmp_path / "answer.json"
    write_document(path, {"weights": "a"}, {"answer": {"low": 0.25}})
    found = read_document(path, {"weights": "a"})
    assert found is not None
    assert found["answer"] == {"low": 0.25}

    assert read_document(path, {"weights": "b"}) is None, "out of date, as after any change"
    assert caplog.messages == []

    whole = path.read_text()
    for damaged in (whole.replace("0.25", "0.75"), whole[:-9], "[]", "5", "", "[" * 100_000):
        path.write_text(damaged)
        caplog.clear()
        assert read_document(path, {"weights": "a"}) is None
        assert caplog.messages == [f"{path}: damaged: it counts as absent and is made anew"]


def test_a_document_of_an_earlier_version_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"made_from": {"weights": "a"}, "answer": 5}))
    assert read_document(path, {"weights": "a"}) == {"made_from": {"weights": "a"}, "answer": 5}


def test_the_seal_does_not_depend_on_the_order_of_keys() -> None:
    assert sealed({"a": 1, "b": 2})["digest"] == sealed({"b": 2, "a": 1})["digest"]
    assert sealed({"a": 1})["digest"] != sealed({"a": 2})["digest"]
