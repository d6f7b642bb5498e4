from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drupe import leftovers
from drupe.files import replacing, write_text
from drupe.leftovers import FORGOTTEN_SECONDS, prefix_of, sweep, temporary_file, temporary_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from drupe.files import replacing
from drupe.leftovers import temporary_folder
with replacing(Path(sys.argv[1])) as temporary, temporary_folder(Path(sys.argv[2])) as folder:
    temporary.write_text("half")
    (folder / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_swept", set())


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "a.json"), str(tmp_path / "bundle")]
    assert subprocess.run(words, check=False).returncode == -9
    assert len(names(tmp_path)) == 2
    assert all(name.endswith(".tmp") for name in names(tmp_path))
    write_text(tmp_path / "other.txt", "whole")
    assert names(tmp_path) == ["other.txt"]


def test_what_others_are_writing_is_left_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as first, temporary_folder(tmp_path / "b") as second:
        write_text(tmp_path / "c", "whole")
        assert first.exists()
        assert second.is_dir()
        first.write_text("whole")
    assert names(tmp_path) == ["a", "c"]


def test_another_machine_s_is_left_for_a_week(tmp_path: Path) -> None:
    """Its processes can't be asked: the folder may lie on a drive that many write to."""
    fresh, old = (tmp_path / f".{name}.01234567-1-abcdefgh.tmp" for name in ("fresh", "old"))
    for one in (fresh, old):
        one.write_text("half")
    long_ago = time.time() - FORGOTTEN_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    sweep(tmp_path)
    assert names(tmp_path) == [fresh.name]


def test_no_other_name_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = temporary_file(tmp_path / "x")
    others = ("x.tmp", ".x.tmp", ".x.abcdefgh.tmp", f"{dead.name[1:]}", ".x.01234567--abcdefgh.tmp")
    for name in others:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    monkeypatch.setattr(leftovers, "_is_alive", lambda pid: False)
    leftovers._swept.clear()
    sweep(tmp_path)
    assert names(tmp_path) == sorted(others)


def test_a_folder_is_swept_once_per_process(tmp_path: Path, monkeypatch) -> None:
    asked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: asked.append(folder) or scandir(folder))
    for number in range(3):
        write_text(tmp_path / f"{number}", "whole")
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "\udcff" * 200])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "whole")
    assert names(tmp_path) == [name]


def test_the_name_says_for_which_file_it_is(tmp_path: Path) -> None:
    assert temporary_file(tmp_path / "a.json").name.startswith(prefix_of(tmp_path / "a.json"))
    assert prefix_of(Path("a.json")).startswith(".a.json.")
    assert f"-{os.getpid()}-" in prefix_of(Path("a.json"))
