"""Certified thresholds: "recall is at least R" as a statement with a stated confidence.

Letters: n defects in calibration, R the recall to certify, k the misses that n defects allow.

A threshold picked as "the highest with an empirical recall of R" keeps its promise about half of
the time. The rule here is the distribution-free tolerance bound of an order statistic (Wilks 1941;
as a risk-controlling choice, Bates et al. 2021): with the threshold at or below the (k + 1)-th
smallest defect score, the true miss rate exceeds 1 − R with probability at most
P(Bin(n, 1 − R) ≤ k), whatever the scores' distribution; ties only make it smaller.

Several promises, one threshold: recall of each slice j (a type of defect, a group, all defects) is
to be at least R_j. Let t_j be the threshold that promise j allows by itself, at the full
confidence, and t the lowest of them. All promises hold together with that confidence; no
correction for their number is due. For a slice's true recall never rises with the threshold, so
there is a highest T_j up to which promise j holds, and all hold exactly where t ≤ T, the lowest of
the T_j. Let h be the slice with T_h = T, which the calibration items have no part in. A promise is
broken only if t > T_h, so because of t ≤ t_h only if t_h > T_h, and that has probability at most
1 − confidence. (An intersection-union test, Berger 1982: all are rejected at the level of one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc
from scipy.stats import binom

from drupe.errors import DrupeError, InputError
from drupe.evaluation.bisection import smallest_above
from drupe.evaluation.intervals import Proportion, format_target
from drupe.evaluation.metrics import Counts

METHOD = "order-statistic"
ASSUMPTION = (
    "Exchangeability: the crops to come are like the calibration crops, from the same line, "
    "camera, light and fruit, and defects are labelled by the same standard."
)
LARGEST_SEARCH = 10**12
"""Defects beyond which a recall this close to 1 is not certified: nobody labels that many."""


Kind = Literal["type", "group"]


@dataclass(frozen=True)
class Lacking:
    """A slice with too few ``defects`` for its promise; ``needed``: the fewest, none missed."""

    kind: Kind
    name: str
    min_recall: float
    defects: int
    needed: int

    @property
    def claim(self) -> str:
        """What can't be promised."""
        return describe_promise(self.kind, self.name, self.min_recall)


class NotCertifiableError(DrupeError):
    """There are too few defects. ``needed_defects`` is how many it takes, none of them missed.

    ``lacking``: the slices with too few; those of all slices together may then be enough.
    ``in_sample`` says why none of the calibration items counts, where that is so.
    """

    def __init__(
        self,
        defects: int,
        min_recall: float,
        confidence: float,
        in_sample: str | None = None,
        lacking: Sequence[Lacking] = (),
    ) -> None:
        self.defects, self.min_recall, self.confidence = defects, min_recall, confidence
        self.in_sample, self.lacking = in_sample, tuple(lacking)
        self.needed_defects = needed_defects(min_recall, confidence)
        refusal = f"recall ≥ {min_recall:g} can't be certified at confidence {confidence:g}"
        if in_sample:
            super().__init__(
                f"{refusal}: {in_sample}. It takes at least {self.needed_defects:,} distinct "
                "defects among newly collected crops: drupe threshold RUN --data DIR"
            )
            return
        short = [f"{one.claim} takes {one.needed:,}, got {one.defects:,}" for one in self.lacking]
        if self.lacking and defects >= self.needed_defects:
            super().__init__(
                f"what was asked can't be certified at confidence {confidence:g}, by the number of "
                f"distinct defects in calibration: {'; '.join(short)}"
            )
            return
        super().__init__(
            "; ".join(
                [
                    f"{refusal}: it takes at least {self.needed_defects:,} distinct defects in "
                    f"calibration, got {defects:,}",
                    *short,
                ]
            )
        )


def check_target(min_recall: float, confidence: float) -> None:
    """Raise an :class:`InputError` unless 0 < ``min_recall`` < 1 and ½ ≤ ``confidence`` < 1."""
    problems = []
    if not 0 < min_recall < 1:
        problems.append(f"min_recall: must be in (0, 1), got {min_recall:g}")
    if not 0.5 <= confidence < 1:
        problems.append(f"confidence: must be in [0.5, 1), got {confidence:g}")
    if problems:
        raise InputError(problems)


