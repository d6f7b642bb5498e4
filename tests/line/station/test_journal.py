from __future__ import annotations

import json
import os

import pytest

from drupe.errors import InputError
from drupe.line.station.journal import SKIPPED, LineJournal


def die(journal: LineJournal) -> None:
    """Leave a journal as a process that is killed does."""
    journal._timer.stop()
    os.close(journal._file)
    os.close(journal._lock)


def test_numbers_go_on_over_restarts(tmp_path) -> None:
    journal = LineJournal(tmp_path / "state", remembers=True)
    for item in ("a", "b"):
        journal.end(journal.begin(item, 5), "accept")
    journal.close()
    again = LineJournal(tmp_path / "state", remembers=True)
    assert again.begin("c") == 3
    assert again.decided == {"a": 5, "b": 5, "c": 0}
    assert again.interrupted == []
    die(again)


def test_after_a_death_numbers_are_skipped_and_what_was_begun_is_known(tmp_path) -> None:
    journal = LineJournal(tmp_path, remembers=False)
    journal.end(journal.begin("a"), "accept")
    journal.begin("b")
    die(journal)
    again = LineJournal(tmp_path, remembers=False)
    assert again.interrupted == [(2, "b")]
    assert again.decided == {}
    assert again.begin("c") == 3 + SKIPPED
    again.end(2, "review")
    again.end(3 + SKIPPED, "accept")
    again.close()
    assert LineJournal(tmp_path, remembers=False).interrupted == []


def test_what_is_open_at_the_end_in_order_is_interrupted_too(tmp_path) -> None:
    journal = LineJournal(tmp_path, remembers=False)
    journal.begin("a")
    journal.close()
    again = LineJournal(tmp_path, remembers=False)
    assert again.interrupted == [(1, "a")]
    assert again.last == 1 + SKIPPED
    die(again)


@pytest.mark.parametrize(
    "torn", [b'\n{"begun": 2, "it', b"\n[1, 2]", b"\n\xff\xfe", b"\n" + b"[" * 10**5]
)
def test_a_torn_line_is_passed_over(tmp_path, torn) -> None:
    journal = LineJournal(tmp_path, remembers=True)
    journal.end(journal.begin("a"), "accept")
    die(journal)
    with journal.path.open("ab") as stream:
        stream.write(torn)
    again = LineJournal(tmp_path, remembers=True)
    assert again.decided == {"a": 0}
    again.end(again.begin("b"), "review")
    again.close()
    assert set(LineJournal(tmp_path, remembers=True).decided) == {"a", "b"}


def test_one_process_at_a_time(tmp_path) -> None:
    journal = LineJournal(tmp_path, remembers=False)
    with pytest.raises(InputError, match="another process runs the line with this state"):
        LineJournal(tmp_path, remembers=False)
    journal.close()


def test_an_unreadable_state_lets_go_of_the_lock(tmp_path) -> None:
    (tmp_path / "journal.jsonl").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            LineJournal(tmp_path, remembers=False)


def test_what_is_no_longer_needed_is_dropped_while_it_runs(tmp_path) -> None:
    journal = LineJournal(tmp_path, remembers=True, most_lines=10)
    for number in range(50):
        journal.end(journal.begin(f"item-{number}", number), "accept")
        journal.forget([f"item-{number - 2}", "unknown"])
    assert len(journal.path.read_bytes().splitlines()) < 20
    journal.begin("open", 7)
    die(journal)
    again = LineJournal(tmp_path, remembers=True)
    assert {"item-49", "open"} <= set(again.decided) <= {"item-47", "item-48", "item-49", "open"}
    assert again.decided["open"] == 7
    assert again.interrupted == [(51, "open")]
    again.close()


def test_a_part_of_a_line_is_an_error(tmp_path, monkeypatch) -> None:
    journal = LineJournal(tmp_path, remembers=False)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:4]))
    with pytest.raises(OSError, match="only a part of a line") as raised:
        journal.begin("a")
    assert raised.value.filename == str(journal.path)
    monkeypatch.undo()
    journal.end(journal.begin("b"), "accept")
    journal.end(1, "review")
    journal.close()
    texts = journal.path.read_text().splitlines()
    assert json.loads(texts[-1]) == {"closed": 2}


def test_lines_are_synced_beside_the_work(tmp_path) -> None:
    journal = LineJournal(tmp_path, remembers=False)
    journal._sync()
    journal.close()
