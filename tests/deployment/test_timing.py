from __future__ import annotations

import io
import os
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drupe.data.image_contract import ImageContract
from drupe.deployment import timing
from drupe.deployment.bundle import golden_images
from drupe.deployment.timing import (
    REST,
    WARM_UP,
    Quantile,
    Subject,
    Timing,
    medians_ms,
    pinned,
    time_decoding,
    time_in_turns,
    until,
)
from drupe.errors import InputError


def stub(name: str, decide: Callable[[Any], object]) -> Subject:
    return Subject(name, "stub", "fp32", 1, ImageContract(32), decide)


def subject(name: str, calls: list[str]) -> Subject:
    return Subject(
        name, "stub", "fp32", 1, ImageContract(32), lambda images: calls.append((name, len(images)))
    )


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
        Subject(
            name,
            "stub",
            "fp32",
            1,
            ImageContract(32),
            lambda _, name=name: at.append((name, perf_counter())),
        )
        for name in "ab"
    ]
    time_in_turns(subjects, samples=50)
    timed = at[2 * WARM_UP :]
    changes = [now[1] - was[1] for was, now in pairwise(timed) if was[0] != now[0]]
    assert len(changes) == 2  # a, b, then b, a
    assert min(changes) >= REST


def test_calls_with_a_pause_as_between_frames() -> None:
    at: list[float] = []
    one = stub("a", lambda _: at.append(perf_counter()))
    (timed,) = time_in_turns([one], samples=5, pause_ms=10)
    gaps = np.diff(at)[-5:]
    assert gaps.min() >= 0.01
    assert np.median(timed.milliseconds) < 10  # the pause is not in the time


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


def test_threads_hold_where_the_system_can_not_pin(monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pinned(3) as count:
        assert count == 3


def timing_of(milliseconds) -> Timing:
    return Timing("one", "onnxruntime", "int8", 2, 4, np.array(milliseconds, np.float64))


def test_a_quantile_is_one_of_the_times() -> None:
    """P(Bin(100, 0.95) ≤ 89, 90, 98, 99) = 0.011, 0.028, 0.963, 0.994."""
    hundred = timing_of(np.arange(100.0, 0.0, -1.0))
    assert hundred.quantile(0.5) == Quantile(50, 40, 61)
    assert hundred.quantile(0.95) == Quantile(95, 90, 100)
    assert hundred.quantile(0.99) == Quantile(99, 97, None)
    assert timing_of([7]).quantile(0.5) == Quantile(7, None, None)
    assert timing_of([1, 2]).quantile(0.01).value == 1


def test_a_timing_as_a_document() -> None:
    document = timing_of([4, 1, 3, 2]).to_json()
    assert document == {
        "name": "one",
        "backend": "onnxruntime",
        "precision": "int8",
        "threads": 2,
        "batch": 4,
        **{"p50_ms": 2, "p90_ms": 4, "p95_ms": 4, "p99_ms": 4},
        "p50_interval_ms": [None, None],  # 0.5^4 is more than 2.5 %
        "p90_interval_ms": [2, None],  # P(Bin(4, 0.9) ≤ 1) = 0.004, P(… ≤ 2) = 0.052
        "p95_interval_ms": [3, None],  # P(Bin(4, 0.95) ≤ 2) = 0.014
        "p99_interval_ms": [3, None],  # P(Bin(4, 0.99) ≤ 3) = 0.039
        "confidence": 0.95,
        "samples": 4,
        "samples_ms": [4, 1, 3, 2],
    }


def test_medians_come_from_turns_of_which_the_first_does_not_count(monkeypatch) -> None:
    """Each session is called 20 times in each of three turns; the clock shows its call's number."""
    calls: list[str] = []
    sessions = [lambda image, name=name: calls.append(name) for name in "ab"]
    numbers = {"a": 0, "b": 1000}

    def clock(session, image) -> float:
        session(image)
        numbers[calls[-1]] += 1
        return float(numbers[calls[-1]])

    monkeypatch.setattr(timing, "_milliseconds", clock)
    monkeypatch.setattr(timing, "REST", 0)
    found = medians_ms(sessions, np.zeros((1, 8, 8, 3), np.uint8))
    assert "".join(calls) == ("a" * 20 + "b" * 20) * 3
    assert found == [40.5, 1040.5]  # of the calls 21 to 60


def test_decoding_is_timed_on_a_png_of_that_size(monkeypatch) -> None:
    sizes = []

    def decoding(_: ImageContract, content: bytes) -> None:
        sizes.append(Image.open(io.BytesIO(content)).size)

    monkeypatch.setattr(ImageContract, "of_bytes", decoding)
    found = time_decoding(ImageContract(48), 7)
    assert (found.name, found.backend, found.batch) == ("decode PNG 48 x 48", "pillow", 1)
    assert len(found.milliseconds) == 7
    assert sizes == [(48, 48)] * (WARM_UP + 7)


def test_a_batch_repeats_the_golden_samples() -> None:
    seen: list[np.ndarray] = []
    one = stub("a", seen.append)
    time_in_turns([one], samples=1, batches=(20,))
    golden = golden_images(ImageContract(32))
    np.testing.assert_array_equal(seen[-1], np.concatenate((golden, golden[:4])))


def test_nothing_is_begun_after_the_time_is_up(monkeypatch) -> None:
    now = iter([100.0, 100.0, 100.5, 101.0])
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(now))
    assert list(until(1.0, "abcd")) == ["a", "b"]
    monkeypatch.undo()
    assert list(until(60.0, "abcd")) == ["a", "b", "c", "d"]
