from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from drupe.parallel import in_order

AHEAD = 3
"""Results per worker that may wait unread, besides one."""

SOON = 10.0  # seconds, after which a thread that hasn't come is taken for stuck


def test_chunks_come_in_order_and_hold_every_item_once() -> None:
    def slow_at_first(some: Sequence[int]) -> list[int]:
        time.sleep(0.02 if some[0] == 0 else 0)
        return list(some)

    found = list(in_order(slow_at_first, range(10), 3, 4))
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_a_later_task_that_ends_first_waits_for_its_turn() -> None:
    second_done = threading.Event()

    def task(some: Sequence[str]) -> str:
        if some[0] == "first":
            assert second_done.wait(SOON)
        else:
            second_done.set()
        return some[0]

    assert list(in_order(task, ["first", "second"], 1, 2)) == ["first", "second"]


def test_no_items_no_tasks() -> None:
    def task(some: Sequence[int]) -> int:
        raise AssertionError(some)

    assert list(in_order(task, [], 4, 2)) == []


@pytest.mark.parametrize("workers", [1, 3, None])
def test_any_number_of_workers_gives_the_same(workers: int | None) -> None:
    assert list(in_order(sum, range(100), 7, workers)) == [
        sum(range(start, min(start + 7, 100))) for start in range(0, 100, 7)
    ]


def test_as_many_tasks_at_a_time_as_workers_and_no_more() -> None:
    lock, running, most = threading.Lock(), 0, 0
    all_at_work = threading.Barrier(3)  # breaks where fewer come

    def task(some: Sequence[int]) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_at_work.wait(SOON)
        with lock:
            running -= 1

    list(in_order(task, range(12), 1, 3))
    assert most == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_results_ahead_of_the_reader_are_bounded(workers: int) -> None:
    started: list[int] = []

    def task(some: Sequence[int]) -> int:
        started.append(some[0])
        return some[0]

    results = in_order(task, range(100), 1, workers)
    for read in range(1, 6):
        assert next(results) == read - 1
        allowed = read + AHEAD * workers + 1
        deadline = time.monotonic() + SOON
        while len(started) < allowed and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # time in which a task too many would start
        assert len(started) == allowed
    results.close()


def test_a_failing_task_is_raised_at_its_turn_and_stops_the_rest() -> None:
    started: list[int] = []

    def task(some: Sequence[int]) -> int:
        started.append(some[0])
        if some[0] == 2:
            raise RuntimeError("task two")
        return some[0]

    results = in_order(task, range(1000), 1, 1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(RuntimeError, match=r"^task two$"):
        next(results)
    assert len(started) <= 2 + 1 + AHEAD + 1
    assert list(results) == []


def test_closing_early_cancels_what_has_not_begun() -> None:
    started: list[int] = []
    held, go_on = threading.Event(), threading.Event()

    def task(some: Sequence[int]) -> int:
        started.append(some[0])
        if some[0] == 1:
            held.set()
            assert go_on.wait(SOON)
        return some[0]

    results = in_order(task, range(100), 1, 1)
    assert next(results) == 0
    assert held.wait(SOON)
    # The one thread is held by task 1, the others wait. Closing cancels these, then waits.
    closing = threading.Thread(target=results.close)
    closing.start()
    time.sleep(0.05)
    assert closing.is_alive()
    go_on.set()
    closing.join(SOON)
    assert not closing.is_alive()
    assert started == [0, 1]
