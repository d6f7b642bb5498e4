"""How high clean yield can get where some defects look good: the table of docs/statistics.md."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from drupe.evaluation.certificate import certify_threshold, misses_allowed

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
DEFECTS = (299, 660, 1312)
GOOD, DRAWS = 2000, 400


def table() -> list[tuple[int, int, float]]:
    """Return the page's (crops that look good, calibration defects, highest clean yield)."""
    text = PAGE.read_text().partition("**How high clean yield can get**")[2]
    rows = re.findall(r"^\| (\d+) \| (\d+) % \| (\d+) % \| (\d+) % \|$", text, re.MULTILINE)
    return [
        (int(alike), defects, int(percent) / 100)
        for alike, *percents in rows
        for defects, percent in zip(DEFECTS, percents, strict=True)
    ]


def test_the_page_has_a_table() -> None:
    assert len(table()) == 15


@pytest.mark.parametrize(("alike", "defects", "highest"), table())
def test_a_network_that_errs_nowhere_else_reaches_the_bound(
    alike: int, defects: int, highest: float
) -> None:
    allowed = misses_allowed(defects, 0.99, 0.95)
    assert highest == pytest.approx(min(1.0, (allowed + 1) / (alike + 1)), abs=0.0051)
    random = np.random.default_rng([alike, defects])
    labels = np.arange(defects + GOOD) < defects
    yields = []
    for _ in range(DRAWS):
        # Good crops, and defects that look like them, below a half; the other defects above.
        scores = random.random(defects + GOOD) / 2
        scores[alike:defects] += 0.5
        threshold = certify_threshold(scores, labels).threshold
        yields.append(np.mean(scores[defects:] < threshold))

    error = np.std(yields) / np.sqrt(DRAWS)
    assert np.mean(yields) == pytest.approx(highest, abs=3.5 * error + 0.006)
