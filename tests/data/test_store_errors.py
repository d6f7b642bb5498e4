from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from drupe.data.store_errors import writing_to
from drupe.errors import InputError


def message(store: Path, error: OSError) -> str:
    with pytest.raises(InputError) as caught, writing_to(store):
        raise error
    assert caught.value.__suppress_context__  # a person reads the message, not the traceback
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
def test_a_full_disk_and_a_spent_quota_say_what_to_do(code: int) -> None:
    found = message(Path("/data/store"), OSError(code, os.strerror(code), "/data/store/x"))
    assert found == "/data/store: the disk is full; free some space or choose another --store"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EROFS, "read-only file system"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "operation not permitted"),
        (errno.ENOTDIR, "not a directory"),
    ],
)
def test_other_failures_name_store_reason_and_file(code: int, reason: str) -> None:
    found = message(Path("/data/store"), OSError(code, os.strerror(code), "/data/store/packed"))
    assert found == (
        f"/data/store: the store must be a folder that can be written to, got {reason} "
        "(/data/store/packed)"
    )


def test_a_failure_that_names_no_file_has_no_brackets() -> None:
    found = message(Path("s"), OSError(errno.EIO, "Input/output error"))
    assert found == ("s: the store must be a folder that can be written to, got input/output error")


def test_a_failure_without_a_number_keeps_its_own_words() -> None:
    found = message(Path("s"), OSError("The Disk Went Away"))
    assert found.endswith(", got the disk went away")


def test_a_file_in_place_of_the_store_is_named(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_text("not a folder")
    with pytest.raises(InputError) as caught, writing_to(store):
        (store / "manifests").mkdir(parents=True)
    assert str(caught.value) == (
        f"{store}: the store must be a folder that can be written to, got not a directory "
        f"({store / 'manifests'})"
    )


def test_what_is_no_failure_to_write_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), writing_to(Path("s")):
        raise ZeroDivisionError
    already = InputError("said elsewhere")
    with pytest.raises(InputError) as caught, writing_to(Path("s")):
        raise already
    assert caught.value is already


def test_without_a_failure_nothing_happens(tmp_path: Path) -> None:
    with writing_to(tmp_path):
        (tmp_path / "file").write_bytes(b"kept")
    assert (tmp_path / "file").read_bytes() == b"kept"
