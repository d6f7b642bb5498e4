"""Simulated lines: does the certificate hold as often as it says, and does the naive choice not?

Each case knows the true recall at every threshold, because its scores come from a known law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import beta, binom

from drupe.evaluation.certificate import NotCertifiableError, certify_threshold

SETS = 10_000
TARGET, CONFIDENCE = 0.99, 0.95
STANDARD_ERROR = np.sqrt(0.05 * 0.95 / SETS)

Scores = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Line:
    """How defects and clean items score, and the true recall at a threshold."""

    defects: Scores
    clean: Scores
    recall: Callable[[float], float]


SMOOTH = Line(
    defects=lambda random, n: random.beta(5, 1.5, n),
    clean=lambda random, n: random.random(n),  # everywhere, so that gaps are narrow
    recall=lambda threshold: float(beta.sf(threshold, 5, 1.5)),
)
OVERLAPPING = Line(
    defects=lambda random, n: random.beta(1.2, 1, n),
    clean=lambda random, n: random.beta(1, 6, n),
    recall=lambda threshold: float(beta.sf(threshold, 1.2, 1)),
)


def rounded(line: Line, decimals: int) -> Line:
    """The same line with scores that were written with few decimals."""
    step = 10.0**-decimals

    def recall(threshold: float) -> float:
        # A score rounds to at least the threshold from half a step below the next step on.
        return line.recall(np.ceil(threshold / step - 1e-9) * step - step / 2)

    return Line(
        defects=lambda random, n: np.round(line.defects(random, n), decimals),
        clean=lambda random, n: np.round(line.clean(random, n), decimals),
        recall=recall,
    )


LEVELS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
CHANCES = np.array([0.004, 0.006, 0.04, 0.15, 0.8])
FIVE_LEVELS = Line(
    defects=lambda random, n: random.choice(LEVELS, n, p=CHANCES),
    clean=lambda random, n: random.choice(LEVELS, n, p=CHANCES[::-1]),
    recall=lambda threshold: float(CHANCES[threshold <= LEVELS].sum()),
)

CASES = {
    "smooth, 299": (SMOOTH, 299, TARGET),
    "smooth, 473": (SMOOTH, 473, TARGET),
    "smooth, 1312": (SMOOTH, 1312, TARGET),
    "overlapping, 700": (OVERLAPPING, 700, TARGET),
    "two decimals, 473": (rounded(SMOOTH, 2), 473, TARGET),
    "one decimal, 1312": (rounded(OVERLAPPING, 1), 1312, TARGET),
    "five levels, 628": (FIVE_LEVELS, 628, TARGET),
    "small, 32 for 90 %": (SMOOTH, 32, 0.9),
}


def broken_share(line: Line, defects: int, target: float, choose) -> tuple[float, int]:
    """Return the share of certified sets whose true recall is below target, and their number."""
    random = np.random.default_rng(20261125)
    labels = np.arange(defects + 1500) < defects
    broken = certified = 0
    for _ in range(SETS):
        scores = np.concatenate([line.defects(random, defects), line.clean(random, 1500)])
        try:
            threshold = choose(scores, labels, target)
        except NotCertifiableError:
            continue
        certified += 1
        broken += line.recall(threshold) < target
    return broken / max(certified, 1), certified


def certified_choice(scores: np.ndarray, labels: np.ndarray, target: float) -> float:
    certificate = certify_threshold(scores, labels, min_recall=target, confidence=CONFIDENCE)
    return certificate.threshold


def naive_choice(scores: np.ndarray, labels: np.ndarray, target: float) -> float:
    """The highest threshold whose recall on these very items is at least the target."""
    ranked = np.sort(scores[labels])
    return float(ranked[int(np.floor(ranked.size * (1 - target) + 1e-9))])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_recall_is_missed_as_rarely_as_promised(name: str) -> None:
    line, defects, target = CASES[name]
    share, certified = broken_share(line, defects, target, certified_choice)
    print(f"{name}: {100 * share:.2f} % of {certified:,} certificates broken")
    assert certified == SETS
    assert share <= 0.05 + 3 * STANDARD_ERROR
    if line in (SMOOTH, OVERLAPPING):
        allowed = max(k for k in range(99) if binom.cdf(k, defects, 1 - target) <= 0.05)
        exact = binom.cdf(allowed, defects, 1 - target)
        assert abs(share - exact) <= 3 * np.sqrt(exact * (1 - exact) / SETS)


@pytest.mark.slow
def test_the_naive_choice_breaks_its_promise_every_other_time() -> None:
    share, _ = broken_share(SMOOTH, 473, TARGET, naive_choice)
    print(f"naive: {100 * share:.1f} % broken")
    assert share > 0.4
