from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control, poisson

from drupe.errors import InputError
from drupe.evaluation.comparison import (
    Candidate,
    compare,
    detectable_difference,
    holm,
)
from drupe.evaluation.historic import compare_with_number
from drupe.evaluation.metrics import auroc
from drupe.evaluation.predictions import Predictions, scores_from_logits

ITEMS = 600
LABELS = np.random.default_rng(0).random(ITEMS) < 0.46


def table(quality: float, seed: int, labels: np.ndarray = LABELS) -> Predictions:
    shared = np.random.default_rng(99).normal(0, 1, len(labels))  # the same images are hard
    own = np.random.default_rng(seed).normal(0, 0.7, len(labels))
    logits = np.where(labels, quality, -quality) + shared + own
    return Predictions(
        paths=tuple(f"{i}.png" for i in range(len(labels))),
        is_defect=labels,
        logits=logits.astype(np.float32),
        scores=scores_from_logits(logits, 1.0),
        classes=("clean", "pit"),
    )


def model(name: str, quality: float, seeds: tuple[int, ...] = (1,), **keys) -> Candidate:
    return Candidate(name, tuple(table(quality, seed) for seed in seeds), seeds, **keys)


def pair_of(found, metric: str, number: int = 0):
    return [pair for pair in found.pairs if pair.metric == metric][number]


def test_a_better_model_is_shown_to_be_better() -> None:
    found = compare([model("base", 1.0), model("better", 2.0)])
    for metric in ("accuracy", "recall", "auroc"):
        pair = pair_of(found, metric)
        assert (pair.a, pair.b) == ("better", "base")
        assert 0 < pair.low < pair.difference < pair.high
        assert pair.p_value <= pair.p_adjusted < 0.05
        assert pair.non_inferior
    assert found.family_size == 3
    assert not [pair for pair in found.pairs if pair.metric == "clean_yield"]


def test_figures_are_those_of_the_tables() -> None:
    base, other = model("base", 1.5), model("other", 1.4, seeds=(5,))
    found = compare([base, other])
    a, b = other.tables[0], base.tables[0]
    right_a, right_b = (a.scores >= 0.5) == LABELS, (b.scores >= 0.5) == LABELS
    accuracy, recall = pair_of(found, "accuracy"), pair_of(found, "recall")
    assert accuracy.difference == pytest.approx(right_a.mean() - right_b.mean())
    assert recall.difference == pytest.approx(right_a[LABELS].mean() - right_b[LABELS].mean())
    area = pair_of(found, "auroc")
    assert area.difference == pytest.approx(auroc(a.logits, LABELS) - auroc(b.logits, LABELS))
    # One seed of distinct images: the p-value is McNemar's.
    only_a, only_b = np.sum(right_a & ~right_b), np.sum(~right_a & right_b)
    assert accuracy.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)


def test_a_model_against_itself_shows_nothing() -> None:
    found = compare([model("a", 1.5), model("copy", 1.5)])
    for pair in found.pairs:
        assert pair.difference == 0
        assert pair.p_value == 1
        assert pair.low <= 0 <= pair.high
    accuracy = pair_of(found, "accuracy")
    assert accuracy.low < 0 < accuracy.high  # no discordant image is no proof of equality


def test_clean_yield_is_compared_at_certified_thresholds() -> None:
    one = model("one", 1.5, thresholds=(0.2,))
    other = model("other", 1.5, seeds=(7,), thresholds=(0.3,))
    found = compare([one, other], metrics=["clean_yield"])
    yields = [
        (one_table.scores[~LABELS] < np.float32(low)).mean()
        for one_table, low in ((other.tables[0], 0.3), (one.tables[0], 0.2))
    ]
    assert pair_of(found, "clean_yield").difference == pytest.approx(yields[0] - yields[1])
    with pytest.raises(InputError, match="two: clean_yield needs a certified threshold"):
        compare([one, model("two", 1.0)], metrics=["clean_yield"])


def test_seeds_are_averaged_and_described() -> None:
    a, b = model("a", 1.6, (1, 2, 3)), model("b", 1.4, (3, 1, 9))
    pair = pair_of(compare([b, a]), "accuracy")
    means = [np.mean([((t.scores >= 0.5) == LABELS).mean() for t in one.tables]) for one in (a, b)]
    assert pair.difference == pytest.approx(means[0] - means[1])
    assert [item.seed for item in pair.mcnemar] == [1, 3]


def test_more_seeds_of_one_image_set_do_not_narrow_the_interval_like_more_images() -> None:
    one = pair_of(compare([model("b", 1.4, (1,)), model("a", 1.6, (1,))]), "accuracy")
    three = pair_of(compare([model("b", 1.4, (1, 1, 1)), model("a", 1.6, (1, 1, 1))]), "accuracy")
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_copies_count_once() -> None:
    doubled = np.concatenate([LABELS, LABELS])
    groups = np.tile(np.arange(ITEMS), 2)

    def twice(one: Candidate) -> Candidate:
        t = one.tables[0]
        copied = Predictions(
            tuple(f"{i}.png" for i in range(2 * ITEMS)),
            doubled,
            np.tile(t.logits, 2),
            np.tile(t.scores, 2),
            t.classes,
        )
        return Candidate(one.name, (copied,))

    base, other = model("base", 1.5), model("other", 1.8, seeds=(4,))
    single = compare([base, other])
    copies = compare([twice(base), twice(other)], groups=groups)
    naive = compare([twice(base), twice(other)])
    for metric in ("accuracy", "auroc"):
        width = [
            pair_of(found, metric).high - pair_of(found, metric).low
            for found in (single, copies, naive)
        ]
        assert width[1] == pytest.approx(width[0], rel=0.05)
        assert width[2] < 0.8 * width[0]


