from __future__ import annotations

import errno

import pytest

from drupe.errors import InputError
from drupe.files import check_replaceable, naming, read_json, replacing, write_json


def test_json_survives(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"rate": 0.1, "name": "Kirsche ü"})

    assert read_json(path) == {"rate": 0.1, "name": "Kirsche ü"}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": True})

    def write_half_and_fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half_and_fail()

    assert read_json(path) == {"old": True}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"rate": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_damaged_json_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_json(path)


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.json"

    def write_on_a_full_disk():
        with replacing(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*a\.json"):
        write_on_a_full_disk()


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000, "\udcff"])
def test_json_that_only_python_trips_over(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_json(path)


def spoil(folder, what):
    """Return a path that can't be written, and the message's start."""
    if what == "a folder":
        (folder / "a.csv").mkdir()
        return folder / "a.csv", "Is a directory"
    (folder / "file").write_text("")
    return folder / "file" / "a.csv", "Not a directory"


@pytest.mark.parametrize("what", ["a folder", "below a file"])
@pytest.mark.parametrize("write", [check_replaceable, lambda path: write_json(path, {})])
def test_what_cannot_be_written_is_named_and_nothing_is_left(tmp_path, what, write):
    path, reason = spoil(tmp_path, what)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match=reason) as caught:
        write(path)

    assert caught.value.filename in (str(path), str(path.parent))
    assert caught.value.filename2 is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("write", [check_replaceable, lambda path: write_json(path, {})])
def test_a_refusal_names_the_file_and_not_its_temporary_one(tmp_path, monkeypatch, write):
    def refuse(*_, dir, prefix="", **__):
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/{prefix}123.tmp")

    monkeypatch.setattr("drupe.files.tempfile.mkstemp", refuse)
    monkeypatch.setattr("drupe.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError) as caught:
        write(tmp_path / "a.csv")

    assert caught.value.filename == str(tmp_path / "a.csv")


def test_a_file_to_be_made_in_a_new_folder_can_be_written(tmp_path):
    check_replaceable(tmp_path / "new" / "deep" / "a.csv")

    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_name_gets_one(tmp_path):
    for named in (None, "other.txt"):
        with pytest.raises(OSError, match="full") as caught, naming(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "full", named)
        assert caught.value.filename == (named or str(tmp_path / "file"))
    with pytest.raises(OSError, match="a library's own") as caught, naming(tmp_path / "file"):
        raise OSError("a library's own")
    assert caught.value.filename is None
