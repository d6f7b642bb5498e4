from __future__ import annotations

import io

import numpy as np
import pytest

from drupe.deployment import drift
from drupe.deployment.drift import (
    FALSE_ALARMS,
    CalibrationScores,
    DriftMonitor,
    best_mixture,
    calibration_file,
    read_calibration,
)


def scores(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-z))).astype(np.float32)


def line(random, count: int, share: float, shift: float = 0.0) -> np.ndarray:
    """Scores of ``count`` items of which about ``share`` are defects, logits moved by ``shift``."""
    is_defect = random.random(count) < share
    return scores(random.normal(np.where(is_defect, 2.0, -2.0) + shift, 1.5))


def calibrated(random, clean: int = 400, defect: int = 300) -> CalibrationScores:
    is_defect = np.arange(clean + defect) >= clean
    z = random.normal(np.where(is_defect, 2.0, -2.0), 1.5)
    return CalibrationScores.of(scores(z), is_defect)


def alarms(random, repeats: int, count: int, share: float, shift: float = 0.0) -> int:
    found = 0
    for _ in range(repeats):
        monitor = DriftMonitor(calibrated(random))
        monitor.add(line(random, count, share, shift))
        compared = monitor.compare()
        assert compared is not None
        found += compared.drifted
    return found


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    monkeypatch.setattr(drift, "RESAMPLES", 199)
    monkeypatch.setattr(drift, "POINTS", 30)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4])
def test_another_share_of_defects_is_no_drift(few_resamples, share) -> None:
    # 60 comparisons at 1 %: more than 4 alarms come by chance once in 4,000 times.
    assert alarms(np.random.default_rng(1), 60, 1000, share) <= 4


def test_a_line_that_moved_is_found_whatever_its_share_of_defects(few_resamples) -> None:
    random = np.random.default_rng(2)
    assert alarms(random, 20, 1000, 0.02, shift=1.0) >= 18
    assert alarms(random, 20, 1000, 0.4, shift=1.0) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("count", [200, 2000, 20_000])
def test_the_rate_of_false_alarms(monkeypatch, count, share) -> None:
    monkeypatch.setattr(drift, "POINTS", 30)
    monkeypatch.setattr(drift, "RESAMPLES", 999)
    repeats = 400
    found = alarms(np.random.default_rng(count), repeats, count, share)
    # Three standard deviations: of the count, and of the resamples, which are always the same.
    spread = np.sqrt(FALSE_ALARMS / repeats + FALSE_ALARMS / drift.RESAMPLES)
    assert found / repeats <= FALSE_ALARMS + 3 * spread


def test_what_is_found_is_said() -> None:
    random = np.random.default_rng(3)
    calibration = calibrated(random, 4000, 3000)
    monitor = DriftMonitor(calibration)
    for part in np.array_split(line(random, 5000, 0.1), 7):
        monitor.add(part)
    found = monitor.compare()
    assert found is not None
    assert found.images == 5000
    assert not found.drifted
    assert found.defect_share == pytest.approx(0.1, abs=0.03)
    moved = DriftMonitor(calibration)
    moved.add(line(random, 5000, 0.1, shift=1.0))
    other = moved.compare()
    assert other is not None
    assert other.drifted
    assert other.p_value == pytest.approx(1 / (1 + drift.RESAMPLES))
    apart = abs(other.expected_below - other.seen_below)
    assert other.distance == pytest.approx(apart, abs=1e-4)
    clean_below = float(np.mean(calibration.clean <= other.score))
    defects_below = float(np.mean(calibration.defect <= other.score))
    mixture = (1 - other.defect_share) * clean_below + other.defect_share * defects_below
    assert other.expected_below == pytest.approx(mixture, abs=1e-6)
    assert other.to_json()["false_alarm_rate"] == FALSE_ALARMS


