from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs drupe[tune]")

from drupe.cli import executors, tune
from drupe.configuration import merge
from drupe.training.config import load_experiment
from drupe.training.preparation import prepare_data
from study_files import FakeExecutor
from tune_files import EXPERIMENT, SPACE, learns, tiny_search


@pytest.fixture
def files(tmp_path: Path) -> Path:
    import yaml

    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def without_training(files: Path, small_synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are written instead of trained."""
    config = tiny_search(small_synthetic).config
    does = learns(prepare_data(config, files / "drupe-store").dataset.fingerprint)
    chosen = FakeExecutor(does, slots={"gpu": 1})
    monkeypatch.setattr(tune, "choose_executor", lambda *given: chosen)


def test_the_answer_names_the_best_and_what_to_do_next(
    quick, files, small_synthetic, without_training
) -> None:
    words = ("tune", "tiny.yaml", "--space", "space.yaml", "--data", small_synthetic)
    done = quick(*words, "--trials", "6", columns=200)
    assert done.code == 0, done.stderr
    assert "Mean clean yield at recalls from 95 % to 100 %, on 3 inner folds" in done.stdout
    assert "as given" in done.stdout
    assert "points fold by fold" in done.stdout
    winner = Path("drupe-store/tune/tiny/winner.yaml")
    assert f"Next: drupe train {winner} --data {small_synthetic}" in done.stdout
    assert "tune: 18 runs" in done.stderr
    assert "best: trial" in done.stderr
    assert "# Made by: drupe tune tiny.yaml --space space.yaml" in (files / winner).read_text()
    assert (files / "drupe-store/tune/tiny/tune.html").stat().st_size > 1_000_000

    again = quick(*words, "--trials", "6", "--json")
    found = json.loads(again.stdout)
    assert found["best"]["scores"]["mean"] > found["given"]["scores"]["mean"]
    assert found["winner"] == str(winner)
    assert len(found["trials"]) == 6

    more = quick(*words, "--trials", "9", "--hours", "1e-9")
    assert "6 of 9 trials; the same command continues" in more.stdout


def test_a_preset_can_be_searched(quick, files, small_synthetic, without_training) -> None:
    overrides = ("model.architecture=test_resnet", "model.pretrained=false", "input.size=64")
    more = ("input.crop=none", "input.resolution=null", "name=mine")
    done = quick("tune", "fast", *overrides, *more, "--data", small_synthetic, "--trials", "1")
    assert done.code == 0, done.stderr
    assert "Nothing that was tried is better than the experiment as given." in done.stdout
    winner = load_experiment(files / "drupe-store/tune/mine/winner.yaml")
    assert winner.name == "mine-tuned"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tune",), "EXPERIMENT: required: an experiment file"),
        (("tune", "none.yaml", "--data", "DATA"), "none.yaml: no such file"),
        (("tune", "tiny.yaml"), "data.root: required: give --data DIR"),
        (("tune", "tiny.yaml", "--data", "nowhere"), "nowhere"),
        (("tune", "tiny.yaml", "--data", "DATA", "--space", "no.yaml"), "no.yaml: no such file"),
        (("tune", "tiny.yaml", "--data", "DATA", "--space", "bad.yaml"), "unknown key"),
        (("tune", "tiny.yaml", "--data", "DATA", "--hours", "0"), "--hours: must be above 0"),
        (("tune", "tiny.yaml", "--data", "DATA", "--latency", "-1"), "--latency: must be above 0"),
        (("tune", "tiny.yaml", "--data", "DATA", "--min-recall", "1"), "must be in [0, 1), got 1"),
        (("tune", "tiny.yaml", "--data", "DATA", "--address", "x:1"), "needs --executor ray"),
        (("tune", "tiny.yaml", "training.epochs=0", "--data", "DATA"), "must be in [1, ∞), got 0"),
    ],
)
def test_wrong_input_is_one_message(quick, files, small_synthetic, words, message) -> None:
    (files / "bad.yaml").write_text("training.lerning_rate: {low: 1, high: 0}\n")
    given = [str(small_synthetic) if word == "DATA" else word for word in words]
    done = quick(*given, columns=300)
    assert done.code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_the_store_of_another_experiment_is_left_alone(
    quick, files, small_synthetic, without_training
) -> None:
    import yaml

    words = ("--space", "space.yaml", "--data", small_synthetic, "--trials", "1")
    assert quick("tune", "tiny.yaml", *words).code == 0
    before = {path: path.read_bytes() for path in (files / "drupe-store/tune").rglob("*.*")}
    other = merge(EXPERIMENT, {"model": {"architecture": "test_efficientnet"}})
    (files / "tiny.yaml").write_text(yaml.safe_dump(other))
    done = quick("tune", "tiny.yaml", *words, columns=400)
    assert done.code == 2
    assert "holds another search (model.architecture: it has test_resnet, now" in done.stderr
    assert "name=OTHER" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_without_optuna_it_says_what_to_install(drupe, files, small_synthetic) -> None:
    done = drupe("tune", "tiny.yaml", "--data", small_synthetic, blocked=("optuna",))
    assert done.code == 2
    assert "pip install 'drupe[tune]'" in done.stderr


def test_the_executor_is_chosen_by_name(tmp_path: Path) -> None:
    assert executors.choose_executor("local", None, 3, tmp_path, None).slots("cpu") == 3
