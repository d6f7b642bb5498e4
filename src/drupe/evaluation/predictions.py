"""Predictions of a model: its score for each item of a split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from drupe.errors import InputError
from drupe.evaluation.grouping import first_of_each_group


@dataclass(frozen=True, eq=False)
class Predictions:
    """The labels and scores of n items.

    ``paths`` are POSIX and relative to the dataset root; ``classes`` is (clean, defect);
    ``is_defect`` (bool [n]) is the label; ``scores`` (float32 [n]) are sigmoid(z / T) in [0, 1];
    ``logits`` (float32 [n]) are z before temperature, ``None`` where a foreign CSV has none.
    ``types`` [n] are the types of defects, '' for clean items and where it isn't known, ``groups``
    [n] what each item comes from, such as a camera; ``None`` where nothing tells.
    Arrays are converted to those types; unequal lengths raise ``ValueError``. NaN, scores outside
    [0, 1] and labels other than true and false (0 and 1) raise
    :class:`~drupe.errors.InputError`.
    """

    paths: tuple[str, ...]
    is_defect: NDArray[np.bool_]
    logits: NDArray[np.float32] | None
    scores: NDArray[np.float32]
    classes: tuple[str, str]
    types: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.paths),)
        for name, dtype in (
            ("is_defect", np.bool_),
            ("logits", np.float32),
            ("scores", np.float32),
        ):
            values = getattr(self, name)
            if name == "logits" and values is None:
                continue
            array = _checked(name, values, dtype)
            if array.shape != shape:
                raise ValueError(f"{name}: must have shape {shape}, got {array.shape}")
            object.__setattr__(self, name, array)
        for name, told in (("types", self.types), ("groups", self.groups)):
            if told is not None and len(told) != len(self.paths):
                raise ValueError(f"{name}: must have length {len(self.paths)}, got {len(told)}")

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, items: NDArray[np.intp]) -> Predictions:
        """Return the predictions of ``items`` (indices), in that order."""
        return Predictions(
            paths=tuple(self.paths[index] for index in items),
            is_defect=self.is_defect[items],
            logits=None if self.logits is None else self.logits[items],
            scores=self.scores[items],
            classes=self.classes,
            types=_at(self.types, items),
            groups=_at(self.groups, items),
        )

    def distinct(self, groups: NDArray[Any]) -> Predictions:
        """Return one item per duplicate group (int [n]); see :func:`first_of_each_group`."""
        return self.take(first_of_each_group(self.paths, groups, self.is_defect))


def _at(values: tuple[str, ...] | None, items: NDArray[np.intp]) -> tuple[str, ...] | None:
    return None if values is None else tuple(values[index] for index in items)


def _checked(name: str, values: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """Return ``values`` as ``dtype``, which must not change what they say."""
    given = np.asarray(values)
    if name == "is_defect":
        wrong = ~np.isin(given, (0, 1)) if given.dtype != np.bool_ else np.zeros(0, bool)
        allowed = "true or false"
    elif name == "scores":
        wrong, allowed = not_probabilities(given), "in [0, 1]"
    else:
        wrong, allowed = ~np.isfinite(given.astype(np.float64)), "finite"
    if wrong.any():
        first = given[wrong].flat[0]
        raise InputError(
            f"{name}: must be {allowed}, got {first!s} and the like for "
            f"{int(wrong.sum()):,} of {given.size:,}"
        )
    return given.astype(dtype, copy=False)


def not_probabilities(scores: ArrayLike) -> NDArray[np.bool_]:
    """Return where ``scores`` aren't numbers in [0, 1]; NaN is none."""
    values = np.asarray(scores, np.float64)
    wrong: NDArray[np.bool_] = ~((values >= 0) & (values <= 1))
    return wrong


def scores_from_logits(logits: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Return sigmoid(z / T) as float32 [n]; a score is ≥ 0.5 exactly where z ≥ 0.

    A logit that is NaN or infinite is an :class:`InputError`.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature: must be in (0, ∞), got {temperature!r}")
    z = finite_logits(logits)
    scores: NDArray[np.float32] = np.asarray(expit(z / temperature), np.float32)
    # float32 rounds the sigmoid of a tiny negative z up to 0.5, which would turn the argmax.
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    np.minimum(scores, below_half, out=scores, where=z < 0)
    return scores


def finite_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """Return ``logits`` as float64 [n]; NaN or infinity among them is an :class:`InputError`."""
    z = np.asarray(logits, np.float64)
    broken = int(np.count_nonzero(~np.isfinite(z)))
    if broken:
        raise InputError(f"logits: must be finite, got NaN or infinity for {broken} of {z.size}")
    return z
