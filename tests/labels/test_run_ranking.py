from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from drupe.errors import DrupeError, InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.predictions_csv import read_predictions
from drupe.labels.ranking import class_probabilities, read_ranking, write_ranking
from drupe.labels.run_ranking import Folds, LabelRanking, rank_run
from drupe.models.type_head import NoFeaturesError
from drupe.runs.evaluation_file import read_evaluation
from drupe.study.execution.executor import Job
from drupe.training.config import load_experiment, validate_experiment
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.ensemble import EnsembleRequest, make_ensemble
from drupe.training.features import unit_features
from drupe.training.imported import ImportRequest, import_checkpoint
from drupe.training.preparation import prepare_data, recorded_config
from drupe.training.run import train_run
from study_files import FakeExecutor

pytestmark = pytest.mark.thorough

DOCUMENT = {
    "name": "tiny",
    "seed": 42,
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
    "training": {"epochs": 1, "batch_size": 16, "threads": 1},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_synthetic, store) -> Path:
    """A trained run with a hold-out."""
    folder = tmp_path_factory.mktemp("ranked") / "run"
    document = DOCUMENT | {"data": {"root": str(small_synthetic)}}
    train_run(validate_experiment(document, "tiny.yaml"), folder, store)
    return folder


@pytest.fixture(scope="module")
def executor(store) -> FakeExecutor:
    """Trains each fold in this process, from the file that a process of its own would read."""

    def train(job: Job) -> int:
        train_run(load_experiment(Path(job.words[1])), job.task.folder, store, resume=True)
        return 0

    return FakeExecutor(train)


@pytest.fixture(scope="module")
def ranked(run, store, executor) -> LabelRanking:
    """Its ranking, by two networks of each of two folds."""
    return rank_run(run, Folds(2, seeds=2, executor=executor), store)


def fold(run: Path, name: str) -> Path:
    return run.parent / "run-cross-fit-2" / name


def test_an_executor_trains_every_seed_of_every_fold(run, ranked, executor) -> None:
    names = ["tiny-fold-0", "tiny-fold-1", "tiny-fold-0-seed-43", "tiny-fold-1-seed-43"]
    assert executor.started == names
    assert executor.stopped
    folders = ["fold-0", "fold-0-seed-43", "fold-1", "fold-1-seed-43"]
    assert sorted(path.name for path in fold(run, "").iterdir() if path.is_dir()) == folders


def test_scores_are_of_the_mean_logits_of_the_seeds(run, ranked) -> None:
    temperature = read_evaluation(run).temperature
    score_of = {one.path: one.score for one in ranked.ranking}
    for number in range(2):
        first, second = (
            read_predictions(fold(run, name) / "predictions" / "calibration.csv")
            for name in (f"fold-{number}", f"fold-{number}-seed-43")
        )
        assert first.paths == second.paths
        assert first.logits.tolist() != second.logits.tolist()
        mean = (first.logits + second.logits) / 2
        np.testing.assert_allclose(
            [score_of[path] for path in first.paths],
            class_probabilities(mean, temperature)[:, 1],
            rtol=1e-5,
        )
    assert {one.split for one in ranked.ranking} == {"fit", "calibration", "test"}


def test_neighbours_are_the_nearest_of_each_label_to_networks_that_never_saw_the_item(
    run, ranked, store
) -> None:
    data = prepare_data(recorded_config(run), store)
    paths, is_defect = data.dataset.paths, data.dataset.is_defect
    place = {path: index for index, path in enumerate(paths)}
    known = {one.path: one for one in ranked.ranking}
    judges = [[fold(run, f"fold-{number}"), fold(run, f"fold-{number}-seed-43")] for number in "01"]
    sides = [
        read_predictions(folders[0] / "predictions" / "calibration.csv").paths for folders in judges
    ]
    test = read_run_predictions(run).test.table.paths
    for folders, members in zip([*judges, [run]], [*sides, test], strict=True):
        features = unit_features(folders, data)
        cosines = features @ features.T
        np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-4)
        for path in members[:6]:
            index, one = place[path], known[path]
            others = [
                other
                for other in np.argsort(-cosines[index], kind="stable").tolist()
                if data.groups[other] != data.groups[index] and paths[other] in known
            ]
            own = [paths[other] for other in others if is_defect[other] == is_defect[index]]
            rest = [paths[other] for other in others if is_defect[other] != is_defect[index]]
            assert (list(one.near_own), list(one.near_other)) == (own[:2], rest[:2])


