"""Differences of certified clean yields over draws of calibration: how often luck is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drupe.evaluation.certificate import certify_threshold
from drupe.evaluation.draws import CertifiedScores, drawn_difference
from drupe.evaluation.paired import paired_difference
from drupe.evaluation.predictions import Predictions

MIN_RECALL, CONFIDENCE = 0.98, 0.95


def table(random: np.random.Generator, defects: int, clean: int, name: str, better=0.0):
    logits = np.concatenate(
        [random.normal(3 + better, 1.5, defects), random.normal(-3 - better, 1.5, clean)]
    )
    return Predictions(
        paths=tuple(f"{name}/{i}.png" for i in range(defects + clean)),
        is_defect=np.arange(defects + clean) < defects,
        logits=None,
        scores=(1 / (1 + np.exp(-logits))).astype(np.float32),
        classes=("clean", "pit"),
    )


def model(random: np.random.Generator, name: str, better: float = 0.0) -> CertifiedScores:
    """A network of its own calibration; of 250 defects one may be missed."""
    calibration = table(random, 250, 250, f"calibration-{name}", better)
    return CertifiedScores((calibration,), (table(random, 300, 400, "test", better),))


def of_items(a: CertifiedScores, b: CertifiedScores) -> float:
    """The p-value with the thresholds taken as they are: what test items alone say."""
    accepted = []
    for one in (a, b):
        own = one.calibration[0]
        low = certify_threshold(
            own.scores, own.is_defect, min_recall=MIN_RECALL, confidence=CONFIDENCE
        ).threshold
        test = one.test[0]
        accepted.append((test.scores[~test.is_defect] < np.float32(low))[None])
    return paired_difference(*accepted, np.arange(accepted[0].shape[1]), CONFIDENCE).p_value


def drawn(a: CertifiedScores, b: CertifiedScores, min_recall: float = MIN_RECALL, **options):
    return drawn_difference(
        a, b, min_recall=min_recall, confidence=CONFIDENCE, draws=400, **options
    )


def test_equal_models_differ_by_the_draw_of_calibration_alone() -> None:
    """Test items alone call many a lucky draw a better model; over draws few are."""
    shown = {"items": 0, "draws": 0}
    for trial in range(100):
        random = np.random.default_rng(trial)
        a, b = model(random, "a"), model(random, "b")
        shown["items"] += of_items(a, b) <= 0.05
        shown["draws"] += drawn(a, b).p_value <= 0.05
    assert shown["items"] >= 30
    assert shown["draws"] <= 11  # of 100 at 5 %: more has a chance of 0.4 %


def test_a_much_better_model_is_shown_all_the_same() -> None:
    found = 0
    for trial in range(30):
        random = np.random.default_rng(trial)
        found += drawn(model(random, "a", better=1.5), model(random, "b")).p_value <= 0.05
    assert found >= 24


def test_shared_calibration_items_are_drawn_together() -> None:
    """A model against itself differs in no draw; on other items of the same line it may."""
    random = np.random.default_rng(5)
    a, other = model(random, "a"), model(random, "b")
    same = drawn(a, a)
    assert (same.low, same.high, same.p_value) == (0.0, 0.0, 1.0)
    apart = drawn(a, CertifiedScores(other.calibration, a.test))
    assert apart.low < 0 < apart.high


def test_seeds_widen_what_is_said() -> None:
    random = np.random.default_rng(6)

    def seeds(name: str, spread: float) -> CertifiedScores:
        parts = [model(random, name, better) for better in (-spread, 0.0, spread)]
        return CertifiedScores(
            tuple(one.calibration[0] for one in parts), tuple(one.test[0] for one in parts)
        )

    a, b = seeds("a", 0.8), seeds("b", 0.8)
    without, with_seeds = drawn(a, b), drawn(a, b, seeds=True)
    assert with_seeds.high - with_seeds.low > without.high - without.low
    assert with_seeds.over == ("test items", "calibration items", "seeds")
    assert with_seeds.to_json()["draws"] == 400


def relabelled(model: CertifiedScores, count: int) -> CertifiedScores:
    """The same network, its ``count`` lowest calibration defects being clean after all."""
    (own,) = model.calibration
    lowest = [i for i in np.argsort(own.scores) if own.is_defect[i]][:count]
    labels = own.is_defect.copy()
    labels[lowest] = False
    return CertifiedScores((replace(own, is_defect=labels),), model.test)


def test_defects_of_both_are_drawn_together_though_labels_differ() -> None:
    """After a repair of three labels the rest is still the same luck."""
    before = model(np.random.default_rng(7), "a")
    after = relabelled(before, 3)
    together = drawn(after, before, 0.9)
    # The same items under other names are drawn by themselves.
    (own,) = after.calibration
    named = replace(own, paths=tuple(f"other/{path}" for path in own.paths))
    apart = drawn(CertifiedScores((named,), after.test), before, 0.9)
    assert together.low >= 0 > apart.low
    assert together.high - together.low < apart.high - apart.low


def test_recall_falls_where_clean_yield_rises() -> None:
    before = model(np.random.default_rng(8), "a")
    after = relabelled(before, 3)
    assert drawn(after, before, of_defects=True).high <= 0 <= drawn(after, before).low
