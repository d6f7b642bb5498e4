from __future__ import annotations

import errno

import pytest

from drupe.errors import InputError
from drupe.files import read_json, replacing, write_json


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
