"""The evaluation document of a run: what ``evaluation.json`` holds and ``drupe evaluate`` prints.

Plain Python types only, as in every JSON document of the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drupe.evaluation.grouping import first_of_each_group
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
from drupe.evaluation.type_confusion import TypeConfusion


def evaluation_document(
    *,
    calibration: Predictions | None,
    test: Predictions,
    temperature: float,
    test_groups: ArrayLike,
    types_said: tuple[Sequence[str], Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the figures of one run; ``drupe threshold`` adds a certificate.

    ``test_groups`` (int [n]) gives the duplicate group of each test item. ``test.argmax`` counts
    every test item, ``test.distinct.argmax`` one item per duplicate group, and where types of
    defects or groups are known, ``test.distinct.slices`` those of each. ``types_said`` gives the
    types that a type head tells apart and what it said of each test item: their confusion is
    ``test.distinct.types_said``. ``auroc``, ``ece`` (over
    ``ece_bins`` equal bins), ``brier`` and ``log_loss`` (nats per item) are of all test items;
    ``calibration`` is None for a run that learnt from all training items; its ``nll`` is in nats
    per item, at T = 1 and at the fitted temperature.
    """
    groups = np.asarray(test_groups)
    if groups.shape != (len(test),):
        raise ValueError(f"test_groups: must have shape ({len(test)},), got {groups.shape}")
    distinct = test.distinct(groups)
    slices = Slices.of(distinct, ARGMAX_THRESHOLD)
    known: dict[str, Any] = {}
    if slices:
        known["slices"] = {"argmax": slices.to_json(), "certified": None}
    if confusion := _types_said(test, groups, types_said):
        known["types_said"] = confusion.to_json()
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
            "distinct": {**_sizes(distinct), "argmax": _argmax(distinct), **known},
        },
        "auroc": auroc(ranking, test.is_defect),
        "ece": expected_calibration_error(test.scores, test.is_defect),
        "ece_bins": ECE_BINS,
        "brier": brier_score(test.scores, test.is_defect),
        "log_loss": _nll(test, temperature),
    }


def _types_said(
    test: Predictions,
    groups: NDArray[Any],
    said: tuple[Sequence[str], Sequence[str]] | None,
) -> TypeConfusion | None:
    """Count distinct defects by type and by what was said of them; None without either."""
    if said is None or test.types is None:
        return None
    names, answers = said
    items = first_of_each_group(test.paths, groups, test.is_defect)
    return TypeConfusion.of(
        names, [test.types[item] for item in items], [answers[item] for item in items]
    )


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