def test_holm_on_a_published_example() -> None:
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.04, 0.01], family_size=5) == pytest.approx([0.16, 0.05])
    assert holm([]) == []
    # Never smaller than the false discovery rate's correction, never larger than Bonferroni's.
    p = np.random.default_rng(1).random(30) ** 3
    assert np.all(np.array(holm(p.tolist())) >= false_discovery_control(p) - 1e-12)
    assert np.all(np.array(holm(p.tolist())) <= np.minimum(1, 30 * p) + 1e-12)


def test_a_margin_makes_a_slightly_worse_model_acceptable() -> None:
    base, worse = model("base", 1.50), model("worse", 1.48, seeds=(1,))
    strict = pair_of(compare([base, worse], margin=0.0), "accuracy")
    tolerant = pair_of(compare([base, worse], margin=0.05), "accuracy")
    assert not strict.non_inferior
    assert tolerant.non_inferior
    assert (strict.low, strict.high) == (tolerant.low, tolerant.high)


def test_the_detectable_difference_is_detected_with_80_percent_power() -> None:
    """Simulated: a z-test of an estimate whose true value is `detectable`."""
    found = detectable_difference(0.01, 0.05, 1000)
    estimates = np.random.default_rng(2).normal(found, 0.01, 100_000)
    assert np.mean(np.abs(estimates) > 1.959964 * 0.01) == pytest.approx(0.8, abs=0.005)


def test_against_a_bare_number() -> None:
    right = np.arange(1226) < 1167
    labels = np.arange(1226) % 2 == 0
    scores = np.where(right == labels, 0.9, 0.1).astype(np.float32)
    table = Predictions(tuple(map(str, range(1226))), labels, None, scores, ("clean", "pit"))
    found = compare_with_number(Candidate("ours", (table,)), 0.9405)
    assert found.rate.low >= 0.9405
    at_least = binomtest(1167, 1226, 0.9405, alternative="greater").pvalue
    assert found.p_value == pytest.approx(2 * at_least)
    assert found.to_json()["warning"].startswith("A bare number can't be paired")
    with pytest.raises(InputError, match=r"number: must be a rate in \(0, 1\), got 94.05"):
        compare_with_number(Candidate("ours", (table,)), 94.05)


def test_other_images_are_refused_and_listed() -> None:
    longer = np.append(LABELS, True)
    other = Candidate("other", (table(1.0, 3, longer),))
    with pytest.raises(InputError, match=r"other: paths: .* got none missing and 1 further"):
        compare([model("base", 1.0), other])
    with pytest.raises(InputError, match="needs at least two models"):
        compare([model("base", 1.0)])
    with pytest.raises(InputError, match=r"margin: must be in \[0, 1\), got 2"):
        compare([model("a", 1.0), model("b", 1.0)], margin=2)


def test_the_document_is_json() -> None:
    found = compare([model("base", 1.0), model("better", 2.0)], margin=0.01)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    keys = {"a", "b", "metric", "difference", "low", "high", "p_value", "p_adjusted"}
    assert set(document["pairs"][0]) >= keys | {"detectable", "non_inferior", "mcnemar"}


def perfect(name: str, misranked: int = 0) -> Candidate:
    """A model that ranks every defect above every clean item, but for a few defects."""
    logits = np.where(LABELS, 5.0, -5.0) + np.linspace(0, 1, ITEMS)
    logits[np.flatnonzero(LABELS)[:misranked]] = -9.0
    table = Predictions(
        tuple(f"{i}.png" for i in range(ITEMS)),
        LABELS,
        logits.astype(np.float32),
        scores_from_logits(logits, 1.0),
        ("clean", "pit"),
    )
    return Candidate(name, (table,))


@pytest.mark.parametrize("misranked", [0, 2])
def test_a_difference_of_auroc_that_few_images_carry_is_not_too_sure(misranked: int) -> None:
    found = compare([perfect("base"), perfect("other", misranked)], metrics=["auroc"], margin=0.002)
    (pair,) = found.pairs
    assert pair.low < pair.difference <= 0 < pair.high
    assert not pair.non_inferior
    assert pair.detectable > 0.005
    assert "widened" in pair.method
    assert pair.p_value > 0.05


def test_what_is_detectable_is_enough_for_an_exact_test() -> None:
    """Six images all on one side are the fewest with 2 × ½⁶ < 0.05: 8 must be expected."""
    floor = detectable_difference(0.0, 0.05, 1226)
    assert 1226 * floor == pytest.approx(7.906, abs=1e-3)  # P(Poisson(7.906) ≥ 6) = 0.8
    assert detectable_difference(0.0, 0.05 / 8, 1226) > floor
    assert poisson.sf(5, 1226 * floor) == pytest.approx(0.8)


def test_a_larger_family_needs_larger_differences() -> None:
    models = [model("base", 1.5), model("other", 1.4, seeds=(5,))]
    alone = pair_of(compare(models, metrics=["accuracy"]), "accuracy")
    planned = pair_of(compare(models, metrics=["accuracy"], family_size=5), "accuracy")
    assert planned.detectable > alone.detectable
    assert planned.p_adjusted == pytest.approx(min(1.0, 5 * alone.p_value))


def test_one_class_alone_is_refused() -> None:
    labels = np.ones(20, bool)
    with pytest.raises(InputError, match="must hold clean items and defects, got 0 clean"):
        compare([Candidate("a", (table(1.0, 1, labels),)), Candidate("b", (table(1, 2, labels),))])
