"""Defects that become harder to see: after how many labelled ones is it noticed?

    python benchmarks/line_recall.py                   # 2,000 lines: some minutes
    python benchmarks/line_recall.py --lines 200

Prints a JSON row. A bundle is certified for a recall of 99 %, and misses 0.5 % of the defects for a
year. Then a share of the defects becomes harder, so that they are missed, too. The alarm ``recall``
of the line's monitor hears of labelled defects alone, 24 or 240 a day (Poisson, by the hour), and
is looked at every hour; ``labelled_defects`` is how many it took from the change on. A line is
watched until it alarms or 10,000 defects were labelled (``alarmed``: how many of the lines did).
``false_alarms_in_a_year``: lines that miss all that the certificate allows, 1 %, and no more.

Without labels nobody sees it: ``drift_alarms`` counts, of 100 lines as in ``line_drift.py`` (0 to
4 % of defects, of the harder ones scores like those of clean items), those on which the alarm
``drift`` came within 1,000 hours of 3,600 scores.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import numpy as np

import line_drift
from drupe.line.watch import drift as watch
from drupe.line.watch.bets import Bets
from drupe.line.watch.recall import OFFSETS, YEARLY_RISK
from provenance import circumstances

MIN_RECALL, MISSED_BEFORE = 0.99, 0.005
HARDER = (0.01, 0.02, 0.05, 0.1, 0.2)
LABELLED_A_DAY = (24, 240)
MOST_LABELLED = 10_000
UNLABELLED_LINES, UNLABELLED_HOURS = 100, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=2000)
    options = parser.parse_args()
    row = {"benchmark": "line_recall", **circumstances("line_recall.py", "numpy")}
    random = np.random.default_rng(0)
    row |= {"lines": options.lines, "min_recall": MIN_RECALL, "missed_before": MISSED_BEFORE}
    row["labelled_a_day"] = {
        a_day: at_rate(random, options.lines, a_day / 24) for a_day in LABELLED_A_DAY
    }
    row["unlabelled_lines"], row["unlabelled_hours"] = UNLABELLED_LINES, UNLABELLED_HOURS
    row["drift_alarms"] = {share: unlabelled(random, share) for share in (0.02, 0.2)}
    print(json.dumps(row))


def at_rate(random: np.random.Generator, lines: int, an_hour: float) -> dict[str, Any]:
    """Return what happens with so many labelled defects an hour."""
    at_worst = run(random, new_bets(lines), an_hour, 1 - MIN_RECALL, watch.HOURS_A_YEAR)
    bets = new_bets(lines)
    before = run(random, bets, an_hour, MISSED_BEFORE, watch.HOURS_A_YEAR)
    found: dict[str, Any] = {
        "false_alarms_in_a_year": int(np.isfinite(at_worst).sum()),
        "false_alarms_in_a_year_before": int(np.isfinite(before).sum()),
    }
    for harder in HARDER:
        later = new_bets(lines)
        later._logs = bets._logs.copy()
        missed = MISSED_BEFORE + (1 - MISSED_BEFORE) * harder
        labelled = run(random, later, an_hour, missed, math.ceil(MOST_LABELLED / an_hour))
        in_order = np.sort(labelled)
        found[f"harder_{harder}"] = {
            "missed": round(missed, 5),
            "alarmed": int(np.isfinite(labelled).sum()),
            "labelled_defects": {
                "median": reached(in_order, 0.5),
                "90_percent": reached(in_order, 0.9),
            },
        }
    return found


def new_bets(lines: int) -> Bets:
    """Return the bets of as many monitors, as ``RecallWatch`` makes them for one."""
    return Bets(np.full((lines, 1), 1 - MIN_RECALL), OFFSETS)


def run(
    random: np.random.Generator, bets: Bets, an_hour: float, missed: float, hours: int
) -> np.ndarray:
    """Return after how many labelled defects each line alarmed, float64 [lines]; infinity: not."""
    lines = len(bets._logs)
    at, labelled = np.full(lines, np.inf), np.zeros(lines, np.int64)
    for _ in range(hours):
        bets.begin(1 / watch.HOURS_A_YEAR)
        defects = random.poisson(an_hour, lines)
        bets.see(random.binomial(defects, missed)[:, None], defects)
        labelled += defects
        alarmed = bets.log_evidence >= math.log(1 / YEARLY_RISK)
        at[alarmed & np.isinf(at)] = labelled[alarmed & np.isinf(at)]
        if np.isfinite(at).all():
            break
    return at


def reached(in_order: np.ndarray, share: float) -> int | None:
    """Return by how many labels so many of the lines had alarmed, None where fewer ever did."""
    value = in_order[math.ceil(share * len(in_order)) - 1]
    return int(value) if np.isfinite(value) else None


def unlabelled(random: np.random.Generator, harder: float) -> int:
    """Return on how many lines the scores alone tell that a share of the defects looks clean."""
    watch.upper_bound = line_drift.quick_bound
    found = [watch.Intervals.of(line_drift.calibrated(random)) for _ in range(UNLABELLED_LINES)]
    bets = Bets(np.stack([one.bounds for one in found]))
    clean, defect, holds = line_drift.cells(found, 0.0)
    mixed = (1 - harder) * defect + harder * clean
    return line_drift.run(random, bets, (clean, mixed, holds), UNLABELLED_HOURS)[1]


if __name__ == "__main__":
    main()
