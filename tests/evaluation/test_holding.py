from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drupe.evaluation.certificate import NotCertifiableError, certify_threshold
from drupe.evaluation.holding import threshold_holders
from drupe.evaluation.operating_point import Request
from drupe.evaluation.predictions import Predictions
from run_files import predictions

REQUEST = Request(min_recall=0.95, confidence=0.9)


def certified(table: Predictions) -> float:
    return certify_threshold(
        table.scores, table.is_defect, min_recall=0.95, confidence=0.9
    ).threshold


def without(table: Predictions, paths: tuple[str, ...]) -> Predictions:
    return table.take(np.flatnonzero(~np.isin(table.paths, paths)))


def test_only_those_that_hold_the_threshold_raise_it_when_they_go() -> None:
    table = predictions(400, 3)
    found = threshold_holders(table, REQUEST)
    assert len(found.paths) == found.certificate.misses_allowed + 1 == 6
    threshold = certified(table)
    assert found.certificate.threshold == threshold
    for path, is_defect in zip(table.paths, table.is_defect, strict=True):
        if is_defect:
            raised = certified(without(table, (path,))) > threshold
            assert raised == (path in found.paths), path


def test_without_them_is_what_certifying_without_them_gives() -> None:
    table = predictions(400, 3)
    found = threshold_holders(table, REQUEST)
    assert found.without is not None
    assert found.without.threshold == certified(without(table, found.paths))
    document = found.to_json()
    assert document["threshold_without"] > document["threshold"]
    assert document["clean_yield_without"] > document["clean_yield"]


def test_more_candidates_ask_for_a_lower_threshold() -> None:
    table = predictions(400, 3)
    joint = threshold_holders(table, replace(REQUEST, candidates=20))
    assert len(joint.paths) < len(threshold_holders(table, REQUEST).paths)


def test_too_few_defects_left_or_at_all() -> None:
    enough = predictions(94, 3)  # 45 defects, just those that certify 95 %
    found = threshold_holders(enough, REQUEST)
    assert found.without is None
    assert found.to_json()["clean_yield_without"] is None
    with pytest.raises(NotCertifiableError, match="at least 45 distinct defects"):
        threshold_holders(predictions(80, 3), REQUEST)
