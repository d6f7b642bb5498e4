"""Whatever computes with a run's weights, or counts on what they learnt from, wants its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drupe.data.synthetic.generation import synthesise
from drupe.deployment.eager import eager_subject
from drupe.deployment.export import export_run
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.labels.run_ranking import rank_run
from drupe.training.crossfit import score_out_of_fold
from drupe.training.ensemble import EnsembleRequest, make_ensemble
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run


@pytest.fixture
def swapped(tiny, store, tmp_path: Path) -> Path:
    """A finished run that holds the weights of another seed."""
    train_run(tiny(), tmp_path / "run", store)
    train_run(tiny(seed=7), tmp_path / "other", store)
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


def test_nobody_uses_the_weights_of_another_run(swapped: Path, store, tmp_path, tiny) -> None:
    both = (swapped, tmp_path / "other")
    uses = {
        "evaluate": lambda: evaluate_run(swapped, store),
        "export": lambda: export_run(swapped, tmp_path / "bundle", store),
        "bench": lambda: eager_subject(swapped, 1),
        "rank": lambda: rank_run(swapped, 2, store),
        "ensemble": lambda: make_ensemble(EnsembleRequest(both, "E"), tmp_path / "e", store),
        "init": lambda: tiny(training={"init": str(swapped)}),
    }
    for name, use in uses.items():
        with pytest.raises(InputError, match=r"run/model\.safetensors: must be the file that be"):
            use()
        assert not (tmp_path / "bundle").exists(), name


def test_what_was_learnt_is_that_of_this_run(tiny, store, tmp_path) -> None:
    """Another list would let crops pass as new that the network has learnt."""
    run = tmp_path / "run"
    train_run(tiny(), run, store)
    model = read_run_predictions(run)
    synthesise(tmp_path / "fresh", images=40, size=64, seed=9)
    (run / "trained-on.txt").write_text("0" * 64 + "\n")

    for use in (
        lambda: calibrate_on_fresh(model, run, tmp_path / "fresh", store),
        lambda: evaluate_run(run, store),
    ):
        with pytest.raises(InputError, match=r"trained-on\.txt: must be the file that belongs"):
            use()


def test_a_configuration_with_another_split_is_refused(tiny, store, tmp_path) -> None:
    """Its calibration would hold items that the network has learnt from."""
    run = tmp_path / "run"
    train_run(tiny(), run, store)
    text = (run / "config.yaml").read_text()
    assert "split_seed: 0" in text
    (run / "config.yaml").write_text(text.replace("split_seed: 0", "split_seed: 1"))

    with pytest.raises(InputError, match=r"config\.yaml: must be the configuration that the run"):
        evaluate_run(run, store)


def test_the_tables_of_a_fold_are_its_own(tiny, store, tmp_path) -> None:
    run = tmp_path / "run"
    train_run(tiny(), run, store)
    fingerprint = read_run_predictions(run).data_fingerprint
    score_out_of_fold(run, 2, store, data_fingerprint=fingerprint)
    table = tmp_path / "run-cross-fit-2" / "fold-1" / "predictions" / "calibration.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")

    with pytest.raises(InputError, match=r"fold-1/predictions/calibration\.csv: must be the file"):
        score_out_of_fold(run, 2, store, data_fingerprint=fingerprint)


def test_evaluating_again_brings_the_predictions_back(tiny, store, tmp_path) -> None:
    run = tmp_path / "run"
    train_run(tiny(), run, store)
    table = run / "predictions" / "test.csv"
    before = table.read_bytes()
    table.write_bytes(before.replace(b"cherry_pit,0.", b"cherry_pit,0.9"))

    with pytest.raises(InputError, match=r"drupe evaluate .* writes it anew"):
        read_run_predictions(run)
    evaluate_run(run, store)
    read_run_predictions(run)
    assert table.read_bytes() == before
