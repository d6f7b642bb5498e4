"""Binomial intervals for proportions: counts are stored, rates derived.

Clopper–Pearson is exact and is what every claim rests on. Wilson is narrower and right on average
only; it is for drawing, where an interval is looked at and nothing is claimed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainccinv, betaincinv, ndtri

Rounding = Literal["nearest", "down", "up"]
Method = Literal["clopper-pearson", "wilson"]


def clopper_pearson(
    successes: float, trials: float, confidence: float, sides: int
) -> tuple[float, float]:
    """Return the lower and upper Clopper–Pearson bound of a proportion, each in [0, 1].

    The bounds are quantiles of beta distributions (Clopper & Pearson 1934; Brown, Cai & DasGupta
    2001), exactly 0 at no success and exactly 1 at no failure. Fractional counts,
    as from an effective sample size, use the same quantiles. No trials give (0, 1).
    """
    tail = (1 - confidence) / sides
    failures = trials - successes
    low = 0.0 if successes <= 0 else float(betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures <= 0 else float(betainccinv(successes + 1, failures, tail))
    return low, high


def lower_bounds(trials: int, confidence: float, sides: int) -> NDArray[np.float64]:
    """Return the lower Clopper–Pearson bound of every count, 0 to ``trials``: float64 [trials + 1].

    The upper bound of k successes is 1 minus the lower one of ``trials`` − k.
    """
    counts = np.arange(1, trials + 1)
    tail = (1 - confidence) / sides
    return np.concatenate([[0.0], betaincinv(counts, trials - counts + 1, tail)])


def wilson(successes: float, trials: float, confidence: float, sides: int) -> tuple[float, float]:
    """Return the lower and upper Wilson score bound of a proportion, each in [0, 1].

    (p̂ + z²/2n ± z √(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n) with p̂ = successes / n (Wilson 1927), n the
    trials: exactly 0 at no success and exactly 1 at no failure. No trials give (0, 1).
    """
    if not trials:
        return 0.0, 1.0
    z = float(ndtri(1 - (1 - confidence) / sides))
    rate, pull = successes / trials, z * z / trials
    centre = (rate + pull / 2) / (1 + pull)
    reach = z * math.sqrt(rate * (1 - rate) / trials + pull / (4 * trials)) / (1 + pull)
    low = 0.0 if successes <= 0 else max(0.0, centre - reach)
    high = 1.0 if successes >= trials else min(1.0, centre + reach)
    return low, high


BOUNDS = {"clopper-pearson": clopper_pearson, "wilson": wilson}


def check_confidence(confidence: float, sides: int) -> None:
    """Raise ``ValueError`` unless ``0 < confidence < 1`` and ``sides`` is 1 or 2."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: must be in (0, 1), got {confidence!r}")
    if sides not in (1, 2):
        raise ValueError(f"sides: must be 1 or 2, got {sides!r}")


def format_percent(
    rate: float | None, decimals: int = 1, sign: str = " %", rounding: Rounding = "nearest"
) -> str:
    """Format ``rate`` in [0, 1] as a percentage: 0.929 is ``"92.9 %"``; ``None`` is ``"–"``.

    Decimals are added until a rate that is not exactly 0 or 1 stops looking like it:
    12,259 of 12,260 is "99.99 %". Exactly 0 and 1 are "0 %" and "100 %". Bounds are rounded
    outward (``down`` a lower one, ``up`` an upper one), so that none looks better than it is.
    """
    if rate is None:
        return "–"
    if rate in (0, 1):
        return f"{100 * rate:.0f}{sign}"
    while (percent := _rounded(rate, decimals, rounding)) in (0, 100):
        decimals += 1
    return f"{percent:.{decimals}f}{sign}"


def format_interval(
    low: float, high: float, decimals: int = 1, *, dash: str = "–", sign: str = " %"
) -> str:
    """Return ``"90.9–94.5 %"``: bounds of a rate, rounded outward so that none looks tighter."""
    start = format_percent(low, decimals, "", "down")
    return f"{start}{dash}{format_percent(high, decimals, sign, 'up')}"


def describe_interval(
    low: float, high: float, confidence: float, sides: int, decimals: int = 1
) -> str:
    """Return ``"95 % interval 90.9–94.5 %"``, or ``"95 % one-sided bounds 91.2–94.3 %"``."""
    kind = "interval" if sides == 2 else "one-sided bounds"
    return f"{format_confidence(confidence)} {kind} {format_interval(low, high, decimals)}"


