"""Paired bootstrap of AUROC over images: every model sees the same resampled images.

Letters: N items in G duplicate groups, d of them defects and c clean; M models; B resamples, taken
b at a time. A resample draws G groups with replacement; an item weighs as often as its
group was drawn (Efron & Tibshirani 1993, ch. 6 and 8; clusters as units: Field & Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK_BYTES = 4 * 2**20
"""Of the weights that one thread holds at a time: what stays in a core's cache is fastest."""

Floats = NDArray[np.float32]


def resampled_auroc(
    rankings: Sequence[ArrayLike],
    is_defect: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    threads: int = 2,
) -> NDArray[np.float64]:
    """Return the AUROC of each model in each resample, float64 [B, M]; NaN without both classes.

    Parameters
    ----------
    rankings
        M arrays, float [N]: scores or anything that ranks as they do.
    is_defect, groups
        bool [N] and int [N].
    resamples
        B.
    seed
        Of the drawing; the result depends on neither ``threads`` nor the machine's memory.
    threads
        How many chunks are worked on at once.
    """
    defect = np.asarray(is_defect, np.bool_)
    number = np.unique(np.asarray(groups), return_inverse=True)[1]
    ranked = [_Ranking(np.asarray(ranking), defect) for ranking in rankings]
    count = int(number.max()) + 1

    def work(chunk: tuple[int, np.random.Generator]) -> NDArray[np.float64]:
        size, random = chunk
        weights = _draw(count, size, random)
        of_defects, of_clean = weights[number[defect]], weights[number[~defect]]
        return np.stack([one.auroc(of_defects, of_clean) for one in ranked], axis=1)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, _chunks(resamples, defect.size, seed))))


def _chunks(resamples: int, items: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    size = max(1, CHUNK_BYTES // (4 * items))
    starts = range(0, resamples, size)
    for start, child in zip(starts, np.random.SeedSequence(seed).spawn(len(starts)), strict=True):
        yield min(size, resamples - start), np.random.default_rng(child)


def _draw(groups: int, size: int, random: np.random.Generator) -> Floats:
    """Return how often each group was drawn in each resample, float32 [G, b]."""
    drawn = random.integers(groups, size=(groups, size)) * size + np.arange(size)
    return (
        np.bincount(drawn.ravel(), minlength=groups * size).reshape(groups, size).astype(np.float32)
    )


class _Ranking:
    """Clean items below each defect: found once, used in every resample."""

    def __init__(self, ranking: NDArray[np.floating], defect: NDArray[np.bool_]) -> None:
        clean = ranking[~defect]
        self.order = np.argsort(clean, kind="stable")
        ascending = clean[self.order]
        self.below = np.searchsorted(ascending, ranking[defect], side="left")
        self.up_to = np.searchsorted(ascending, ranking[defect], side="right")
        self.has_ties = not np.array_equal(self.below, self.up_to)

    def auroc(self, of_defects: Floats, of_clean: Floats) -> NDArray[np.float64]:
        """Return the AUROC, float64 [b], for weights of defects [d, b] and of clean items [c, b].

        Σ over defects of weight × (weight of clean items below + half of those tied), over the
        product of the classes' weights.
        """
        climbed = np.zeros((len(of_clean) + 1, of_clean.shape[1]), np.float32)
        np.cumsum(of_clean[self.order], axis=0, out=climbed[1:])
        wins = np.einsum("db,db->b", of_defects, climbed[self.below])
        if self.has_ties:
            wins = (wins + np.einsum("db,db->b", of_defects, climbed[self.up_to])) / 2
        pairs = of_defects.sum(axis=0, dtype=np.float64) * climbed[-1]
        with np.errstate(invalid="ignore"):
            return np.asarray(wins / pairs, np.float64)