def chance_of_few_misses(misses: ArrayLike, defects: ArrayLike, recall: float) -> NDArray[Any]:
    """Return P(Bin(defects, 1 − recall) ≤ misses), elementwise; 1 where all may be missed.

    The exact binomial tail as the regularised incomplete beta function I_recall(n − k, k + 1).
    """
    k, n = np.asarray(misses, np.float64), np.asarray(defects, np.float64)
    tail = betainc(np.maximum(n - k, 1), k + 1, recall)
    return np.where(k < 0, 0.0, np.where(k >= n, 1.0, tail))


def misses_allowed(defects: int, min_recall: float, confidence: float) -> int | None:
    """Return the largest k with P(Bin(defects, 1 − min_recall) ≤ k) ≤ 1 − confidence.

    None where not even k = 0 satisfies it: too few defects.
    """
    check_target(min_recall, confidence)

    def is_too_many(k: int) -> bool:
        return bool(chance_of_few_misses(k, defects, min_recall) > 1 - confidence)

    if is_too_many(0):
        return None
    too_many = smallest_above(0, is_too_many)
    assert too_many is not None  # all missed has probability 1
    return too_many - 1


def needed_defects(min_recall: float, confidence: float, misses: int = 0) -> int:
    """Return the fewest defects that certify ``min_recall`` when ``misses`` of them are missed.

    The smallest n with P(Bin(n, 1 − min_recall) ≤ misses) ≤ 1 − confidence: 299 for a recall of
    0.99 at confidence 0.95 without a miss, 473 with one.

    Raises:
        InputError: more than 10¹² would be needed, or a target outside (0, 1).
    """
    check_target(min_recall, confidence)
    if misses < 0:
        raise ValueError(f"misses: must be at least 0, got {misses}")

    def suffices(n: int) -> bool:
        return bool(chance_of_few_misses(misses, n, min_recall) <= 1 - confidence)

    needed = smallest_above(misses, suffices, LARGEST_SEARCH)  # n = misses never suffices
    if needed is None:
        raise InputError(
            f"min_recall: {min_recall!r} at confidence {confidence!r} takes more than "
            f"{LARGEST_SEARCH:,} defects"
        )
    return needed


def joint_confidence(confidence: float, candidates: int) -> float:
    """Return 1 − (1 − confidence) / m: at it, m certificates hold together with ``confidence``.

    Bonferroni's inequality: whichever of the m candidates is then chosen, its certificate holds.
    """
    if candidates < 1:
        raise ValueError(f"candidates: must be at least 1, got {candidates}")
    return confidence if candidates == 1 else 1 - (1 - confidence) / candidates


def describe_promise(kind: Kind, name: str, min_recall: float) -> str:
    """Return ``recall ≥ 99 % of pit``, or of a group, ``in camera-3``."""
    return f"recall ≥ {format_target(min_recall)} {'of' if kind == 'type' else 'in'} {name}"


@dataclass(frozen=True)
class Promise:
    """``recall ≥ min_recall`` among the defects of a slice: one type of defect, or one group.

    members: bool [n], the slice's items; clean ones among them don't count.
    """

    kind: Kind
    name: str
    min_recall: float
    members: NDArray[np.bool_]


@dataclass(frozen=True)
class SliceCertificate:
    """A promise kept at the certificate's threshold, and the slice's counts that prove it.

    It holds together with the certificate's own claim and every other promise.
    """

    kind: Kind
    name: str
    min_recall: float
    confidence: float
    defects: int
    misses_allowed: int
    misses: int

    @property
    def claim(self) -> str:
        """What is promised."""
        return describe_promise(self.kind, self.name, self.min_recall)

    @property
    def recall(self) -> Proportion:
        """Recall as if all allowed misses had happened, see :attr:`Certificate.recall`."""
        caught = self.defects - self.misses_allowed
        return Proportion(caught, self.defects, self.confidence, sides=1)

    def to_json(self) -> dict[str, Any]:
        """Return every field and the bound of recall."""
        return {**vars(self), "recall": self.recall.to_json()}


@dataclass(frozen=True)
class MeasuredOn:
    """The very function whose scores were certified; another one needs its own certificate.

    ``graph`` identifies the network (a SHA-256, or the file that the scores came in).
    """

    graph: str
    backend: str = "unknown"
    precision: str = "unknown"


