from __future__ import annotations

import pytest

from drupe.study.execution.journal import JOURNAL, Journal, Outcome


def test_the_last_state_of_each_task_counts(tmp_path) -> None:
    journal = Journal(tmp_path / "new")
    assert journal.outcomes() == {}
    for task, state in (("A", "running"), ("B", "running"), ("A", "failed"), ("B", "done")):
        journal.write(task, Outcome(state, f"{task} é\nover two lines"))

    assert [event.state for event in journal.events()] == ["running", "running", "failed", "done"]
    assert journal.outcomes() == {
        "A": Outcome("failed", "A é\nover two lines"),
        "B": Outcome("done", "B é\nover two lines"),
    }


@pytest.mark.parametrize("end", "\u2028\u2029\x85\v\f\x1c\x1d\x1e\r")
def test_what_else_may_end_a_line_is_part_of_a_reason(tmp_path, end) -> None:
    journal = Journal(tmp_path)
    journal.write("A", Outcome("failed", f"one{end}two"))
    journal.write("B", Outcome("done"))

    assert journal.outcomes() == {"A": Outcome("failed", f"one{end}two"), "B": Outcome("done")}


def test_a_reason_that_is_no_text_is_escaped(tmp_path) -> None:
    """A file's name in it may be of any bytes."""
    Journal(tmp_path).write("A", Outcome("failed", "caf\udce9.png: damaged"))

    assert Journal(tmp_path).outcomes() == {"A": Outcome("failed", r"caf\udce9.png: damaged")}


def test_a_torn_line_costs_only_itself(tmp_path) -> None:
    journal = Journal(tmp_path)
    journal.write("A", Outcome("done"))
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + whole[: len(whole) // 2])

    journal.begin()
    journal.write("B", Outcome("done"))

    assert list(journal.outcomes()) == ["A", "B"]
    assert len((tmp_path / JOURNAL).read_bytes().splitlines()) == 3


def test_a_foreign_line_is_skipped(tmp_path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'\xff\xfe\n[]\n{"task": "A"}\n')

    assert list(Journal(tmp_path).events()) == []


def test_which_outcomes_are_final() -> None:
    settled = [
        state
        for state in ("waiting", "running", "done", "failed", "skipped", "interrupted")
        if Outcome(state).is_settled
    ]

    assert settled == ["done", "failed", "skipped"]