def test_neighbours_are_kept_and_the_ranking_is_read_again(
    run, ranked, store, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("drupe.labels.network_neighbours.unit_features", None)  # not asked again
    assert rank_run(run, Folds(2, seeds=2), store).ranking == ranked.ranking
    write_ranking(tmp_path / "labels.csv", ranked.ranking)
    assert read_ranking(tmp_path / "labels.csv") == ranked.ranking


def test_networks_without_features_rank_without_neighbours(run, ranked, store, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise NoFeaturesError("none")

    monkeypatch.setattr("drupe.labels.network_neighbours.unit_features", refuse)
    found = rank_run(run, Folds(2), store)  # other networks: nothing is kept of them
    assert len(found.ranking) == len(ranked.ranking)
    assert {(one.near_own, one.near_other) for one in found.ranking} == {((), ())}


def test_a_fold_that_fails_is_told_in_its_own_words(run, store) -> None:
    def die(job: Job) -> int:
        job.log.write_text("step 1\nerror: the loss is NaN\n")
        return 2

    with pytest.raises(DrupeError, match=r"^tiny-fold-0: exit code 2: the loss is NaN$"):
        rank_run(run, Folds(3, executor=FakeExecutor(die)), store)


def test_an_ensemble_ranks_what_it_has_never_seen(run, small_synthetic, store, tmp_path) -> None:
    document = DOCUMENT | {"data": {"root": str(small_synthetic)}, "seed": 7, "name": "second"}
    train_run(validate_experiment(document, "tiny.yaml"), tmp_path / "second", store)
    request = EnsembleRequest((run, tmp_path / "second"), "both")
    make_ensemble(request, tmp_path / "both", store)
    found = rank_run(tmp_path / "both", Folds(2), store)
    model = read_run_predictions(tmp_path / "both")
    sides = {"calibration": model.calibration, "test": model.test}
    for name, side in sides.items():
        members = {one.path for one in found.ranking if one.split == name}
        assert members == set(side.table.paths)
    assert all(len(one.near_own) == len(one.near_other) == 2 for one in found.ranking)


def import_tiny(folder: Path, data: Path, store: Path, trained_on: str | None) -> Path:
    """Import a network that was trained on the folder ``trained_on``, None: on unknown files."""
    torch.manual_seed(2)
    network = get_model("resnet18", weights=None, num_classes=2)
    torch.save(network.state_dict(), folder / "best.pt")
    files = None if trained_on is None else folder / "files.txt"
    if files is not None:
        files.write_text(f"{trained_on}\n")
    settings = {"data": {"root": str(data)}, "input": {"size": 64}}
    request = ImportRequest(folder / "best.pt", "resnet18", files, settings=settings)
    import_checkpoint(request, folder / "imported", store)
    return folder / "imported"


def test_an_imported_run_ranks_test_where_it_has_learnt_from_calibration(
    small_synthetic, store, tmp_path
) -> None:
    run = import_tiny(tmp_path, small_synthetic, store, "train")
    found = rank_run(run, Folds(2), store)
    assert {one.split for one in found.ranking} == {"test"}
    assert found.holders is None
    assert "in-sample" in str(found.no_holders)


def test_a_run_that_may_have_seen_everything_is_refused(small_synthetic, store, tmp_path) -> None:
    run = import_tiny(tmp_path, small_synthetic, store, None)
    with pytest.raises(InputError, match="must have items that it has never seen"):
        rank_run(run, Folds(2), store)


def test_a_run_that_learnt_from_all_training_items_is_ranked_and_stays_as_it_is(
    tmp_path, small_synthetic, store
) -> None:
    """And is ranked alike once a cross-fit has given it the folds' scores as calibration."""
    document = DOCUMENT | {"data": {"root": str(small_synthetic)}, "calibration": {"crossfit": 2}}
    run = tmp_path / "run"
    train_run(validate_experiment(document, "tiny.yaml"), run, store)

    found = rank_run(run, Folds(2), store)

    assert {one.split for one in found.ranking} == {"fit", "test"}
    assert len(found.ranking) == 200
    assert found.no_holders is not None
    assert "at least 299 distinct defects" in found.no_holders
    model = read_run_predictions(run)
    assert model.calibration is None
    # A training item's score is that of the fold that left it out, at the run's temperature.
    temperature = read_evaluation(run).temperature
    score_of = {one.path: one.score for one in found.ranking}
    for number in range(2):
        table = read_predictions(fold(run, f"fold-{number}") / "predictions" / "calibration.csv")
        assert table.logits is not None
        np.testing.assert_allclose(
            [score_of.pop(path) for path in table.paths],
            class_probabilities(table.logits, temperature)[:, 1],
        )
    assert model.test is not None
    assert set(score_of) == set(model.test.table.paths)

    calibrate_on_folds(model, run, 2, store)
    assert read_run_predictions(run).calibration is not None
    assert rank_run(run, Folds(2), store).ranking == found.ranking
