"""A line watched for a year: false alarms, and the hours until a shift is noticed.

    python benchmarks/line_drift.py                    # 1,000 lines for a year: about 10 minutes
    python benchmarks/line_drift.py --lines 100

Prints a JSON row. Each line has calibration scores of its own (371 clean and 328 defect crops, or
``--calibration`` times as many; normal logits 4 apart with deviation 1.5) and gives 3,600 scores an
hour, 10 a second of which every tenth counts, with 0 to 4 % of defects, another share each hour. It
is looked at once an hour for 8,766 hours. Then all logits move up, and it is watched for 1,000
more.
Beside it, with ``--one-shot``, stands the test of ``drupe predict``, made anew every day of 2,000
scores: on how many of 20 lines without drift it has alarmed by the end of 60 days.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
from scipy.stats import beta, norm

from drupe.deployment.drift import CalibrationScores, DriftMonitor
from drupe.line.watch import drift as watch
from drupe.line.watch.bets import Bets
from provenance import circumstances

AN_HOUR, YEAR, AFTER = 3600, watch.HOURS_A_YEAR, 1000
ONE_SHOT_LINES, ONE_SHOT_DAYS, ONE_SHOT_SCORES = 20, 60, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--calibration", type=int, default=1)
    parser.add_argument("--one-shot", action="store_true", help="Also the test of drupe predict.")
    options = parser.parse_args()
    row = circumstances("line_drift.py", "numpy")
    random = np.random.default_rng(0)
    watch.upper_bound = quick_bound  # SciPy's, which gives the same
    found = [
        watch.Intervals.of(calibrated(random, options.calibration)) for _ in range(options.lines)
    ]
    assert all(one is not None for one in found)
    bets = Bets(np.stack([one.bounds for one in found]))
    at, alarms = run(random, bets, cells(found, 0.0), YEAR)
    row["lines"], row["false_alarms_in_a_year"] = options.lines, int(alarms)
    for shift in (0.25, 0.5, 0.75):
        late = Bets(np.stack([one.bounds for one in found]))
        late._logs = bets._logs.copy()
        at, alarms = run(random, late, cells(found, shift), AFTER, begun=YEAR)
        seen = np.sort(at[np.isfinite(at)])
        row[f"shift_{shift}"] = {
            "noticed": int(alarms),
            "hours_until_half": float(seen[len(at) // 2 - 1]) if len(seen) * 2 >= len(at) else None,
        }
    if options.one_shot:
        row["one_shot_lines_alarmed"] = one_shot(random)
        row["one_shot_lines"], row["one_shot_days"] = ONE_SHOT_LINES, ONE_SHOT_DAYS
    print(json.dumps(row))


def quick_bound(inside: int, items: int, risk: float) -> float:
    return 1.0 if inside >= items else float(beta.ppf(1 - risk, inside + 1, items - inside))


def logistic(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-z))).astype(np.float32)


def calibrated(random: np.random.Generator, times: int = 1) -> CalibrationScores:
    is_defect = np.arange(699 * times) >= 371 * times
    z = random.normal(np.where(is_defect, 2.0, -2.0), 1.5)
    return CalibrationScores.of(logistic(z), is_defect)


def cells(found: list[watch.Intervals], shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probability of each cell between a line's ends, by class, and who holds it."""
    tables = []
    for one in found:
        ends = np.unique(np.concatenate((one.low, one.high)))
        ends = ends[np.isfinite(ends)]
        z = np.concatenate(([-np.inf], np.log(ends / (1 - ends)), [np.inf]))
        edges = np.concatenate(([-np.inf], ends, [np.inf]))
        by_class = [np.diff(norm.cdf(z, mean + shift, 1.5)) for mean in (-2, 2)]
        holds = (edges[:-1] >= one.low[:, None]) & (edges[1:] <= one.high[:, None])
        missing = 13 - len(edges) + 1  # ends that coincide
        pad = ((0, 0), (0, missing))
        padded = [np.pad(part, (0, missing)) for part in by_class]
        tables.append((*padded, np.pad(holds, pad).astype(float)))
    clean, defect, holds = (np.stack(parts) for parts in zip(*tables, strict=True))
    return clean, defect, holds


def run(
    random: np.random.Generator,
    bets: Bets,
    table: tuple[np.ndarray, np.ndarray, np.ndarray],
    hours: int,
    begun: int = 0,
) -> tuple[np.ndarray, int]:
    """Return after how many hours each line alarmed (infinity: not), and how many did."""
    clean, defect, holds = table
    at = np.full(len(clean), np.inf)
    for hour in range(hours):
        bets.begin(1 / watch.HOURS_A_YEAR)
        share = 0.04 * random.random((len(clean), 1))
        mixed = (1 - share) * clean + share * defect
        drawn = random.multinomial(AN_HOUR, mixed / mixed.sum(-1, keepdims=True))
        inside = np.matmul(holds, drawn[..., None].astype(float))[..., 0]
        bets.see(inside, AN_HOUR)
        alarmed = bets.log_evidence >= math.log(1 / watch.YEARLY_RISK)
        at[alarmed & np.isinf(at)] = hour + 1
    return at, int(np.isfinite(at).sum())


def one_shot(random: np.random.Generator) -> int:
    """Return on how many lines without drift the test of ``drupe predict`` alarms within days."""
    alarmed = 0
    for _ in range(ONE_SHOT_LINES):
        calibration = calibrated(random)
        for _ in range(ONE_SHOT_DAYS):
            monitor = DriftMonitor(calibration)
            is_defect = random.random(ONE_SHOT_SCORES) < 0.02
            monitor.add(logistic(random.normal(np.where(is_defect, 2.0, -2.0), 1.5)))
            if monitor.compare().drifted:
                alarmed += 1
                break
    return alarmed


if __name__ == "__main__":
    main()
