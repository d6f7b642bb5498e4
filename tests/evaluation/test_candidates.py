from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.candidates import read_lineup
from drupe.evaluation.certificate import certify_threshold
from drupe.evaluation.comparison import compare
from drupe.evaluation.historic import compare_with_number
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.predictions_csv import write_predictions
from run_files import predictions, write_run


def test_a_run_brings_a_threshold_certified_on_its_own_calibration(tmp_path) -> None:
    run = write_run(tmp_path / "run", copies=2)
    lineup = read_lineup([run], min_recall=0.98)
    (candidate,) = lineup.candidates
    table = read_run_predictions(run).calibration.distinct
    expected = certify_threshold(table.scores, table.is_defect, min_recall=0.98).threshold
    assert candidate.thresholds == (expected,)
    assert (candidate.name, candidate.seeds) == ("lite0 seed 42", (42,))
    assert np.unique(lineup.groups).size == 798
    assert lineup.notes == ()


def test_an_experiment_is_its_seeds_in_order(tmp_path) -> None:
    for seed in (123, 42):
        write_run(tmp_path / "B2" / f"seed-{seed}", seed=seed, experiment="B2")
    (tmp_path / "B2" / "seed-42-cross-fit-5" / "fold-0").mkdir(parents=True)
    (candidate,) = read_lineup([tmp_path / "B2"]).candidates
    assert (candidate.name, candidate.seeds) == ("B2", (42, 123))
    assert len(candidate.tables) == len(candidate.thresholds) == 2


def test_a_csv_beside_a_run_takes_the_run_s_copies(tmp_path) -> None:
    run = write_run(tmp_path / "run", copies=2)
    table = read_run_predictions(run).test.table
    order = np.random.default_rng(0).permutation(len(table))
    write_predictions(tmp_path / "theirs.csv", table.take(order))
    lineup = read_lineup([tmp_path / "theirs.csv", run])
    assert [one.name for one in lineup.candidates] == ["theirs", "lite0 seed 42"]
    assert lineup.candidates[0].thresholds is None
    first = lineup.candidates[0].tables[0]
    copies = [first.paths.index(f"val/{i:05}.png") for i in range(3)]
    assert len(set(lineup.groups[copies])) == 1
    assert np.unique(lineup.groups).size == 798


def test_models_of_one_name_are_told_apart_by_their_paths(tmp_path) -> None:
    paths = [write_run(tmp_path / name) for name in ("a", "b")]
    assert [one.name for one in read_lineup(paths).candidates] == [str(path) for path in paths]


def test_too_few_defects_are_a_note(tmp_path) -> None:
    run = write_run(tmp_path / "run", calibration=predictions(300, 1))
    lineup = read_lineup([run])
    assert lineup.candidates[0].thresholds is None
    assert "at least 299 distinct defects" in lineup.notes[0]


def test_all_that_is_wrong_in_one_message(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        read_lineup([tmp_path / "empty", tmp_path / "absent.csv"])
    assert len(caught.value.problems) == 2
    assert "must be a run, a folder of seed-N runs or a CSV file" in caught.value.problems[0]
    assert "no such file" in caught.value.problems[1]


def test_one_seed_counts_once(tmp_path) -> None:
    for name in ("seed-42", "seed-x"):
        write_run(tmp_path / "B2" / name, seed=42, experiment="B2")
    with pytest.raises(InputError, match="seeds must differ, got 42, 42"):
        read_lineup([tmp_path / "B2"])


def test_tables_come_in_the_order_of_the_groups(tmp_path) -> None:
    """A bare number is compared table by table: each must be in the first one's order."""
    run = write_run(tmp_path / "run", copies=40)
    table = read_run_predictions(run).test.table
    order = np.random.default_rng(1).permutation(len(table))
    write_predictions(tmp_path / "same.csv", table)
    write_predictions(tmp_path / "shuffled.csv", table.take(order))
    lineup = read_lineup([run, tmp_path / "same.csv", tmp_path / "shuffled.csv"])
    rates = [
        compare_with_number(one, 0.9, groups=lineup.groups).rate.mean for one in lineup.candidates
    ]
    assert rates[0] == rates[1] == rates[2]


def test_the_same_file_twice_is_told_apart(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    names = [one.name for one in read_lineup([run, run]).candidates]
    assert names == [f"{run} (1)", f"{run} (2)"]


def test_logits_are_a_matter_of_csv_files(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match="a run's scores are never logits"):
        read_lineup([run, run], score_is_logit=True)


def test_runs_before_and_after_a_fix_list_are_compared_on_what_both_have(tmp_path) -> None:
    table = predictions(800, 2)
    write_run(tmp_path / "before", test=table)
    changed = table.take(np.arange(30, 800))  # 30 left out, the next 7 relabelled
    labels = changed.is_defect.copy()
    labels[:7] = ~labels[:7]
    write_run(tmp_path / "after", test=replace(changed, is_defect=labels), seed=43)

    lineup = read_lineup([tmp_path / "before", tmp_path / "after"])

    first, second = (one.tables[0] for one in lineup.candidates)
    assert first.paths == second.paths == table.paths[37:]
    assert len(lineup.groups) == 763
    assert lineup.caveats == (
        "compared on the 763 test images that all have with the same label; left out: 30 that not "
        "all have, 7 whose label differs",
    )


def test_runs_on_other_data_are_refused_all_the_same(tmp_path) -> None:
    table = predictions(800, 2)
    write_run(tmp_path / "a", test=table)
    write_run(tmp_path / "b", test=table.take(np.arange(500, 800)), seed=43)
    with pytest.raises(InputError):
        read_lineup([tmp_path / "a", tmp_path / "b"])


def test_a_clean_yield_that_hangs_on_calibration_is_not_shown(tmp_path) -> None:
    """One crop of another calibration sets the threshold: the same network, another draw."""
    calibration = predictions(1000, 1, quality=3.0, prefix="train")
    scores = calibration.scores.copy()
    scores[np.flatnonzero(calibration.is_defect)[:3]] = 0.002
    write_run(tmp_path / "a", calibration=calibration)
    write_run(tmp_path / "b", calibration=replace(calibration, scores=scores, logits=None), seed=43)
    lineup = read_lineup([tmp_path / "a", tmp_path / "b"], min_recall=0.99)

    found = compare(
        lineup.candidates, groups=lineup.groups, metrics=["clean_yield"], min_recall=0.99
    )

    (pair,) = found.pairs
    assert pair.p_adjusted < 0.001
    assert pair.drawn is not None
    assert pair.drawn.p_value > 0.05
    assert not pair.is_shown(0.95)
    assert found.to_json()["pairs"][0]["drawn"]["over"] == ["test items", "calibration items"]


def test_labels_that_a_model_had_picked_are_a_caveat(tmp_path) -> None:
    run = write_run(tmp_path / "run", suspects={"calibration": 2, "test": 1})
    test, calibration = read_lineup([run]).caveats
    assert "lite0 seed 42: 1 test label was changed" in test
    assert "lite0 seed 42: 2 calibration labels were changed" in calibration