@dataclass(frozen=True)
class Certificate:
    """``recall ≥ min_recall`` at ``threshold``, with ``confidence``, and the counts that prove it.

    ``defects`` and ``clean`` are the distinct calibration items (one per duplicate group),
    ``misses`` and ``clean_accepted`` those of them with a score below ``threshold``. The threshold
    is a float32 exactly. ``candidates`` is the m that ``confidence`` was raised for. A certificate
    with ``approximate`` set says there why it is no exact guarantee. The guarantee is marginal: it
    speaks of all defects to come, not of each lot of them. ``slices``: the promises about types of
    defects and groups that hold together with it.
    """

    threshold: float
    min_recall: float
    confidence: float
    defects: int
    clean: int
    misses_allowed: int
    misses: int
    clean_accepted: int
    candidates: int = 1
    approximate: str | None = None
    data_fingerprint: str | None = None
    measured_on: MeasuredOn | None = None
    slices: tuple[SliceCertificate, ...] = ()

    @property
    def is_exact(self) -> bool:
        """True where the guarantee is the exact one."""
        return self.approximate is None

    @property
    def recall(self) -> Proportion:
        """Recall as if all allowed misses had happened; its lower bound reaches ``min_recall``.

        With ties fewer are missed, but which count would be seen was not fixed in advance: a
        bound at the smaller count would hold too rarely.
        """
        caught = self.defects - self.misses_allowed
        return Proportion(caught, self.defects, self.confidence, sides=1)

    @property
    def clean_yield(self) -> Proportion:
        """Share of the clean calibration items that the threshold accepts."""
        return Proportion(self.clean_accepted, self.clean, self.confidence)

    def to_json(self) -> dict[str, Any]:
        """Return every field, the method and the assumption."""
        apart = ("measured_on", "slices")
        return {
            **{name: value for name, value in vars(self).items() if name not in apart},
            "measured_on": vars(self.measured_on) if self.measured_on else None,
            "recall": self.recall.to_json(),
            "clean_yield": self.clean_yield.to_json(),
            "method": METHOD,
            "assumption": ASSUMPTION,
            **({"slices": [one.to_json() for one in self.slices]} if self.slices else {}),
        }


def certify_threshold(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    min_recall: float = 0.99,
    confidence: float = 0.95,
    candidates: int = 1,
    groups: ArrayLike | None = None,
    promises: Sequence[Promise] = (),
    approximate: str | None = None,
    data_fingerprint: str | None = None,
    measured_on: MeasuredOn | None = None,
) -> Certificate:
    """Return the highest threshold for which ``recall ≥ min_recall`` holds with ``confidence``.

    Parameters
    ----------
    scores
        float [n] in [0, 1], of calibration items that nothing was learnt from or chosen on. They
        are rounded to float32, as the line PC has them, before anything is counted.
    labels
        bool [n], True for a defect.
    min_recall, confidence
        In (0, 1) and [0.5, 1).
    candidates
        How many models or settings the one to deploy is chosen from: the certificate is then made
        at :func:`joint_confidence`.
    groups
        int [n]: items of one number are copies and count once, by the first defect among them, or
        the first item where there is none; None: all items are distinct.
    promises
        What must hold as well, about types of defects or groups: the threshold is lowered until all
        of it holds with ``confidence``, together. What is promised must not be chosen by these
        scores.
    approximate
        Why the guarantee isn't exact, if it isn't (cross-fitted scores).
    data_fingerprint, measured_on
        What the scores were measured on, for the record.

    Raises
    ------
    NotCertifiableError
        Too few defects, in all or in the slice of a promise.
    InputError
        Scores that are not finite or outside [0, 1], a target outside (0, 1), or a class missing.
    """
    check_target(min_recall, confidence)
    score, defect = _checked(scores, labels)
    slices = [defect & one.members for one in promises]
    if groups is not None:
        by_label = np.argsort(~defect, kind="stable")  # a group with a defect counts as one
        first = np.unique(np.asarray(groups)[by_label], return_index=True)[1]
        distinct = by_label[first]
        score, defect = score[distinct], defect[distinct]
        slices = [members[distinct] for members in slices]
    confidence = joint_confidence(confidence, candidates)
    ranked = np.sort(score[defect])
    allowed = misses_allowed(ranked.size, min_recall, confidence)
    asked = [
        _SliceDefects(one, np.sort(score[members]), confidence)
        for one, members in zip(promises, slices, strict=True)
    ]
    lacking = [one.lacking for one in asked if one.allowed is None]
    if allowed is None or lacking:
        raise NotCertifiableError(ranked.size, min_recall, confidence, lacking=lacking)
    lowest = min([ranked[allowed], *(one.ranked[one.allowed] for one in asked)])
    threshold = threshold_below(lowest, score)
    counts = Counts.at_threshold(score, defect, threshold)
    return Certificate(
        threshold=threshold,
        min_recall=min_recall,
        confidence=confidence,
        defects=counts.defects,
        clean=counts.tn + counts.fp,
        misses_allowed=allowed,
        misses=counts.misses,
        clean_accepted=counts.tn,
        candidates=candidates,
        approximate=approximate,
        data_fingerprint=data_fingerprint,
        measured_on=measured_on,
        slices=tuple(one.certificate(threshold) for one in asked),
    )


