from __future__ import annotations

import os
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest

from drupe.deployment.timing import REST, WARM_UP, Subject, pinned, time_in_turns
from drupe.errors import InputError


def subject(name: str, calls: list[str]) -> Subject:
    return Subject(name, "stub", "fp32", 1, 32, lambda images: calls.append((name, len(images))))


def test_subjects_and_batches_take_turns() -> None:
    calls: list[tuple[str, int]] = []
    timings = time_in_turns([subject("a", calls), subject("b", calls)], batches=(1, 4), samples=60)
    assert [(one.name, one.batch) for one in timings] == [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
    assert [len(one.milliseconds) for one in timings] == [60] * 4
    turns = [one for one, before in zip(calls[1:], calls, strict=False) if one != before]
    # Warm-up, then 25 + 25 + 10 calls of each in turns, of which the second goes backwards.
    there = [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
    assert [calls[0], *turns] == there + there + there[::-1][1:] + there[1:]


def test_a_subject_starts_when_the_threads_of_the_one_before_have_gone_to_sleep() -> None:
    at: list[tuple[str, float]] = []
    subjects = [
        Subject(name, "stub", "fp32", 1, 32, lambda _, name=name: at.append((name, perf_counter())))
        for name in "ab"
    ]
    time_in_turns(subjects, samples=50)
    timed = at[2 * WARM_UP :]
    changes = [now[1] - was[1] for was, now in pairwise(timed) if was[0] != now[0]]
    assert len(changes) == 2  # a, b, then b, a
    assert min(changes) >= REST


def test_calls_with_a_pause_as_between_frames() -> None:
    at: list[float] = []
    one = Subject("a", "stub", "fp32", 1, 32, lambda _: at.append(perf_counter()))
    (timing,) = time_in_turns([one], samples=5, pause_ms=10)
    gaps = np.diff(at)[-5:]
    assert gaps.min() >= 0.01
    assert np.median(timing.milliseconds) < 10  # the pause is not in the time


@pytest.mark.parametrize("pause", [-1, float("nan"), float("inf"), 1e9])
def test_a_pause_that_can_not_be(pause) -> None:
    with pytest.raises(InputError, match=r"pause: must be 0 to 60,000 ms, got"):
        time_in_turns([subject("a", [])], samples=1, pause_ms=pause)


def test_a_batch_that_no_memory_holds() -> None:
    with pytest.raises(InputError, match="batch: must be at most 4,096 images, got 1,000,000"):
        time_in_turns([subject("a", [])], samples=1, batches=(1, 10**6))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system can't pin")
def test_threads_are_pinned_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    with pinned(1) as count:
        assert count == 1
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with pinned(1000) as count:
        assert count == 1000
        assert os.sched_getaffinity(0) == before
