from __future__ import annotations

import json
import os
from itertools import pairwise
from math import comb
from time import perf_counter

import numpy as np
import pytest

from drupe.deployment.bench import (
    CONFIDENCE,
    REST,
    WARM_UP,
    Subject,
    bench,
    bench_bundle,
    bench_paths,
    pinned,
    quantile,
)
from drupe.errors import InputError

KEYS = {"name", "backend", "precision", "threads", "batch", "p50_ms", "p95_ms", "p99_ms", "samples"}


def subject(name: str, calls: list[str]) -> Subject:
    return Subject(name, "stub", "fp32", 1, 32, lambda images: calls.append((name, len(images))))


def test_subjects_and_batches_take_turns() -> None:
    calls: list[tuple[str, int]] = []
    timings = bench([subject("a", calls), subject("b", calls)], batches=(1, 4), samples=60)
    assert [(one.name, one.batch) for one in timings] == [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
    assert [len(one.milliseconds) for one in timings] == [60] * 4
    turns = [one for one, before in zip(calls[1:], calls, strict=False) if one != before]
    # Warm-up, then 25 + 25 + 10 calls of each in turns, of which the second goes backwards.
    there = [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
    assert [calls[0], *turns] == there + there + there[::-1][1:] + there[1:]


def test_order_statistics_that_enclose_a_quantile() -> None:
    """Ranks 40 and 61 of 100 for the median, as in David and Nagaraja's and R's tables."""
    values = np.arange(1.0, 101.0)
    median = quantile(values, 0.5)
    assert (median.value, median.low, median.high) == (50, 40, 61)
    high = quantile(values, 0.99)
    assert (high.value, high.high) == (99, None)  # 100 values say nothing about what is above
    assert quantile(values[:3], 0.5).low is None


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [50, 500])
def test_the_ranks_by_exact_sums(n, share) -> None:
    def at_most(k: int) -> float:
        return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))

    tail = (1 - CONFIDENCE) / 2
    found = quantile(np.arange(1.0, n + 1), share)
    if found.low is not None:
        assert at_most(int(found.low) - 1) <= tail < at_most(int(found.low))
    if found.high is not None:
        assert at_most(int(found.high) - 1) >= 1 - tail > at_most(int(found.high) - 2)
    else:
        assert at_most(n - 1) < 1 - tail


def test_intervals_hold_the_true_quantile_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    true = -np.log(0.1)  # the 90 % quantile of an exponential distribution
    held = 0
    for _ in range(400):
        found = quantile(random.exponential(size=300), 0.9)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
    assert 0.92 <= held / 400 <= 1


def test_a_subject_starts_when_the_threads_of_the_one_before_have_gone_to_sleep() -> None:
    at: list[tuple[str, float]] = []
    subjects = [
        Subject(name, "stub", "fp32", 1, 32, lambda _, name=name: at.append((name, perf_counter())))
        for name in "ab"
    ]
    bench(subjects, samples=50)
    timed = at[2 * WARM_UP :]
    changes = [now[1] - was[1] for was, now in pairwise(timed) if was[0] != now[0]]
    assert len(changes) == 2  # a, b, then b, a
    assert min(changes) >= REST


def test_calls_with_a_pause_as_between_frames() -> None:
    at: list[float] = []
    one = Subject("a", "stub", "fp32", 1, 32, lambda _: at.append(perf_counter()))
    (timing,) = bench([one], samples=5, pause_ms=10)
    gaps = np.diff(at)[-5:]
    assert gaps.min() >= 0.01
    assert np.median(timing.milliseconds) < 10  # the pause is not in the time


@pytest.mark.parametrize("pause", [-1, float("nan"), float("inf"), 1e9])
def test_a_pause_that_can_not_be(pause) -> None:
    with pytest.raises(InputError, match=r"pause: must be 0 to 60,000 ms, got"):
        bench([subject("a", [])], samples=1, pause_ms=pause)


def test_a_batch_that_no_memory_holds() -> None:
    with pytest.raises(InputError, match="batch: must be at most 4,096 images, got 1,000,000"):
        bench([subject("a", [])], samples=1, batches=(1, 10**6))


def test_a_bundle_from_python(bundle) -> None:
    timing = bench_bundle(bundle, backend="onnxruntime", threads=1, batch=2, samples=30)
    assert (timing.backend, timing.batch, timing.threads) == ("onnxruntime", 2, 1)
    p50, p95 = timing.quantile(0.5), timing.quantile(0.95)
    assert 0 < p50.value <= p95.value


def test_bundles_and_runs_side_by_side(deployed) -> None:
    run, _, bundle = deployed
    found = bench_paths([bundle, run], threads=1, samples=30, every_function=True)
    assert [(one.backend, one.threads) for one in found.timings[2:]] == [("pytorch", 1)]
    assert {one.backend for one in found.timings[:2]} == {"onnxruntime", "openvino"}
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for row in document["results"]:
        assert set(row) >= KEYS
        assert len(row["samples_ms"]) == row["samples"] == 30
        low, high = row["p50_interval_ms"]
        assert low <= row["p50_ms"] <= high
    (decoded,) = document["decode"]
    assert decoded["name"] == "decode PNG 64 x 64"
    assert document["circumstances"]["processor"]
    assert document["circumstances"]["cores"] == 1


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


def test_what_is_neither_bundle_nor_run(tmp_path) -> None:
    with pytest.raises(InputError, match=r"must be a bundle, but holds no bundle\.json"):
        bench_paths([tmp_path])