class _SliceDefects:
    """The defects of one promised slice, scores sorted, and how many of them may be missed."""

    def __init__(self, promise: Promise, ranked: NDArray[np.float32], confidence: float) -> None:
        self.promise, self.ranked, self.confidence = promise, ranked, confidence
        self.allowed = misses_allowed(ranked.size, promise.min_recall, confidence)

    @property
    def lacking(self) -> Lacking:
        one = self.promise
        needed = needed_defects(one.min_recall, self.confidence)
        return Lacking(one.kind, one.name, one.min_recall, self.ranked.size, needed)

    def certificate(self, threshold: float) -> SliceCertificate:
        return SliceCertificate(
            kind=self.promise.kind,
            name=self.promise.name,
            min_recall=self.promise.min_recall,
            confidence=self.confidence,
            defects=self.ranked.size,
            misses_allowed=self.allowed or 0,
            misses=int(np.count_nonzero(self.ranked < np.float32(threshold))),
        )


def threshold_below(score: float, scores: NDArray[np.float32]) -> float:
    """Return the float32 half-way between ``score`` and the next smaller of ``scores`` (float32).

    Half-way, so that rounding on another machine turns no decision. Where no float32 lies
    strictly between the two, the next lower gap is taken, and so on; below the smallest
    score the gap ends at 0. A smallest score of 0 gives 0, which accepts nothing.
    """
    upper = np.float32(score)
    while True:
        below = scores[scores < upper]
        lower = below.max() if below.size else np.float32(0)
        middle = np.float32((float(lower) + float(upper)) / 2)
        if lower < middle < upper:
            return float(middle)
        if not below.size:
            return 0.0
        upper = lower


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    score, defect = np.asarray(scores, np.float32), np.asarray(labels)
    if score.ndim != 1 or score.shape != defect.shape:
        raise ValueError(f"scores, labels: must be [n] each, got {score.shape} and {defect.shape}")
    if defect.dtype != np.bool_ and not np.isin(defect, (0, 1)).all():
        raise InputError("labels: must be True (defect) and False (clean), got other values")
    problems = []
    broken = int(np.count_nonzero(~np.isfinite(score)))
    outside = int(np.count_nonzero((score < 0) | (score > 1)))
    if broken:
        problems.append(
            f"scores: must be finite, got NaN or infinity for {broken:,} of {score.size:,}"
        )
    elif outside:
        problems.append(
            f"scores: must be in [0, 1], got {outside:,} outside; if they are logits, "
            "sigmoid(logit) is the score"
        )
    defect = defect.astype(np.bool_)
    defects = int(defect.sum())
    if not 0 < defects < defect.size:
        problems.append(
            f"labels: must hold clean items and defects, "
            f"got {defect.size - defects:,} clean and {defects:,} defects"
        )
    if problems:
        raise InputError(problems)
    return score, defect


def refutation_p_value(misses: int, defects: int, min_recall: float) -> float:
    """Return P(Bin(defects, 1 − min_recall) ≥ misses): small where a test refutes the recall.

    1 where there is nothing to refute (no miss).
    """
    return float(binom.sf(misses - 1, defects, 1 - min_recall))