def format_points(difference: float, decimals: int = 1) -> str:
    """Return a difference of rates in percentage points with its sign: ``"+0.7"``."""
    return f"{100 * difference:+.{decimals}f}"


def format_points_interval(low: float, high: float, decimals: int = 1) -> str:
    """Return ``"-0.4 to +1.9"``: bounds of a difference of rates, rounded outward."""
    start, end = _rounded(low, decimals, "down"), _rounded(high, decimals, "up")
    return f"{start:+.{decimals}f} to {end:+.{decimals}f}"


def _rounded(rate: float, decimals: int, rounding: Rounding) -> Decimal:
    """Return ``rate`` in percent, rounded in decimal: binary steps would turn 0.9405 into 94.04."""
    exact = 100 * Decimal(repr(float(rate)))
    modes = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}
    return exact.quantize(Decimal(1).scaleb(-decimals), rounding=modes[rounding])


@dataclass(frozen=True)
class Proportion:
    """``successes`` of ``trials`` with an interval: exact Clopper–Pearson, or Wilson's for display.

    With ``sides=2`` the interval holds the true rate with ``confidence``; with ``sides=1``
    ``low`` and ``high`` are two separate one-sided bounds, each holding with ``confidence``.
    Impossible values raise ``ValueError``.
    """

    successes: int
    trials: int
    confidence: float = 0.95
    sides: int = 2
    method: Method = "clopper-pearson"

    def __post_init__(self) -> None:
        for name in ("successes", "trials"):
            count = getattr(self, name)
            if count != int(count):
                raise ValueError(f"{name}: must be a whole number, got {count!r}")
            object.__setattr__(self, name, int(count))  # numpy integers are not JSON
        if not 0 <= self.successes <= self.trials:
            raise ValueError(f"successes: must be in [0, {self.trials}], got {self.successes}")
        check_confidence(self.confidence, self.sides)
        if self.method not in BOUNDS:
            raise ValueError(f"method: must be one of {', '.join(BOUNDS)}, got {self.method!r}")

    @property
    def rate(self) -> float | None:
        """The share of successes, or ``None`` where nothing was tried."""
        return self.successes / self.trials if self.trials else None

    @property
    def low(self) -> float:
        """The lower bound; exactly 0 when there is no success."""
        return self._bounds()[0]

    @property
    def high(self) -> float:
        """The upper bound; exactly 1 when there is no failure."""
        return self._bounds()[1]

    def _bounds(self) -> tuple[float, float]:
        return BOUNDS[self.method](self.successes, self.trials, self.confidence, self.sides)

    @property
    def counts(self) -> str:
        """The counts as text: ``"809 of 871"``."""
        return f"{self.successes:,} of {self.trials:,}"

    def percent(self, decimals: int = 1) -> str:
        """Return the rate as a percentage that never shows a false 0 % or 100 %."""
        return format_percent(self.rate, decimals)

    def with_counts(self) -> str:
        """Return ``"92.9 % (809 of 871)"``."""
        return f"{self.percent()} ({self.counts})"

    def describe(self, decimals: int = 1) -> str:
        """Return ``"92.9 % (809 of 871; 95 % interval 91.0–94.5 %)"``."""
        low, high = self._bounds()
        bounds = describe_interval(low, high, self.confidence, self.sides, decimals)
        return f"{self.percent(decimals)} ({self.counts}; {bounds})"

    def to_json(self) -> dict[str, Any]:
        """Return the eight keys that a proportion has in every document."""
        low, high = self._bounds()
        return {
            "successes": self.successes,
            "trials": self.trials,
            "rate": self.rate,
            "low": low,
            "high": high,
            "method": self.method,
            "confidence": self.confidence,
            "sides": self.sides,
        }


def format_confidence(confidence: float) -> str:
    """Return a confidence level, rounded down, without needless decimals: ``"95 %"``."""
    return _trimmed(format_percent(confidence, decimals=2, sign="", rounding="down"))


def format_target(rate: float) -> str:
    """Return a required rate with all its decimals: ``"99 %"``, ``"98.996 %"``."""
    return _trimmed(f"{100 * Decimal(repr(float(rate))):f}")


def _trimmed(text: str) -> str:
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"
