"""The share of training items to set aside, so that a certificate leaves clean fruit."""

from __future__ import annotations

from drupe.evaluation.certificate import needed_defects

MISSES = 3
"""Misses that calibration should allow: with none, a single wrong label sets the threshold."""

SHARES = (1 / 4, 1 / 3, 1 / 2)
"""Shares to choose from: few, so that a growing dataset seldom changes its share, and at most half,
because what is set aside isn't learnt from."""


def holdout_share(defects: int, min_recall: float = 0.99, confidence: float = 0.95) -> float:
    """Return the share of training items for calibration, given their distinct ``defects``.

    The smallest of :data:`SHARES` that leaves enough defects to certify ``min_recall`` at
    ``confidence`` with :data:`MISSES` missed (773 for 99 % at 95 %); a half where none does. With
    n defects and k misses allowed the threshold lies at the (k + 1)-th lowest defect, so a fresh
    defect falls below it with an expected chance of (k + 1) / (n + 1): 0.33 % at 299 defects and
    no miss, 0.52 % at 773 and three, of the 1 % that is promised. What lies between is clean fruit
    given away.

    docs/training.md shows what this brought and cost on real crops.
    """
    wanted = needed_defects(min_recall, confidence, MISSES)
    return next((share for share in SHARES if share * defects >= wanted), SHARES[-1])
