from __future__ import annotations

import csv
import json

import pytest

from drupe.data.synthetic.generation import synthesise
from drupe.evaluation.predictions_csv import read_predictions
from run_files import write_run

EXPERIMENT = (
    "model: {architecture: test_resnet, pretrained: false}\n"
    "input: {size: 64}\n"
    "training: {epochs: 1, batch_size: 16, threads: 1, precision: fp32, layout: contiguous}\n"
)


def contents(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_from_a_run_to_its_ranked_labels(drupe, tmp_path) -> None:
    crops, run = tmp_path / "crops", tmp_path / "run"
    truth = synthesise(crops, images=200, size=64, seed=1, label_noise=0.05, duplicates=3)
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    assert drupe("train", "tiny.yaml", "--data", crops, "--out", run).code == 0
    assert drupe("threshold", run, "--cross-fit", "2", "--min-recall", "0.8").code == 0
    before = contents(run)
    fold = tmp_path / "run-cross-fit-2" / "fold-1"
    trained = contents(fold)
    crops.rename(tmp_path / "moved")

    result = drupe("labels", "rank", "--run", run, "--folds", "2", "--data", "moved", "--json")

    assert result.code == 0, result.stderr
    assert contents(fold) == trained  # the folds of the threshold served
    after = contents(run)
    rows = list(csv.DictReader(after.pop("labels.csv").decode().splitlines()))
    assert after == before
    document = json.loads(result.stdout)
    assert len(document["ranking"]) == 20
    assert document["ranking"][0]["path"] == rows[0]["path"]
    assert document["items"] == len(rows) == truth.images
    assert {row["split"] for row in rows} == {"fit", "calibration", "test"}
    confidences = [float(row["self_confidence"]) for row in rows]
    assert confidences == sorted(confidences)
    for split in ("calibration", "test"):
        table = read_predictions(run / "predictions" / f"{split}.csv")
        assert {row["path"] for row in rows if row["split"] == split} == set(table.paths)
    score_of = dict(zip(table.paths, table.scores.tolist(), strict=True))  # of test: the run's own
    for row in rows:
        if row["split"] == "test":
            assert float(row["score"]) == pytest.approx(score_of[row["path"]], rel=1e-5)
    assert [one["items"] for one in document["wrong_labels"]] == [
        sum(row["label"] == one["label"] for row in rows) for one in document["wrong_labels"]
    ]
    assert document["threshold"]["min_recall"] == 0.8
    ranked = {row["path"]: row for row in rows}
    for path in document["threshold"]["paths"]:
        assert ranked[path]["split"] == "calibration"

    text = drupe(
        *("labels", "rank", "--run", run, "--folds", "2", "--data", "moved"),
        *("--top", "3", "--out", "mine.csv"),
    ).stdout
    words = " ".join(text.split())
    assert "labels are wrong (" in words
    assert "several times too many" in words
    assert "for recall ≥ 80 % at 95 % confidence" in words
    assert "voids the certificate" in words
    assert text.splitlines()[1].startswith(rows[0]["path"])
    assert (tmp_path / "mine.csv").read_bytes() == (run / "labels.csv").read_bytes()


def test_wrong_input_is_one_message(quick, tmp_path) -> None:
    absent = quick("labels", "rank", "--run", "absent")
    assert absent.code == 2
    assert "absent: must be a run directory, but it holds no run.json" in absent.stderr
    alone = quick("labels", "rank", "--run", "absent", "--address", "somewhere:1")
    assert alone.code == 2
    assert "--address: needs --executor ray" in alone.stderr
    run = write_run(tmp_path / "run")
    folder = quick("labels", "rank", "--run", run, "--out", ".")
    assert folder.code == 2
    assert "Is a directory" in folder.stderr
    assert "fold" not in folder.stderr.replace("folder", "")
