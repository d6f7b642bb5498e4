"""Simulated lines with types of defects and groups: do all promises hold together as often as said?

Each case knows the true recall of every slice at every threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import beta, binom

from drupe.evaluation.certificate import Promise, certify_threshold

CONFIDENCE = 0.95
QUICK, MANY = 500, 10_000


@dataclass(frozen=True)
class Law:
    """Defects of one slice score Beta(a, b); n of them are in calibration."""

    a: float
    b: float
    n: int
    recall: float
    decimals: int | None = None

    def draw(self, random: np.random.Generator) -> np.ndarray:
        scores = random.beta(self.a, self.b, self.n)
        return scores if self.decimals is None else np.round(scores, self.decimals)

    def is_broken(self, threshold: float) -> bool:
        if self.decimals is not None:
            step = 10.0**-self.decimals
            threshold = np.ceil(threshold / step - 1e-9) * step - step / 2
        return float(beta.sf(threshold, self.a, self.b)) < self.recall


CASES = {
    "one hard type": [Law(5, 1.5, 500, 0.99), Law(2, 1.2, 300, 0.95), Law(9, 1.2, 700, 0.99)],
    "types alike": [Law(5, 1.5, 300, 0.98)] * 3,
    "the rare one is asked for less": [Law(5, 1.5, 600, 0.99), Law(5, 1.5, 60, 0.95)],
    "two decimals": [Law(5, 1.5, 500, 0.99, 2), Law(2, 1.2, 300, 0.95, 2)],
    "five cameras, one bad": [Law(5, 1.5, 300, 0.97)] * 4 + [Law(2.5, 1.5, 300, 0.97)],
    "twenty groups alike": [Law(5, 1.5, 120, 0.97)] * 20,
}
HARDEST = {"one hard type": 1, "five cameras, one bad": 4}
"""Where one slice sets the threshold nearly always: its place."""


def broken_share(laws: list[Law], sets: int) -> tuple[float, float]:
    """Return how often any promise is broken, with promises and with the overall claim alone."""
    random = np.random.default_rng(20261127)
    place = np.repeat(np.arange(len(laws) + 1), [*(law.n for law in laws), 800])
    is_defect = place < len(laws)
    overall = min(law.recall for law in laws)
    promises = [Promise("type", str(k), law.recall, place == k) for k, law in enumerate(laws)]
    broken = np.zeros(2)
    for _ in range(sets):
        scores = np.concatenate([*(law.draw(random) for law in laws), random.random(800)])
        for column, asked in enumerate((promises, ())):
            threshold = certify_threshold(
                scores, is_defect, min_recall=overall, confidence=CONFIDENCE, promises=asked
            ).threshold
            broken[column] += any(law.is_broken(threshold) for law in laws)
    share, share_without = broken / sets
    return float(share), float(share_without)


def check(name: str, sets: int) -> None:
    laws = CASES[name]
    share, without = broken_share(laws, sets)
    print(f"{name}: {100 * share:.2f} % broken, {100 * without:.1f} % by the overall claim alone")
    assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / sets)
    if name in HARDEST:
        hardest = laws[HARDEST[name]]
        miss = 1 - hardest.recall
        allowed = max(k for k in range(99) if binom.cdf(k, hardest.n, miss) <= 0.05)
        exact = binom.cdf(allowed, hardest.n, miss)
        # As often as that slice's promise alone: nothing is lost to the number of promises.
        assert abs(share - exact) <= 3 * np.sqrt(exact * (1 - exact) / sets) + 0.005
        assert without > 0.5


@pytest.mark.parametrize("name", ["one hard type", "five cameras, one bad"])
def test_all_promises_hold_together(name: str) -> None:
    check(name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_promises_hold_together_as_often_as_stated(name: str) -> None:
    check(name, MANY)
