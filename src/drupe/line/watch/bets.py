"""Bets against "this share is at most p": evidence that may be looked at after every item.

Let each of a stream's items lie in a set with a probability of at most p, given all before it.
Then the likelihood ratio of a larger probability q,

    e = (q / p)^k · ((1 − q) / (1 − p))^(m − k)        of m items, of which k lie in the set,

has an expectation of at most 1, whatever that probability is: in it, k / p − (m − k) / (1 − p)
rises where q > p. So its running product Λ is a non-negative supermartingale, a bet that doesn't
win on average (Shafer & Vovk 2019; Ramdas, Grünwald, Vovk & Shafer 2023, *Statistical Science* 38,
"Game-theoretic statistics and safe anytime-valid inference").

A change may come after months, so a bet is begun anew every so often, each time with a small stake
w, and all of them run on: S ← (S + w) · e. Without a change S minus the stakes so far is a
supermartingale, so at any stopping time τ the expected S is at most the sum of the stakes until
then, and by Markov's inequality

    P(S ≥ 1 / α before time T) ≤ α · (stakes until T).

With stakes that add up to 1 in a year that is a false alarm in at most α of all years, however
often one looks (the e-detector of Shin, Ramdas & Rinaldo 2022, "E-detectors: a nonparametric
framework for sequential change detection", with stakes by the calendar). Averaging over sets and
over alternatives q keeps the inequality: an average of such S is one.

Letters: J sets, D alternatives of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError

Vector = NDArray[np.float64]

OFFSETS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""How far alternatives lie above p, in log-odds."""


class Bets:
    """Bets that the shares of J sets are larger than ``bounds``, float64 [..., J], in (0, 1).

    Leading axes are streams of their own, as simulations have them.
    """

    def __init__(self, bounds: Vector, offsets: tuple[float, ...] = OFFSETS) -> None:
        odds = np.log(bounds) - np.log1p(-bounds)
        shares = 1 / (1 + np.exp(-(odds[..., None] + np.array(offsets))))
        self.alternatives: Vector = shares
        self._inside = np.log(shares) - np.log(bounds)[..., None]
        self._outside = np.log1p(-shares) - np.log1p(-bounds)[..., None]
        self._logs: Vector = np.full(shares.shape, -np.inf)

    def begin(self, stake: float) -> None:
        """Begin another bet with ``stake`` on each alternative, before what :meth:`see` tells."""
        self._logs = np.logaddexp(self._logs, np.log(stake))

    def see(self, inside: NDArray[np.int64], items: int | NDArray[np.int64]) -> None:
        """Take note of ``items`` items, of which ``inside`` [..., J] lie in each set."""
        k = inside[..., None]
        m = np.asarray(items)[..., None, None]
        self._logs = self._logs + k * self._inside + (m - k) * self._outside

    @property
    def log_evidence(self) -> Vector:
        """log S, averaged over sets and alternatives, float64 [...]."""
        found: Vector = np.logaddexp.reduce(self._logs, axis=(-2, -1)) - np.log(
            self._logs.shape[-1] * self._logs.shape[-2]
        )
        return found

    @property
    def strongest(self) -> tuple[int, int]:
        """The set and the alternative with the most evidence, of a single stream."""
        place = np.unravel_index(int(self._logs.argmax()), self._logs.shape)
        return int(place[0]), int(place[1])

    def to_json(self) -> list[list[float | None]]:
        """Return log S of each set and alternative, None where no bet was begun."""
        return [[None if one == -np.inf else one for one in row] for row in self._logs.tolist()]

    def restore(self, document: object, source: str) -> None:
        """Go on from what :meth:`to_json` gave; ``source`` names it in messages.

        Raises:
            InputError: it is of other sets.
        """
        try:
            logs = np.array(document, dtype=float)  # None becomes NaN
        except (TypeError, ValueError):
            logs = np.empty(0)
        if logs.shape != self._logs.shape or np.isposinf(logs).any():
            raise InputError(f"{source}: evidence: must have the shape {list(self._logs.shape)}")
        self._logs = np.where(np.isnan(logs), -np.inf, logs)
