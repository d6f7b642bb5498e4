from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.grouping import write_duplicates
from drupe.evaluation.intervals import clopper_pearson
from drupe.runs.training_overlap import Seen
from drupe.study.definition.spec import PlannedComparison
from drupe.study.verdict.figures import compare_planned, measure
from run_files import adopt_results, decided, write_run


def runs(folder, **wrong):
    """Return finished runs: ``A=(40, 30)`` has two seeds, with the first 40 and 30 items wrong."""
    found = {}
    for name, counts in wrong.items():
        found[name] = [
            (seed, write_run(folder / name / str(seed), test=decided(400, range(count))))
            for seed, count in enumerate(counts, start=1)
            if count is not None
        ]
    return found


def planned(*pairs: str) -> list[PlannedComparison]:
    return [PlannedComparison(a=pair[0], b=pair[1]) for pair in pairs]


def test_figures_are_those_of_the_predictions(tmp_path) -> None:
    found = measure(runs(tmp_path, A=(40, 20), B=(0, 0)), 0.95)

    figures = found.experiments["A"]
    assert (found.images, found.defects) == (400, 200)
    assert figures.accuracy.mean == pytest.approx(0.925)
    assert figures.recall.mean == pytest.approx(0.85)  # the defects stand first
    assert figures.clean_yield.mean == 1
    assert figures.misses.values == (40.0, 20.0)
    assert figures.accuracy_by_seed.values == (0.9, 0.95)
    assert figures.collapsed == ()
    assert found.experiments["B"].auroc.values == (1.0, 1.0)


def test_seeds_are_averaged_and_never_pooled_as_if_independent(tmp_path) -> None:
    found = measure(runs(tmp_path, A=(20,), B=(20, 20, 20)), 0.95)

    one, three = (found.experiments[name].accuracy for name in "AB")
    assert (one.low, one.high) == pytest.approx(clopper_pearson(380, 400, 0.95, 2))
    # Three networks with the same mistakes have seen no more images than one.
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=1e-9)
    assert three.effective_images == pytest.approx(400)
    _, difference = found.difference(found.tested["B"], found.tested["B"])
    assert difference.images == 400


def test_of_copies_one_counts(tmp_path) -> None:
    found = runs(tmp_path, A=(40,), B=(10,))
    table = decided(400)
    groups = np.maximum(np.arange(400), 39)  # the first forty are copies
    for name in found:
        file = found[name][0][1] / "predictions" / "duplicates.json"
        write_duplicates(file, {"test": (table.paths, groups)})
        adopt_results(found[name][0][1])

    measured = measure(found, 0.95)

    assert (measured.images, measured.defects) == (361, 161)
    assert measured.experiments["A"].accuracy.mean == pytest.approx(360 / 361)


def test_a_clear_difference_is_shown_and_none_is_not(tmp_path) -> None:
    found = measure(runs(tmp_path, A=(80, 80), B=(8, 8), C=(80, 80)), 0.95)

    (clear, none), missing = compare_planned(planned("BA", "CA"), found)

    assert missing == ()
    assert clear.is_shown
    assert clear.paired.difference == pytest.approx(0.18)
    assert not none.is_shown
    assert (none.paired.difference, none.p_adjusted) == (0, 1)
    assert 0 < none.detectable < 0.1


def test_the_family_keeps_its_size_when_an_experiment_has_no_run(tmp_path) -> None:
    found = measure(runs(tmp_path, A=(20, 20), B=(13, 13)), 0.95)
    (alone,), _ = compare_planned(planned("BA"), found)

    (one,), missing = compare_planned(planned("BA", "CA", "CB", "AC"), found)

    assert [(item.a, item.b) for item in missing] == [("C", "A"), ("C", "B"), ("A", "C")]
    assert one.p_adjusted == pytest.approx(4 * alone.p_adjusted)
    assert one.detectable > alone.detectable
    assert alone.is_shown
    assert not one.is_shown


def test_only_common_seeds_are_compared(tmp_path) -> None:
    found = measure(runs(tmp_path, A=(40, 0), B=(30, None)), 0.95)

    (compared,), _ = compare_planned(planned("BA"), found)

    assert found.experiments["A"].accuracy.mean == pytest.approx(0.95)
    assert compared.seeds == (1,)
    assert compared.paired.difference == pytest.approx(0.025)
    assert compared.model_dump(mode="json")["seeds"] == [1]


def test_every_seed_counts_against_the_one_run_of_a_model_from_elsewhere(tmp_path) -> None:
    found = runs(tmp_path, B=(10, 30))
    seen = Seen(trained_on=None, picked_on_test=False)
    # It lies where the study's first seed would: that is nothing that they have in common.
    found["M"] = [(1, write_run(tmp_path / "M", test=decided(400, range(40)), seen=seen))]

    (forth, back), _ = compare_planned(planned("BM", "MB"), measure(found, 0.95))

    assert forth.paired.difference == pytest.approx(0.05)  # 20 of 400 wrong on average, not 10
    assert back.paired.difference == pytest.approx(-0.05)
    assert forth.seeds == back.seeds == (1, 2)


def test_a_network_that_decides_everything_alike_has_collapsed(tmp_path) -> None:
    found = runs(tmp_path, A=(200, 0))  # all defects missed: everything is clean

    assert measure(found, 0.95).experiments["A"].collapsed == (1,)


def test_runs_on_other_images_are_refused(tmp_path) -> None:
    found = runs(tmp_path, A=(40,))
    found["B"] = [(1, write_run(tmp_path / "B" / "1", test=decided(300)))]

    with pytest.raises(InputError, match="must be the same 400"):
        measure(found, 0.95)


def test_without_runs_there_is_nothing(tmp_path) -> None:
    found = measure({"A": []}, 0.95)

    assert (found.images, found.experiments) == (0, {})
    assert compare_planned(planned("BA"), found) == ((), tuple(planned("BA")))
