"""``drupe labels effect`` on the command line; runs are written, not trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from drupe.cli import label_effect
from drupe.data.fixes import Fix
from drupe.data.overlay import restore_fixes
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data
from run_files import predictions, write_run
from study_files import FakeExecutor, finish
from tune_files import EXPERIMENT


@pytest.fixture
def files(tmp_path: Path, small_synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment, a label that was turned round in fit, and runs that are better after it."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    store = tmp_path / "drupe-store"
    config = ExperimentConfig.model_validate({**EXPERIMENT, "data": {"root": small_synthetic}})
    prepared = prepare_data(config, store)
    dataset, split = prepared.dataset, prepared.split
    ranking = [
        RankedLabel(
            *(rank, dataset.paths[index], "fit", dataset.classes[int(dataset.is_defect[index])]),
            *(0.5, 0.5, 0.0, "unsure"),
        )
        for rank, index in enumerate(split.fit.tolist(), 1)
    ]
    write_ranking(tmp_path / "labels.csv", ranking)
    first = split.fit[0]
    other = dataset.classes[int(not dataset.is_defect[first])]
    fix = Fix(dataset.paths[first], "relabel", other, sha256=dataset.digests[first])
    restore_fixes(small_synthetic, store, [fix], "a label was wrong")

    def does(job) -> int:
        assert job.task.config is not None
        quality = 2.0 if job.task.config.data.labels == "original" else 3.0
        finish(
            job.task,
            test=predictions(500, 2, quality),
            calibration=predictions(1000, 1, quality, prefix="train"),
            fingerprint=prepare_data(job.task.config, store).dataset.fingerprint,
        )
        return 0

    monkeypatch.setattr(label_effect, "choose_executor", lambda *given: FakeExecutor(does))
    return tmp_path


def test_what_a_repair_bought_is_said_printed_and_written(quick, files, small_synthetic) -> None:
    words = ("labels", "effect", "tiny.yaml", "--data", small_synthetic, "--seeds", "2")
    done = quick(*words, "--out", "effect.md")
    assert done.code == 0, done.stderr
    assert "before: original (the folder without fixes)" in done.stdout
    assert "fit: 1 relabelled, 0 left out, 0 added" in done.stdout
    assert "The repair bought" in done.stdout
    assert "recall ≥ 99 % at 95 % confidence" in " ".join(done.stdout.split())
    rows = {line.split("  ")[0] for line in done.stdout.splitlines()}
    assert {"clean yield", "recall", "accuracy at 0.5", "recall at 0.5"} <= rows
    assert "train: 4 runs" in done.stderr

    found = json.loads(quick(*words, "--json").stdout)
    assert found["conclusion"] == "gained"
    assert [one["metric"] for one in found["figures"]] == [
        *("clean_yield", "certified_recall", "accuracy", "recall")
    ]
    assert found["changed"][0] == {"split": "fit", "relabelled": 1, "left_out": 0, "added": 0}
    runs = [Path(one["runs"][0]).parent for one in (found["before"], found["after"])]

    page = (files / "effect.md").read_text()
    assert page.startswith("# What the labels bought\n\n**The repair bought ")
    assert "| clean yield | " in page
    assert "| fit | 1 | 0 | 0 |" in page

    again = quick("labels", "effect", "--before-runs", runs[1], "--after-runs", runs[0])
    assert again.code == 0, again.stderr
    assert "The repair cost clean yield" in " ".join(again.stdout.split())


def test_without_the_worst_of_a_ranking(quick, files, small_synthetic) -> None:
    words = ("labels", "effect", "tiny.yaml", "--data", small_synthetic, "--seeds", "1")
    words = (*words, "--exclude-worst", "5", "--ranking", "labels.csv")
    done = quick(*words, "--before", "original")
    assert done.code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "original without the 5 worst fit items of a ranking" in text
    assert "Left out of fit: 5 items, copies included." in text
    assert "chosen with calibration in sight" in text
    assert "of one seed nothing is known" in text
    stale = quick(*words)
    assert stale.code == 2
    assert "rank them anew (drupe labels rank)" in " ".join(stale.stderr.split())


def test_doubts_and_missing_certificates_are_said(quick, tmp_path) -> None:
    few = predictions(100, 1, prefix="train")
    write_run(tmp_path / "a", calibration=few, seed=1)
    write_run(tmp_path / "b", test=predictions(800, 2, 3.0), seed=1, suspects={"test": 3})
    write_run(tmp_path / "c", seed=1)
    none = quick("labels", "effect", "--before-runs", "a", "--after-runs", "b")
    text = " ".join(none.stdout.split())
    assert "no clean yield is compared" in text
    assert "No clean yield: lite0 seed 1: " in text
    doubted = quick("labels", "effect", "--before-runs", "c", "--after-runs", "b")
    text = " ".join(doubted.stdout.split())
    assert "Undecided, because what it rests on is in doubt" in text
    assert "Doubt: after: 3 test labels were changed because a model disagreed" in text
    full = predictions(1000, 1, prefix="train")
    labels = full.is_defect.copy()
    labels[np.argsort(full.scores + 2 * ~full.is_defect)[:5]] = False  # they held the threshold
    write_run(tmp_path / "d", calibration=replace(full, is_defect=labels), seed=1)
    through = quick("labels", "effect", "--before-runs", "c", "--after-runs", "d").stdout
    assert "by calibration" in {line.split("  ")[0] for line in through.splitlines()}
    assert "By calibration: what certifying the networks" in " ".join(through.split())
    write_run(tmp_path / "e", test=predictions(790, 2), seed=1)
    fewer = quick("labels", "effect", "--before-runs", "c", "--after-runs", "e")
    assert "10 test items that not all runs have are left out" in " ".join(fewer.stdout.split())
    same = quick("labels", "effect", "--before-runs", "c", "--after-runs", "c", "--out", "same.md")
    assert "No difference in clean yield is shown: +0.0 percentage points" in same.stdout
    assert "| split |" not in (tmp_path / "same.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--before-runs", "a"), "--before-runs, --after-runs: must be given together"),
        (("--before-runs", "a", "--after-runs", "b", "--before", "1"), "nothing is trained"),
        (("--before-runs", "a", "--after-runs", "b"), "a: no such file"),
        ((), "drupe labels effect balanced --data crops"),
        (("tiny.yaml", "data.labels=original"), "must be left to --before and --after"),
        (("tiny.yaml",), "data.root: required"),
        (("tiny.yaml", "--exclude-worst", "5"), "--exclude-worst, --ranking: must be given"),
        (
            ("tiny.yaml", "--exclude-worst", "5", "--ranking", "labels.csv", "--after", "1"),
            "--exclude-worst: goes without --after",
        ),
        (("tiny.yaml", "--min-recall", "1.5"), "min_recall: must be in (0, 1), got 1.5"),
        (("tiny.yaml", "--out", "."), "Is a directory"),
    ],
)
def test_wrong_input_is_one_message(quick, tmp_path, words, said) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    refused = quick("labels", "effect", *words)
    assert refused.code == 2
    assert said in " ".join(refused.stderr.split())
