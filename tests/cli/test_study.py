from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

STUDY = """
study: small
question: Does smoothing help?
seeds: [1]
criteria: {accuracy: 0.999, recall: 0.8}
baseline: {experiment: BASE}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 1, batch_size: 16, precision: fp32, layout: contiguous}
experiments:
  - {id: BASE}
  - {id: EXP-001, kind: threshold, of: BASE}
  - {id: SMOOTH, config: {training: {label_smoothing: 0.1}, calibration: {crossfit: 2}}}
comparisons:
  - {a: SMOOTH, b: BASE}
"""
RUNS = ("BASE/seed-1", "SMOOTH/seed-1", *(f"SMOOTH/seed-1-cross-fit-2/fold-{k}" for k in (0, 1)))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(STUDY)
    return tmp_path / "small.yaml"


def test_a_study_runs_is_judged_and_not_run_twice(
    drupe, quick, study, small_synthetic, tmp_path
) -> None:
    words = ("study", "run", "small.yaml", "--data", small_synthetic, "--parallel", "2")
    first = drupe(*words)
    assert first.code == 0, first.stderr
    assert "[7 of 7] " in first.stderr
    assert "accuracy ≥ BASE (99.9 %)" in first.stdout
    folder = tmp_path / "drupe-store" / "runs" / "small"
    weights = {run: (folder / run / "model.safetensors").stat().st_mtime_ns for run in RUNS}
    records = {run: json.loads((folder / run / "run.json").read_text()) for run in RUNS}
    assert {record["status"] for record in records.values()} == {"done"}

    second = quick(*words, "--json", "--strict")

    document = json.loads(second.stdout)
    assert second.code == 1  # no model passes, after one epoch
    assert document == json.loads((folder / "verdict.json").read_text())
    assert [item["state"] for item in document["experiments"]] == ["done"] * 3
    assert document["experiments"][2]["certificate"]["approximate"].count("2 networks") == 1
    assert [item["a"] for item in document["comparisons"]] == ["SMOOTH"]
    for run in RUNS:
        assert (folder / run / "model.safetensors").stat().st_mtime_ns == weights[run]
        now = json.loads((folder / run / "run.json").read_text())
        assert now["started"] == records[run]["started"]

    status = quick("study", "status", "small.yaml", "--json")
    rows = {row["task"]: row for row in json.loads(status.stdout)["tasks"]}
    assert {row["state"] for row in rows.values()} == {"done"}
    assert rows["SMOOTH fold 1"]["epoch"] == rows["SMOOTH fold 1"]["epochs"] == 1
    assert json.loads(status.stdout)["running"] is False
    assert "7 of 7 tasks, not running" in quick("study", "status", "small.yaml").stdout

    # What was changed is trained anew for the threshold that was asked for, and no more than that.
    chosen = quick(*words, "training.epochs=2", "--only", "EXP-001", "--json")
    assert chosen.code == 0
    changed = json.loads(chosen.stdout)
    states = {item["id"]: item["state"] for item in changed["experiments"]}
    assert states == {"BASE": "done", "EXP-001": "done", "SMOOTH": "missing"}
    assert "BASE.training.epochs: 1 -> 2" in {item["what"] for item in changed["deviations"]}

    shutil.copytree(small_synthetic, tmp_path / "other")
    next((tmp_path / "other").rglob("*.png")).unlink()
    before = (folder / "verdict.json").read_bytes()
    other = quick("study", "run", "small.yaml", "--data", "other")
    assert (other.code, other.stdout) == (2, "")
    assert "must be continued on the data that the study was started with" in other.stderr
    assert (folder / "verdict.json").read_bytes() == before


def test_a_failed_run_is_named_and_the_others_count(drupe, study, small_synthetic) -> None:
    smooth = "{label_smoothing: 0.1}, calibration: {crossfit: 2}"
    study.write_text(STUDY.replace(smooth, "{weight_decay: 1.0e+30}"))

    result = drupe("study", "run", "small.yaml", "--data", small_synthetic, "--only", "SMOOTH")

    assert result.code == 1
    assert "failed: SMOOTH seed 1: exit code 2: the " in result.stdout
    assert "became" in result.stdout  # NaN or infinite: its own last words
    assert "Keep the baseline (BASE). No run finished." in " ".join(result.stdout.split())


CONDITION = "{id: C, when: {none_of: [%s], meet: accuracy}}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: [1]", "seeds: [1, 1]", "seeds: must differ, got 1, 1"),
        ("id: SMOOTH", "id: BASE", "experiments: ids must be unique, got BASE"),
        ("of: BASE", "of: BAS", "EXP-001.of: must name experiments that train"),
        ("{id: BASE}\n  -", "{id: BASE}\n  - " + CONDITION % "C" + "\n  -", "C -> C"),
        ("{id: BASE}\n  -", "{id: BASE}\n  - " + CONDITION % "X" + "\n  -", "got X"),
        (
            "criteria: {accuracy: 0.999, recall: 0.8}",
            "experiments: [{id: A}, " + CONDITION % "A" + "]",
            "C.when: can never be decided: criteria.accuracy is not set",
        ),
        ("{a: SMOOTH, b: BASE}", "{a: SMOOTH, b: NONE}", "got NONE"),
        ("baseline: {experiment: BASE}", "baseline: {experiment: B}", "baseline.experiment: must"),
        ("test_resnet", "resnet9000", "resnet9000"),
    ],
)
def test_a_wrong_study_is_one_message_before_anything_is_written(
    quick, study, small_synthetic, tmp_path, old, new, message
) -> None:
    text = STUDY.replace(old, new)
    if new.startswith("experiments"):
        text = text[: text.rindex("experiments:\n")]
    study.write_text(text)

    result = quick("study", "run", "small.yaml", "--data", small_synthetic)

    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("error: ") == 1
    assert not (tmp_path / "drupe-store").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "nowhere: must be a dataset folder"),
        ((), "data.root: required: give --data DIR"),
        (("--only", "BAES", "--data", "."), "got BAES (did you mean BASE"),
        (("--address", "localhost:6379", "--data", "."), "--address: needs --executor ray"),
    ],
)
def test_wrong_words_are_one_message_before_anything_is_written(
    quick, study, tmp_path, words, message
) -> None:
    result = quick("study", "run", "small.yaml", *words)

    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("error: ") == 1
    assert not (tmp_path / "drupe-store").exists()


def test_a_study_that_was_never_run_has_no_status(quick, study, tmp_path) -> None:
    result = quick("study", "status", "small.yaml")

    assert (result.code, result.stdout) == (2, "")
    assert "no such study was run (yet); drupe study run small.yaml" in result.stderr
    assert not (tmp_path / "drupe-store").exists()
