"""Placements: each item's rank among the other class, of which the AUROC is the mean.

Letters: d defects, c clean items. An item's placement is the share of the other class that it is on
the right side of; the mean placement of either class is the AUROC (DeLong, DeLong & Clarke-Pearson
1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """Placements in [0, 1], or a difference of them in [−1, 1]: float [d] and float [c]."""

    defects: Floats
    clean: Floats

    @classmethod
    def mean(cls, seeds: Sequence[Placements]) -> Placements:
        """Return the average over seeds."""
        return cls(
            np.mean([one.defects for one in seeds], axis=0),
            np.mean([one.clean for one in seeds], axis=0),
        )

    def minus(self, other: Placements) -> Placements:
        """Return the differences."""
        return Placements(self.defects - other.defects, self.clean - other.clean)

    @property
    def carriers(self) -> float:
        """The effective number of items that differ: (Σ|x|)² / Σx², of the class with fewer."""
        return min(_effective_number(self.defects), _effective_number(self.clean))

    @property
    def adjusted_mean(self) -> float:
        """The difference of AUROC, with one defect that speaks for each side added."""
        return float(self.defects.sum() / (self.defects.size + 2))

    @property
    def adjusted_error(self) -> float:
        """Its standard error, with one item per class and side added, as Bonett & Price do."""
        return float(np.sqrt(_adjusted_variance(self.defects) + _adjusted_variance(self.clean)))


def placements(ranking: ArrayLike, is_defect: ArrayLike) -> Placements:
    """Return the placements of ``ranking`` (float [n]: scores) under the labels bool [n]."""
    values, defect = np.asarray(ranking), np.asarray(is_defect, np.bool_)
    defects, clean = values[defect], values[~defect]
    return Placements(_share_below(defects, clean), 1 - _share_below(clean, defects))


def _share_below(values: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    """Return for each of ``values`` the share of ``others`` below it, ties counting one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return np.asarray((below + up_to) / (2 * others.size), np.float64)


def _effective_number(differences: Floats) -> float:
    squares = float((differences**2).sum())
    return float(np.abs(differences).sum()) ** 2 / squares if squares else 0.0


def _adjusted_variance(differences: Floats) -> float:
    total = differences.size + 2
    centre = differences.sum() / total
    squares = ((differences - centre) ** 2).sum() + (1 - centre) ** 2 + (1 + centre) ** 2
    return float(squares / total**2)