def test_the_best_mixture_is_that_of_a_fine_grid() -> None:
    random = np.random.default_rng(4)
    seen, clean, defect = (np.sort(random.random((6, 20)), axis=1) for _ in range(3))
    shares = np.linspace(0, 1, 2001)[:, None, None]
    grid = np.abs(seen - (1 - shares) * clean - shares * defect).max(axis=2)
    distance, share = best_mixture(seen, clean, defect)
    np.testing.assert_allclose(distance, grid.min(axis=0), atol=1e-3)
    assert ((share >= 0) & (share <= 1)).all()
    assert (distance <= grid.min(axis=0) + 1e-6).all()


def test_equal_scores_and_few_scores() -> None:
    constant = CalibrationScores(np.full(200, 0.1, np.float32), np.full(200, 0.9, np.float32))
    monitor = DriftMonitor(constant)
    monitor.add(np.full(99, 0.1, np.float32))
    assert monitor.compare() is None
    monitor.add(np.full(1, 0.9, np.float32))
    found = monitor.compare()
    assert found is not None
    assert not found.drifted
    halves = CalibrationScores(*np.full((2, 200), 0.5, np.float32))  # nothing to tell apart
    monitor = DriftMonitor(halves)
    monitor.add(np.full(300, 0.7, np.float32))
    found = monitor.compare()
    assert found is None
    nothing = np.empty(0, np.float32)
    unknown = DriftMonitor(CalibrationScores(nothing, nothing))
    unknown.add(np.full(500, 0.1, np.float32))
    assert unknown.compare() is None


def test_calibration_scores_come_back_as_they_were() -> None:
    written = calibrated(np.random.default_rng(5))
    content = calibration_file({"onnxruntime fp32": written})
    read = read_calibration(content, "onnxruntime fp32")
    assert read is not None
    np.testing.assert_array_equal(read.clean, written.clean)
    np.testing.assert_array_equal(read.defect, written.defect)
    assert (np.diff(read.clean) >= 0).all()
    assert read_calibration(content, "openvino int8") is None
    for damaged in (b"", b"no archive", content[:-30]):
        with pytest.raises(ValueError, match="no calibration scores"):
            read_calibration(damaged, "onnxruntime fp32")


def packed(**changed: np.ndarray) -> bytes:
    """A file of calibration scores with some arrays changed, left out where None."""
    of_both = {"a_clean": np.float32([0.1, 0.2]), "a_defect": np.float32([0.8])} | changed
    buffer = io.BytesIO()
    np.savez(buffer, **{name: one for name, one in of_both.items() if one is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"a_clean": np.array([1, 0])}, r"a_clean: must be float32 \[n\], got int64 \[2\]"),
        ({"a_clean": np.array([0.1])}, r"a_clean: must be float32 \[n\], got float64 \[1\]"),
        ({"a_defect": np.array(["0.8"])}, r"a_defect: must be float32 \[n\], got <U3 \[1\]"),
        ({"a_defect": np.array([True])}, r"a_defect: must be float32 \[n\], got bool \[1\]"),
        ({"a_defect": np.float32([[0.8]])}, r"must be float32 \[n\], got float32 \[1, 1\]"),
        ({"a_defect": np.float32(0.8)}, r"must be float32 \[n\], got float32 \[\]"),
        ({"a_defect": np.float32([np.nan])}, r"a_defect: must be scores in \[0, 1\]"),
        ({"a_clean": np.float32([0.1, -4.06])}, r"a_clean: must be scores in \[0, 1\]"),
        ({"a_defect": None}, "no calibration scores .lacks a_defect"),
        ({"a_clean": None}, "no calibration scores .lacks a_clean"),
    ],
)
def test_calibration_scores_of_another_kind_are_refused(changed: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_calibration(packed(**changed), "a")


def test_a_function_may_have_no_calibration_scores() -> None:
    assert read_calibration(packed(), "b") is None
    found = read_calibration(packed(), "a")
    assert found is not None
    assert found.clean.tolist() == np.float32([0.1, 0.2]).tolist()
