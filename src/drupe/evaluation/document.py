"""The evaluation document of a run: what ``evaluation.json`` holds and ``drupe evaluate`` prints.

Plain Python types only, as in every JSON document of the design.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from drupe.evaluation.metrics import (
    ARGMAX_THRESHOLD,
    ECE_BINS,
    Counts,
    auroc,
    brier_score,
    expected_calibration_error,
)
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.slices import Slices
from drupe.evaluation.temperature import negative_log_likelihood


def evaluation_document(
    *,
    calibration: Predictions | None,
    test: Predictions,
    temperature: float,
    test_groups: ArrayLike,
) -> dict[str, Any]:
    """Return the figures of one run; ``drupe threshold`` adds a certificate.

    ``test_groups`` (int [n]) gives the duplicate group of each test item. ``test.argmax`` counts
    every test item, ``test.distinct.argmax`` one item per duplicate group, and where types of
    defects or groups are known, ``test.distinct.slices`` those of each. ``auroc``, ``ece`` (over
    ``ece_bins`` equal bins), ``brier`` and ``log_loss`` (nats per item) are of all test items;
    ``calibration`` is None for a run that learnt from all training items; its ``nll`` is in nats
    per item, at T = 1 and at the fitted temperature.
    """
    groups = np.asarray(test_groups)
    if groups.shape != (len(test),):
        raise ValueError(f"test_groups: must have shape ({len(test)},), got {groups.shape}")
    distinct = test.distinct(groups)
    slices = Slices.of(distinct, ARGMAX_THRESHOLD)
    known_slices = {"slices": {"argmax": slices.to_json(), "certified": None}} if slices else {}
    # The logit ranks as the score does, but float32 doesn't tie its largest values.
    ranking = test.scores if test.logits is None else test.logits
    return {
        "temperature": float(temperature),
        "certificate": None,
        "calibration": _calibration(calibration, temperature) if calibration else None,
        "test": {
            **_sizes(test),
            "groups": len(distinct),
            "argmax": _argmax(test),
            "certified": None,
            "distinct": {**_sizes(distinct), "argmax": _argmax(distinct), **known_slices},
        },
        "auroc": auroc(ranking, test.is_defect),
        "ece": expected_calibration_error(test.scores, test.is_defect),
        "ece_bins": ECE_BINS,
        "brier": brier_score(test.scores, test.is_defect),
        "log_loss": _nll(test, temperature),
    }


def _calibration(table: Predictions, temperature: float) -> dict[str, Any]:
    return {
        **_sizes(table),
        "temperature": float(temperature),
        "nll": {"before": _nll(table, 1.0), "after": _nll(table, temperature)},
    }


def _sizes(table: Predictions) -> dict[str, int]:
    return {"images": len(table), "defects": int(table.is_defect.sum())}


def _argmax(table: Predictions) -> dict[str, Any]:
    return Counts.at_threshold(table.scores, table.is_defect).to_json()


def _nll(table: Predictions, temperature: float) -> float | None:
    if table.logits is None:
        return None
    return negative_log_likelihood(table.logits, table.is_defect, temperature)
