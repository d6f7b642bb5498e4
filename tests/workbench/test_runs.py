"""Train, certify, export and report from Python, as the command line does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import drupe
from drupe.errors import InputError
from drupe.workbench.runs import Run, experiment
from run_files import predictions, write_run
from study_folder import write_study_run

TINY = {
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
    "training": {
        "epochs": 3,
        "batch_size": 16,
        "precision": "fp32",
        "layout": "contiguous",
        "checkpoint_every": 1,
    },
}


def test_a_run_is_trained_interrupted_without_loss_and_goes_on(small_synthetic, tmp_path) -> None:
    seen: list[int] = []

    def stop_after_two(result) -> None:
        seen.append(result.epoch)
        if result.epoch == 1:
            raise KeyboardInterrupt

    options = {"out": tmp_path / "run", "store": tmp_path / "store", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        drupe.train(TINY, small_synthetic, callbacks=[stop_after_two], **options)
    assert seen == [0, 1]

    run = drupe.train(
        TINY, small_synthetic, callbacks=[lambda one: seen.append(one.epoch)], **options
    )
    # The second epoch's checkpoint wasn't written yet: that is trained again, and no more.
    assert seen == [0, 1, 1, 2]
    assert run.record.status == "done"
    whole = drupe.train(
        TINY, small_synthetic, out=tmp_path / "whole", store=tmp_path / "store", progress=False
    )
    assert np.array_equal(run.predictions().logits, whole.predictions().logits)

    again = drupe.train(TINY, small_synthetic, callbacks=[lambda one: seen.append(-1)], **options)
    assert (again, seen[-1]) == (run, 2)

    found = drupe.threshold(run, min_recall=0.6)
    assert found.is_certified
    assert run.evaluation.certificate is not None
    assert run.evaluation.certificate.threshold == found.low
    bundle = drupe.export(run, tmp_path / "b.bundle", store=tmp_path / "store", progress=False)
    classifier = drupe.load(bundle.folder, order="rgb")
    crop = next((small_synthetic / "val").rglob("*.png"))
    assert classifier.decide(crop) in ("accept", "reject", "review")
    assert f"{classifier.function.name}" in bundle._repr_html_()
    assert len(repr(bundle)) < 200
    page = drupe.report(run, out=tmp_path / "page.html", store=tmp_path / "store")
    assert "Certified: recall ≥ 60 %" in page.read_text(encoding="utf-8")
    judged = drupe.evaluate(run, store=tmp_path / "store", progress=False)
    assert judged.evaluation.certificate is None  # made anew, as on the command line


def test_an_augmentation_of_ones_own_is_part_of_the_run(small_synthetic, tmp_path) -> None:
    options = {"out": tmp_path / "run", "store": tmp_path / "store", "progress": False}
    one_epoch = {"training.epochs": 1}
    run = drupe.train(TINY, small_synthetic, changes=one_epoch, augment=torch.relu, **options)
    assert run.record.augment is not None
    assert run.record.augment.name.endswith("relu")
    again = drupe.train(TINY, small_synthetic, changes=one_epoch, augment=torch.relu, **options)
    assert again.record == run.record
    with pytest.raises(InputError, match="already holds another run"):
        drupe.train(TINY, small_synthetic, changes=one_epoch, **options)


def test_an_experiment_is_a_preset_a_file_or_a_mapping_with_changes_on_top(tmp_path) -> None:
    (tmp_path / "one.yaml").write_text("model: {architecture: test_resnet, pretrained: false}\n")
    by_file = experiment(tmp_path / "one.yaml", ["training.epochs=3", "input.crop=48"])
    by_mapping = experiment(
        {"model": {"architecture": "test_resnet", "pretrained": False}, "name": by_file.name},
        {"training.epochs": 3, "input.crop": 48},
    )
    assert by_mapping.model_dump() == by_file.model_dump()
    assert experiment("fast", {"seed": 7}).seed == 7
    with pytest.raises(InputError, match=r"training\.epoch"):
        experiment("fast", {"training.epoch": 3})
    with pytest.raises(InputError, match="one of these by name"):
        experiment(None)


def test_a_threshold_of_a_csv_is_certified_and_kept_nowhere(tmp_path) -> None:
    run = write_run(tmp_path / "run", calibration=predictions(2000, 1, prefix="train"))
    file = run / "predictions" / "calibration.csv"
    before = sorted(tmp_path.rglob("*"))
    found = drupe.threshold(file, min_recall=0.95)
    assert found.is_certified
    assert sorted(tmp_path.rglob("*")) == before
    assert found.to_json()["next_steps"][0]["kind"] == "as it is"
    assert repr(found) == (
        f"<Threshold of calibration: recall ≥ 95 % certified at 95 %, accept below {found.low:.6g}>"
    )
    refused = drupe.threshold(file, min_recall=0.9999)
    assert (refused.is_certified, refused.low) == (False, None)
    assert "it takes at least 29,956 distinct defects" in refused._repr_html_()


def test_results_show_themselves_and_nothing_from_outside_runs(tmp_path) -> None:
    table = predictions(800, 2)
    classes = ("<script>alert(1)</script>", "pit")
    folder = write_study_run(tmp_path / "runs", "A", 1, test=replace(table, classes=classes))
    run = Run(folder)
    shown = drupe.threshold(run, min_recall=0.95)._repr_html_()
    assert shown.count("<svg") == 1
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "next steps" in shown
    # The line of the threshold stands at its logit.
    low = drupe.threshold(run, min_recall=0.95).low
    assert low is not None
    x = 480 * (np.log(low / (1 - low)) + 12) / 24
    assert f'x1="{x:.1f}"' in shown


def test_two_runs_are_reported_together(tmp_path) -> None:
    first = write_study_run(tmp_path / "runs", "A", 1)
    second = write_study_run(tmp_path / "runs", "A", 2)
    page = drupe.report(first, Run(second), out=tmp_path / "change.html", store=tmp_path)
    assert "What changed" in page.read_text(encoding="utf-8")


def test_the_public_surface_names_what_there_is() -> None:
    for name in drupe.__all__:
        assert getattr(drupe, name) is not None
    assert Path(drupe.train.__code__.co_filename).name == "runs.py"
