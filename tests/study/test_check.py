from __future__ import annotations

import pytest
import yaml

from drupe.errors import InputError
from drupe.evaluation.certificate import misses_allowed
from drupe.study.check import check_study
from drupe.study.definition.loading import load_study


@pytest.fixture
def study(tmp_path, small_synthetic):
    def load(**changes):
        document = {
            "study": "small",
            "seeds": [1, 2],
            "defaults": {
                "model": {"architecture": "test_resnet", "pretrained": False},
                "input": {"size": 64},
                "training": {"epochs": 4, "batch_size": 16, "threads": 1},
            },
            "experiments": [{"id": "A"}, {"id": "B", "config": {"calibration": {"crossfit": 3}}}],
            **changes,
        }
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
        return load_study(tmp_path / "small.yaml", {"data": {"root": str(small_synthetic)}})

    return load


def test_a_study_that_can_run_says_what_it_takes_and_leaves_no_run(study, tmp_path):
    checked = check_study(study(), tmp_path / "store")

    assert [(one.experiment, one.runs) for one in checked.expectations] == [("A", 2), ("B", 5)]
    assert all(one.seconds > 0 and one.weights == "random" for one in checked.expectations)
    assert checked.expectations[0].parameters == pytest.approx(4e5, rel=0.5)
    assert checked.seconds == pytest.approx(
        sum(one.seconds * one.runs for one in checked.expectations)
    )
    assert sum(checked.images.values()) == 200
    assert not (tmp_path / "store" / "runs").exists()


def test_what_can_be_proven_is_known_before_anything_is_trained(study, tmp_path):
    """log(0.05) / log(0.9) = 28.4; for the best of two log(0.025) / log(0.9) = 35.01."""
    hold_out, folds = check_study(study(criteria={"recall": 0.9}), tmp_path / "store").expectations

    assert hold_out.provable is not None
    assert folds.provable is not None
    assert (hold_out.provable.needed, hold_out.provable.needed_to_choose) == (29, 36)
    assert (hold_out.provable.exact, folds.provable.exact) == (True, False)
    # Calibration is about a quarter of what is there to train on; folds take all of it.
    assert folds.provable.defects == pytest.approx(4 * hold_out.provable.defects, abs=24)
    assert str(hold_out.provable).endswith(
        ": recall ≥ 90 % at 95 % takes 29 without a miss, 36 for the one chosen of 2: not enough"
    )
    assert str(folds.provable).endswith(": enough")
    own, whole = hold_out.provable.defects, folds.provable.defects
    assert hold_out.provable.training_defects == whole
    pooled = misses_allowed(whole, 0.9, 0.975)
    assert misses_allowed(whole // 2, 0.9, 0.975) is None  # 35 certify the best of two
    assert hold_out.provable.shares == (
        f"as it is, {own} defects: certifies nothing; calibration.holdout=0.5, {whole // 2} "
        f"defects: certifies nothing; calibration.crossfit (approximate), {whole} defects: "
        f"allows {pooled} misses"
    )
    assert folds.provable.shares == f"as it is, {whole} defects: allows {pooled} misses"

    asks_for_none = study(criteria={"recall": None})
    assert check_study(asks_for_none, tmp_path / "store").expectations[0].provable is None


def test_an_ensemble_costs_no_training_and_is_one_more_to_choose_from(study, tmp_path):
    experiments = [{"id": "A"}, {"id": "B"}, {"id": "AB", "kind": "ensemble", "of": ["A", "B"]}]
    checked = check_study(
        study(experiments=experiments, criteria={"recall": 0.9}), tmp_path / "store"
    )

    one, other, both = checked.expectations
    assert both.parameters == one.parameters + other.parameters
    assert (both.runs, both.seconds, both.weights) == (1, 0, "of its members")
    assert both.provable is not None
    assert one.provable is not None
    assert both.provable.candidates == one.provable.candidates == 3
    assert both.provable.defects == one.provable.defects
    assert both.provable.exact
    assert checked.to_json()["expectations"][2]["architecture"] == "ensemble of 2"


def test_weights_that_no_source_has_are_named_with_every_experiment(study, tmp_path):
    unknown = {"model": {"architecture": "test_resnet", "pretrained": True}}
    experiments = [{"id": "A"}, {"id": "B", "config": unknown}, {"id": "C", "config": unknown}]
    with pytest.raises(InputError) as caught:
        check_study(study(experiments=experiments), tmp_path / "store", tmp_path / "no-weights")
    assert [problem[:2] for problem in caught.value.problems] == ["B:", "C:"]


def test_a_full_disk_is_found_before_anything_runs(study, tmp_path, monkeypatch):
    loaded = study()
    check_study(loaded, tmp_path / "store")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("drupe.study.check.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"MB free for the runs, got 0 MB"):
        check_study(loaded, tmp_path / "store")


def test_a_tracker_that_cannot_be_used_is_found(study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"tracking\.tensorboard: .* can't be used"):
        check_study(study(tracking={"tensorboard": str(tmp_path / "file/board")}), tmp_path / "s")
