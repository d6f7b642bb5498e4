from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.line.station.answers import LineAnswer
from drupe.line.station.configuration import FolderSettings
from drupe.line.station.sources.folder import AGAIN, WAITED, FolderSource
from drupe.line.station.sources.source import LineItem, SourceError
from line_parts import Hands

QUICK = {"settle_ms": 0, "look_ms": 1}
ACCEPT = LineAnswer(1, "a.png", "accept", "now")


def source(folder: Path, known=None, forget=None, hands=None, **settings) -> FolderSource:
    hands = hands or Hands()
    given = FolderSettings(path=folder, **(QUICK | settings))
    return FolderSource(given, lambda: hands.at, known, forget)


def look(items) -> list[LineItem]:
    """Return what comes until the source says that there is nothing now."""
    return list(iter(lambda: next(items), None))


def put(folder: Path, name: str, changed: int = 1_000) -> None:
    (folder / name).write_bytes(b"pixels")
    os.utime(folder / name, ns=(changed, changed))


def test_what_appears_is_given_once_oldest_first(tmp_path) -> None:
    items = source(tmp_path).items(threading.Event())
    assert look(items) == []
    put(tmp_path, "a.png", 2_000)
    put(tmp_path, "b.png", 1_000)
    put(tmp_path, "notes.txt")
    put(tmp_path, ".hidden.png")
    (tmp_path / "folder.png").mkdir()
    found = look(items)
    assert [(one.name, one.image, one.fault) for one in found] == [
        ("b.png", tmp_path / "b.png", None),
        ("a.png", tmp_path / "a.png", None),
    ]
    assert look(items) == []


def test_what_lay_there_at_the_start_has_gone_by(tmp_path) -> None:
    put(tmp_path, "a.png")
    items = source(tmp_path).items(threading.Event())
    assert [one.fault for one in look(items)] == [WAITED]
    decides = source(tmp_path, waiting="decide").items(threading.Event())
    assert [one.fault for one in look(decides)] == [None]


def test_what_was_decided_before_a_restart_is_not_given_again(tmp_path) -> None:
    put(tmp_path, "a.png", 5)
    put(tmp_path, "b.png", 6)
    items = source(tmp_path, {"a.png": 5}, waiting="decide").items(threading.Event())
    assert [one.name for one in look(items)] == ["b.png"]


def test_a_name_that_is_written_again_is_a_fault(tmp_path) -> None:
    put(tmp_path, "a.png", 5)
    items = source(tmp_path, {"a.png": 4}, waiting="decide").items(threading.Event())
    assert [one.fault for one in look(items)] == [AGAIN]
    assert look(items) == []


def test_a_name_that_had_gone_is_a_new_item(tmp_path) -> None:
    forgotten = []
    put(tmp_path, "a.png", 5)
    items = source(tmp_path, {"a.png": 5}, forgotten.extend).items(threading.Event())
    assert look(items) == []
    (tmp_path / "a.png").unlink()
    assert look(items) == []
    assert forgotten == ["a.png"]
    put(tmp_path, "a.png", 6)
    assert [one.fault for one in look(items)] == [None]


def test_a_file_that_still_grows_waits(tmp_path) -> None:
    hands = Hands()
    items = source(tmp_path, hands=hands, settle_ms=50).items(threading.Event())
    assert look(items) == []
    put(tmp_path, "a.png", 5)
    assert look(items) == []
    hands.at += 0.06
    put(tmp_path, "a.png", 7)
    assert look(items) == []
    hands.at += 0.04
    assert look(items) == []
    hands.at += 0.02
    assert [one.name for one in look(items)] == ["a.png"]
    put(tmp_path, "b.png")
    assert look(items) == []
    (tmp_path / "b.png").unlink()  # before it was whole
    assert look(items) == []


def test_decided_files_are_moved_and_none_is_replaced(tmp_path, caplog) -> None:
    (tmp_path / "in").mkdir()
    there = source(tmp_path / "in", move_to=tmp_path / "done")
    for stamp in (1, 2):
        put(tmp_path / "in", "a.png")
        there.done(LineItem("a.png", stamp=stamp), ACCEPT)
    moved = sorted(path.name for path in (tmp_path / "done/accept").iterdir())
    assert moved == ["a-2.png", "a.png"]
    there.done(LineItem("gone.png"), ACCEPT)
    assert "gone.png: can't be moved" in caplog.text
    source(tmp_path / "in").done(LineItem("a.png"), ACCEPT)


def test_a_folder_that_is_gone_is_a_dead_source(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    items = source(tmp_path / "in").items(threading.Event())
    assert look(items) == []
    (tmp_path / "in").rmdir()
    with pytest.raises(SourceError, match="can't be listed"):
        next(items)
    with pytest.raises(InputError, match=r"source.folder.path: must be a folder"):
        source(tmp_path / "in")


def test_a_file_that_vanishes_while_it_is_looked_at(tmp_path, monkeypatch) -> None:
    put(tmp_path, "a.png")
    real = os.scandir

    class Vanishing:
        name = "b.png"

        def stat(self):
            raise FileNotFoundError

    class Entries:
        def __init__(self, path) -> None:
            self.inner = real(path)

        def __enter__(self):
            return [*self.inner, Vanishing()]

        def __exit__(self, *given) -> None:
            self.inner.close()

    monkeypatch.setattr(os, "scandir", Entries)
    assert source(tmp_path).probe() == "1 images lie there, 1 not decided"


def test_it_is_tried_out(tmp_path, monkeypatch) -> None:
    put(tmp_path, "a.png", 5)
    there = source(tmp_path, {"a.png": 5}, move_to=tmp_path / "done")
    assert there.probe() == "1 images lie there, 0 not decided"
    stat = Path.stat

    class Elsewhere:
        st_dev = -1

    def other_drive(self, **options):
        return Elsewhere() if self == tmp_path / "done" else stat(self, **options)

    (tmp_path / "done").rmdir()
    monkeypatch.setattr(Path, "mkdir", lambda self, **options: None)
    monkeypatch.setattr(Path, "stat", other_drive)
    with pytest.raises(InputError, match="must lie on the drive of"):
        there.probe()


def test_it_stops(tmp_path) -> None:
    stop = threading.Event()
    items = source(tmp_path).items(stop)
    next(items)
    stop.set()
    assert list(items) == []
