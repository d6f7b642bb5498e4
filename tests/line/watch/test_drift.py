from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, norm

from drupe.deployment.drift import CalibrationScores
from drupe.line.watch import drift
from drupe.line.watch.bets import Bets
from drupe.line.watch.drift import (
    CALIBRATION_RISK,
    HOURS_A_YEAR,
    YEARLY_RISK,
    DriftWatch,
    Intervals,
    upper_bound,
)


def scores(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-z))).astype(np.float32)


def calibrated(random, clean: int = 371, defect: int = 328) -> CalibrationScores:
    is_defect = np.arange(clean + defect) >= clean
    z = random.normal(np.where(is_defect, 2.0, -2.0), 1.5)
    return CalibrationScores.of(scores(z), is_defect)


def line(random, count: int, share: float, shift: float = 0.0) -> np.ndarray:
    is_defect = random.random(count) < share
    return scores(random.normal(np.where(is_defect, 2.0, -2.0) + shift, 1.5))


@pytest.mark.parametrize(("inside", "items"), [(0, 1), (0, 100), (3, 100), (99, 100), (700, 2000)])
@pytest.mark.parametrize("risk", [0.05, 2e-4])
def test_bounds_are_clopper_and_pearsons(inside, items, risk) -> None:
    expected = beta.ppf(1 - risk, inside + 1, items - inside)
    assert upper_bound(inside, items, risk) == pytest.approx(expected, abs=1e-9)
    assert upper_bound(items, items, risk) == 1


def test_intervals_count_what_lies_strictly_inside() -> None:
    intervals = Intervals.of(calibrated(np.random.default_rng(0)))
    assert intervals is not None
    assert len(intervals.bounds) == 20
    seen = line(np.random.default_rng(1), 1000, 0.3)
    seen[:3] = intervals.low[0]
    expected = [
        np.count_nonzero((seen > low) & (seen < high))
        for low, high in zip(intervals.low, intervals.high, strict=True)
    ]
    assert intervals.count(seen).tolist() == expected
    assert Intervals.of(calibrated(np.random.default_rng(0), 99)) is None


@pytest.fixture
def quick_bounds(monkeypatch) -> None:
    """SciPy's quantile, which gives the same: bounds of thousands of calibrations."""

    def quick(inside: int, items: int, risk: float) -> float:
        return 1.0 if inside >= items else float(beta.ppf(1 - risk, inside + 1, items - inside))

    monkeypatch.setattr(drift, "upper_bound", quick)


def logits(values: np.ndarray) -> np.ndarray:
    inner = np.clip(values, 1e-30, 1 - 1e-15)
    return np.where(
        values >= 1, np.inf, np.where(values <= 0, -np.inf, np.log(inner / (1 - inner)))
    )


def test_bounds_hold_together_as_often_as_they_promise(quick_bounds) -> None:
    """The distribution is known here, so is each interval's share of it; ties included."""
    random = np.random.default_rng(2)
    broken = {"smooth": 0, "tied": 0}
    trials = 800
    values = np.arange(8) / 8
    for _ in range(trials):
        intervals = Intervals.of(calibrated(random, 150, 120))
        ends = logits(intervals.low), logits(intervals.high)
        shares = [norm.cdf(ends[1], at, 1.5) - norm.cdf(ends[0], at, 1.5) for at in (-2, 2)]
        broken["smooth"] += bool((np.maximum(*shares) > intervals.bounds).any())
        drawn = (np.sort(random.choice(values[part], size)) for part, size in TIED)
        intervals = Intervals.of(CalibrationScores(*drawn))
        inside = (values > intervals.low[:, None]) & (values < intervals.high[:, None])
        share = np.maximum(*(inside[:, part].mean(1) for part, _ in TIED))
        broken["tied"] += bool((share > intervals.bounds).any())
    limit = CALIBRATION_RISK + 3 * math.sqrt(CALIBRATION_RISK / trials)
    assert broken["smooth"] / trials <= limit
    assert broken["tied"] / trials <= limit


TIED = ((slice(0, 6), 150), (slice(2, 8), 120))
"""Which of the eight scores clean and defect items take, and how many items there are."""


def test_a_line_that_did_not_change_is_left_alone_a_shifted_one_is_not() -> None:
    random = np.random.default_rng(3)
    intervals = Intervals.of(calibrated(random, 1500, 1500))
    calm, shifted = DriftWatch(intervals), DriftWatch(intervals)
    for hour in range(200):
        for watch, shift in ((calm, 0.0), (shifted, 0.0 if hour < 100 else 0.5)):
            watch.begin_hour()
            watch.see(line(random, 500, 0.3 * random.random(), shift))
        if hour == 99:
            assert shifted.alarm is None
    assert calm.alarm is None
    assert calm.evidence < 0.9
    alarm = shifted.alarm
    assert alarm is not None
    assert alarm.share > alarm.allowed
    assert "no share of defects explains" in str(alarm)
    again = DriftWatch(intervals)
    again.restore(shifted.to_json(), "state")
    assert again.evidence == shifted.evidence
    assert again.scores == 100_000


def test_lines_alarm_falsely_at_most_as_often_as_stated(quick_bounds) -> None:
    """300 lines, calibrated anew each, for a month of which every hour has the stake of a day.

    So a month has 24 times its share of a year's false alarms, and still hardly any.
    """
    random = np.random.default_rng(4)
    lines, hours, an_hour = 300, 720, 600
    found = [Intervals.of(calibrated(random)) for _ in range(lines)]
    bets = Bets(np.stack([one.bounds for one in found]))
    cdf = _cdf_table(found)
    alarmed = np.zeros(lines, bool)
    for _ in range(hours):
        bets.begin(24 / HOURS_A_YEAR)
        share = 0.04 * random.random((lines, 1))
        cells = (1 - share) * cdf[0] + share * cdf[1]
        drawn = random.multinomial(an_hour, cells / cells.sum(-1, keepdims=True))
        inside = np.einsum("ljc,lc->lj", cdf[2], drawn)
        bets.see(inside, an_hour)
        alarmed |= bets.log_evidence >= math.log(1 / YEARLY_RISK)
    risk = CALIBRATION_RISK + YEARLY_RISK * 24 * hours / HOURS_A_YEAR
    assert alarmed.mean() <= risk + 3 * math.sqrt(risk / lines)


def _cdf_table(found: list[Intervals]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities of the cells between a line's ends, by class, and who holds them."""
    tables = []
    for one in found:
        ends = np.sort(
            np.concatenate((one.low[:16:4], one.low[18:], one.high[:4], one.high[16:18]))
        )
        ends = ends[np.isfinite(ends)]
        z = np.concatenate(([-np.inf], logits(ends), [np.inf]))
        cells = [np.diff(norm.cdf(z, at, 1.5)) for at in (-2, 2)]
        edges = np.concatenate(([-np.inf], ends, [np.inf]))
        holds = (edges[None, :-1] >= one.low[:, None]) & (edges[None, 1:] <= one.high[:, None])
        tables.append((*cells, holds.astype(np.int64)))
    return tuple(np.stack(parts) for parts in zip(*tables, strict=True))
