from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drupe.evaluation.grouping import write_duplicates
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.predictions_csv import write_predictions
from drupe.study.local import TaskResult
from drupe.study.plan import plan
from drupe.study.results import recommendation, study_result
from drupe.study.spec import load_study

PATHS = tuple(f"val/{'pit' if index % 2 else 'clean'}/{index:03}.png" for index in range(400))
IS_DEFECT = np.array([bool(index % 2) for index in range(400)])


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        """
study: small
question: Is B better?
seeds: [1, 2]
defaults: {model: {architecture: test_resnet}}
experiments: [{id: A}, {id: B}]
comparisons: [{a: B, b: A}]
"""
    )
    return load_study(file)


def write_run(folder: Path, wrong: range) -> None:
    logits = np.where(IS_DEFECT, 2.0, -2.0).astype(np.float32)
    logits[list(wrong)] *= -1
    table = Predictions(PATHS, IS_DEFECT, logits, scores_from_logits(logits, 1.0), ("clean", "pit"))
    write_predictions(folder / "predictions" / "test.csv", table)
    groups = np.arange(400, dtype=np.int32)
    write_duplicates(folder / "predictions" / "duplicates.json", {"test": (PATHS, groups)})


def results(study, store: Path, wrong: dict[str, range], killed=()) -> list[TaskResult]:
    done = []
    for task in plan(study, store):
        if task.name not in killed:
            write_run(task.folder, wrong[task.experiment])
        done.append(TaskResult(task, -9 if task.name in killed else 0))
    return done


def test_figures_are_those_of_the_predictions(study, tmp_path):
    found = study_result(study.spec, results(study, tmp_path, {"A": range(40), "B": range(40)}))

    first = found.experiments[0]
    assert (found.images, found.defects) == (400, 200)
    assert first.accuracy.mean == pytest.approx(0.9)
    assert first.recall.mean == pytest.approx(0.9)
    assert first.misses.values == (20.0, 20.0)
    assert found.comparisons[0].accuracy.difference == 0
    assert "No difference is shown between B and A" in recommendation(found)


def test_a_clear_difference_is_called_one(study, tmp_path):
    found = study_result(study.spec, results(study, tmp_path, {"A": range(80), "B": range(8)}))

    assert found.comparisons[0].is_shown
    assert found.comparisons[0].accuracy.difference == pytest.approx(0.18)
    assert found.best is found.experiments[1]
    assert recommendation(found).startswith("B beats A (B - A: +18.0 points of accuracy")
    assert "lets 4 of 200 defects through" in recommendation(found)


def test_a_killed_run_is_named_and_the_rest_still_counts(study, tmp_path):
    wrong = {"A": range(40), "B": range(20)}
    found = study_result(study.spec, results(study, tmp_path, wrong, killed=["B seed 2"]))

    assert found.failed == (("B seed 2", "killed by signal 9"),)
    assert [len(item.runs) for item in found.experiments] == [2, 1]
    assert found.to_json()["experiments"][1]["accuracy"]["seeds"] == 1


def test_nothing_finished_recommends_nothing(study, tmp_path):
    every = [task.name for task in plan(study, tmp_path)]
    found = study_result(study.spec, results(study, tmp_path, {}, killed=every))

    assert found.experiments == ()
    assert recommendation(found) == "No run finished: nothing can be recommended."


def test_only_common_seeds_are_compared_and_ranked(study, tmp_path):
    done = results(study, tmp_path, {"A": range(40), "B": range(30)}, killed=["B seed 2"])
    write_run(tmp_path / "runs/small/A/seed-2", range(0))

    found = study_result(study.spec, done)

    assert found.experiments[0].accuracy.mean == pytest.approx(0.95)
    (compared,) = found.comparisons
    assert compared.seeds == (1,)
    assert compared.accuracy.difference == pytest.approx(0.025)
    assert found.best is found.experiments[1]
    assert recommendation(found).count("Only seed 1 counted") == 2
    assert "B has the highest mean accuracy, 92.5" in recommendation(found)
    assert found.to_json()["comparisons"][0]["seeds"] == [1]


def test_without_a_common_seed_nothing_is_compared_or_best(study, tmp_path):
    wrong = {"A": range(40), "B": range(20)}
    killed = ["A seed 1", "B seed 2"]

    found = study_result(study.spec, results(study, tmp_path, wrong, killed=killed))

    assert (found.best, found.comparisons) == (None, ())
    assert "B and A are not compared: no seed was finished by both" in recommendation(found)
    assert "none can be called the best" in recommendation(found)
    assert found.to_json()["not_compared"][0]["a"] == "B"


def test_a_whole_study_speaks_of_no_missing_seed(study, tmp_path):
    found = study_result(study.spec, results(study, tmp_path, {"A": range(40), "B": range(30)}))

    assert "counted" not in recommendation(found)


def test_of_copies_one_counts_and_comparisons_are_adjusted(study, tmp_path):
    done = results(study, tmp_path, {"A": range(40), "B": range(10)})
    for item in done:  # the first hundred images are copies of one
        groups = np.maximum(np.arange(400, dtype=np.int32), 99)
        write_duplicates(
            item.task.folder / "predictions" / "duplicates.json", {"test": (PATHS, groups)}
        )
    found = study_result(study.spec, done)
    assert found.images == 301
    assert found.experiments[0].accuracy.mean == pytest.approx(300 / 301)
    (comparison,) = found.comparisons
    assert comparison.p_adjusted == comparison.accuracy.p_value  # the only one planned
    assert not comparison.is_shown
