from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

TINY = """
model: {architecture: test_resnet, pretrained: false}
input: {size: 64}
training: {epochs: 1, batch_size: 16, threads: 1, precision: fp32, layout: contiguous}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


def test_train_then_evaluate(drupe, experiment, small_synthetic) -> None:
    trained = drupe("train", "tiny.yaml", "--data", small_synthetic, "--json")
    assert trained.code == 0, trained.stderr
    document = json.loads(trained.stdout)
    assert document["run"] == "drupe-store/runs/train/tiny/seed-42"
    assert document["test"]["images"] == 50
    assert document["skipped"] == []
    assert set(document["test"]["argmax"]) >= {"accuracy", "recall", "clean_yield", "precision"}

    again = drupe("evaluate", document["run"], "--json")
    assert json.loads(again.stdout) == document

    table = drupe("evaluate", document["run"], columns=50).stdout
    accuracy = document["test"]["argmax"]["accuracy"]
    assert f"{accuracy['successes']} of 50" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_progress_is_plain_lines_with_rate_where_nobody_watches(
    drupe, experiment, small_synthetic
) -> None:
    result = drupe("train", "tiny.yaml", "training.epochs=2", "--data", small_synthetic)

    (line,) = [line for line in result.stderr.splitlines() if line.startswith("train: 224 images")]
    assert "/s, epoch 2/2, loss " in line


def test_every_mistake_of_an_experiment_in_one_message(drupe, experiment) -> None:
    result = drupe("train", "tiny.yaml", "training.epochs=0", "modle.x=1", "input.range=bytes")

    assert (result.code, result.stdout) == (2, "")
    assert "training.epochs: must be in [1, ∞), got 0 (tiny.yaml)" in result.stderr
    assert "modle: unknown key (did you mean model" in result.stderr
    assert "input.range: must be 'raw', 'unit' or 'imagenet', got 'bytes'" in result.stderr


def test_train_without_data_says_how_to_name_it(drupe, experiment) -> None:
    result = drupe("train", "tiny.yaml")

    assert result.code == 2
    assert "data.root: required: give --data DIR" in result.stderr


def test_applied_fixes_are_honoured(drupe, experiment, small_synthetic, tmp_path) -> None:
    first = sorted(path.name for path in (small_synthetic / "val" / "cherry_pit").iterdir())[0]
    (tmp_path / "fixes.csv").write_text(
        f"path,action,value,reason\nval/cherry_pit/{first},exclude,,looked odd\n"
    )
    drupe("data", "audit", small_synthetic, "--apply", "fixes.csv")

    result = drupe("train", "tiny.yaml", "--data", small_synthetic, "--json")

    assert json.loads(result.stdout)["test"]["images"] == 49
    assert "fixes honoured: 1 excluded, 0 relabelled\n" in result.stderr
    assert json.loads(result.stdout)["fixes"]["excluded"] == 1


def test_types_and_groups_reach_the_predictions(
    drupe, experiment, small_synthetic, tmp_path
) -> None:
    crops = tmp_path / "typed"
    for path in sorted(small_synthetic.rglob("*.png")):
        split, label, name = path.relative_to(small_synthetic).parts
        kind = "stem" if label == "cherry_pit" and int(path.stem[-1]) % 2 else label
        target = crops / split / kind / f"line-{int(path.stem[-1]) % 3}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    options = ("--data", crops, "--good", "cherry_clean", "--group", r"line-(\d)", "--out", "run")

    trained = drupe("train", "tiny.yaml", *options)
    assert trained.code == 0, trained.stderr
    lines = (tmp_path / "run/predictions/test.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert lines[0] == "path,label,score,logit,type,group"
    assert all(row["path"].split("/")[1] == (row["type"] or "cherry_clean") for row in rows)
    assert all(f"line-{row['group']}/" in row["path"] for row in rows)
    assert {row["type"] for row in rows} == {"", "cherry_pit", "stem"}
    assert {row["label"] for row in rows} == {"cherry_clean", "defect"}
    printed = drupe("evaluate", "run").stdout
    assert "Each type of defect (distinct test items, threshold 0.5):" in printed
    assert "Each group (distinct test items, threshold 0.5):" in printed
    slices = json.loads((tmp_path / "run/evaluation.json").read_text())["test"]["distinct"][
        "slices"
    ]
    counted = {one["name"]: one["defects"] for one in slices["argmax"]["types"]}
    assert counted == {
        kind: sum(row["type"] == kind for row in rows) for kind in ("cherry_pit", "stem")
    }
    assert slices["certified"] is None
    assert (tmp_path / "run/predictions/test.csv").read_text().splitlines() == lines

    refused = drupe("train", "tiny.yaml", "--data", crops, "--out", "other")
    assert refused.code == 2
    assert "--good CLASS" in refused.stderr
