"""Which defects hold a certified threshold down, and what it would be without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.certificate import Certificate, NotCertifiableError, certify_threshold
from drupe.evaluation.operating_point import Request
from drupe.evaluation.predictions import Predictions


@dataclass(frozen=True)
class ThresholdHolders:
    """The lowest-scoring calibration defects, ``paths``, that hold a threshold where it is.

    ``certificate`` is that of the calibration as it is. ``without`` is what would be computed
    without them: it certifies nothing, because they were chosen by their scores. None: too few
    defects would be left.
    """

    paths: tuple[str, ...]
    certificate: Certificate
    without: Certificate | None

    def to_json(self) -> dict[str, Any]:
        """Return thresholds and clean yields with and without the items."""
        without = self.without
        return {
            "paths": list(self.paths),
            "min_recall": self.certificate.min_recall,
            "confidence": self.certificate.confidence,
            "threshold": self.certificate.threshold,
            "clean_yield": self.certificate.clean_yield.rate,
            "threshold_without": without.threshold if without else None,
            "clean_yield_without": without.clean_yield.rate if without else None,
        }


def threshold_holders(calibration: Predictions, request: Request) -> ThresholdHolders:
    """Find the defects at and below the order statistic that the threshold rests on.

    With k misses allowed these are the k + 1 distinct defects of the lowest scores: as long as k
    stays, each of them that goes raises the threshold, and no other does. Where something is
    promised of types of defects or groups too, they are those of the slice that set it.

    Args:
        calibration: distinct items.
        request: recall, confidence and candidates to certify for.

    Raises:
        NotCertifiableError: too few defects even with all of them.
    """
    known = calibration.types or ()
    certificate = _certify(calibration, request, known)
    claims = [(calibration.is_defect, certificate.misses_allowed)]
    claims += [
        (calibration.is_defect & promise.members, kept.misses_allowed)
        for promise, kept in zip(
            request.promises_about(calibration), certificate.slices, strict=True
        )
    ]
    holding = min(
        (_lowest(calibration, members, allowed + 1) for members, allowed in claims),
        key=lambda items: float(calibration.scores[items[-1]]),
    )
    kept = np.setdiff1d(np.arange(len(calibration)), holding)
    try:
        without = _certify(calibration.take(kept), request, known)
    except NotCertifiableError:
        without = None
    return ThresholdHolders(
        tuple(calibration.paths[index] for index in holding), certificate, without
    )


def _certify(table: Predictions, request: Request, known: Sequence[str]) -> Certificate:
    return certify_threshold(
        table.scores,
        table.is_defect,
        min_recall=request.min_recall,
        confidence=request.confidence,
        candidates=request.candidates,
        promises=request.promises_about(table, known),
    )


def _lowest(table: Predictions, members: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Return the ``count`` members of the lowest scores, the lowest first."""
    items = np.flatnonzero(members)
    return items[np.argsort(table.scores[items], kind="stable")][:count]
