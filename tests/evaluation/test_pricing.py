"""Prices of calibration sets against drawing them and certifying each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drupe.evaluation.certificate import certify_threshold, misses_allowed, needed_defects
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.pricing import price


def table(defects: int, clean: int, seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    logits = np.concatenate([random.normal(3, 1.5, defects), random.normal(-3, 1.5, clean)])
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return Predictions(
        paths=tuple(f"{i}.png" for i in range(defects + clean)),
        is_defect=np.arange(defects + clean) < defects,
        logits=None,
        scores=scores,
        classes=("clean", "pit"),
    )


def drawn(whole: Predictions, defects: int, draws: int = 1500) -> np.ndarray:
    """Clean yields at the thresholds that sets of ``defects``, drawn anew, certify."""
    random = np.random.default_rng(1)
    own = whole.scores[whole.is_defect]
    clean = whole.scores[~whole.is_defect]
    found = []
    for _ in range(draws):
        scores = np.concatenate([random.choice(own, defects), clean])
        labels = np.arange(len(scores)) < defects
        low = certify_threshold(scores, labels, min_recall=0.98, confidence=0.95).threshold
        found.append(np.mean(clean < np.float32(low)))
    return np.array(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prices_are_those_of_drawing_and_certifying(seed: int) -> None:
    whole = table(300, 400, seed)
    for offer in price(whole, min_recall=0.98, confidence=0.95, fit_items=2100):
        yields = drawn(whole, offer.defects)
        assert offer.clean_yield == pytest.approx(yields.mean(), abs=4 * yields.std() / 1500**0.5)
        inside = np.mean((yields >= offer.low) & (yields <= offer.high))
        assert inside > 0.88  # 90 % and more, for the yields are few and discrete


def test_ways_and_their_defects() -> None:
    offers = price(table(160, 190), min_recall=0.99, confidence=0.95, fit_items=1050)
    assert [(one.way, one.defects, one.more, one.misses_allowed) for one in offers] == [
        ("as it is", 160, 0, None),
        ("holdout 0.5, trained anew", 320, 0, 0),
        ("--cross-fit 5, approximate", 640, 0, 2),
        ("139 more defects", 299, 139, 0),
        ("613 more defects", 773, 613, 3),
    ]
    assert offers[0].clean_yield is None
    json.dumps([one.to_json() for one in offers], allow_nan=False)


def test_what_can_not_be_set_aside_is_not_offered() -> None:
    half = price(table(700, 700), min_recall=0.99, confidence=0.95, fit_items=1400)
    assert "trained anew" not in " ".join(one.way for one in half)
    alone = price(table(700, 700), min_recall=0.99, confidence=0.95)
    assert [one.way.partition(" ")[2] for one in alone] == ["it is", "more defects", "more defects"]


def test_more_defects_promise_more() -> None:
    offers = price(table(400, 400), min_recall=0.99, confidence=0.95)
    yields = [one.clean_yield for one in offers]
    assert yields == sorted(yields)
    assert yields[-1] > yields[0]


def test_candidates_take_more() -> None:
    one, five = (
        price(table(400, 400), min_recall=0.99, confidence=0.95, candidates=m) for m in (1, 5)
    )
    assert one[0].misses_allowed == misses_allowed(400, 0.99, 0.95) == 0
    assert five[0].misses_allowed is None
    assert five[1].defects == needed_defects(0.99, 0.99)


def test_one_class_alone_has_no_price() -> None:
    assert price(table(40, 0), min_recall=0.99, confidence=0.95) == ()
