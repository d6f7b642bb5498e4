from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drupe.deployment.drift import CalibrationScores, calibration_file
from drupe.deployment.frames import FrameCheck
from drupe.deployment.manifest import file_digest
from drupe.derived import sealed
from line_stand_in import LINE_PC


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A trained and exported run, and a folder of crops of which one is damaged."""
    from drupe.data.synthetic.generation import synthesise
    from drupe.deployment.export import export_run
    from drupe.evaluation.operating_point import Request
    from drupe.training.config import validate_experiment
    from drupe.training.run import train_run

    folder = tmp_path_factory.mktemp("line")
    synthesise(folder / "crops", images=200, size=64, seed=6)
    config = validate_experiment(
        {
            "model": {"architecture": "test_resnet", "pretrained": False},
            "input": {"size": 64},
            "data": {"root": str(folder / "crops")},
            "training": {"epochs": 1, "batch_size": 16, "threads": 1, "precision": "fp32"},
        },
        "tiny.yaml",
    )
    train_run(config, folder / "run", folder / "store")
    export_run(
        folder / "run",
        folder / "bundle",
        folder / "store",
        request=Request(min_recall=0.8, confidence=0.8),
    )
    random = np.random.default_rng(0)
    (folder / "today").mkdir()
    for number in range(6):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "today" / f"{number}.png")
    (folder / "today" / "3.png").write_bytes(b"damaged")
    return folder


def test_export_then_verify(drupe, line) -> None:
    result = drupe("export", line / "run", "new", "--store", line / "store", "--json")
    assert result.code == 0, result.stderr
    document = json.loads(result.stdout)
    assert [one["flips"] for one in document["functions"]] == [0, 0]
    assert set(document["functions"][0]) >= {
        "graph",
        "backend",
        "precision",
        "images",
        "max_score_difference",
        "size_bytes",
        "certificate",
    }
    again = drupe("export", line / "run", "new", "--store", line / "store")
    assert again.code == 2
    assert "new: must be new or empty" in again.stderr
    assert "all files are as they were written" in drupe("bundle", "verify", "new").stdout


def test_a_recheck_reaches_the_bundle(quick, line, tmp_path) -> None:
    from drupe.data.synthetic.generation import synthesise
    from drupe.deployment.runtime import load

    run = shutil.copytree(line / "run", tmp_path / "run")
    synthesise(tmp_path / "fresh", images=80, size=64, seed=48)
    on_fresh = ("--data", "fresh", "--store", line / "store", "--json")
    asked = ("--min-recall", "0.8", "--confidence", "0.8", "--review-budget", "0.2")
    recheck = json.loads(quick("threshold", run, *on_fresh, *asked).stdout)
    assert recheck["certified"] is True
    assert recheck["high"] > recheck["threshold"]

    result = quick("export", run, "new.bundle", *on_fresh)

    assert result.code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["calibration"]["is_new"] is True
    assert document["calibration"]["defects"] == recheck["defects"]
    classifier = load(tmp_path / "new.bundle", backend="onnxruntime")
    deployed = classifier.function.low, classifier.function.high
    assert deployed == (recheck["threshold"], recheck["high"])
    given = recheck["certificate"] | {"measured_on": None}
    assert classifier.function.certificate | {"measured_on": None} == given
    images = document["functions"][0]["images"]
    assert images > 80 + 50, "the run's own calibration and test are compared, too"


def test_options_outdo_what_the_run_was_certified_for(quick, line, tmp_path) -> None:
    from drupe.data.synthetic.generation import synthesise

    synthesise(tmp_path / "fresh", images=80, size=64, seed=48)
    words = ("export", line / "run", "new", "--data", "fresh", "--store", line / "store")
    refused = quick(*words, "--json")
    assert refused.code == 1
    assert "takes at least 299 distinct defects" in refused.stderr
    assert json.loads(refused.stdout)["bundle"] is None
    assert not (tmp_path / "new").exists()
    done = quick(*words, "--min-recall", "0.8", "--confidence", "0.8")
    assert done.code == 0, done.stderr
    assert "Calibration: new crops (data " in done.stdout
    assert "80 images" in " ".join(done.stdout.split())


def test_the_line_pc_needs_no_torch(drupe, line) -> None:
    bundle = line / "bundle"
    verified = drupe("bundle", "verify", bundle, "--json", blocked=LINE_PC)
    assert verified.code == 0, verified.stderr
    assert [one["passed"] for one in json.loads(verified.stdout)["functions"]].count(True) == 1
    timed = drupe("bench", bundle, "--samples", "20", "--json", blocked=LINE_PC)
    (row,) = json.loads(timed.stdout)["results"]
    keys = {"name", "backend", "precision", "threads", "batch", "p50_ms", "p95_ms", "p99_ms"}
    assert set(row) >= keys | {"samples"}
    assert json.loads(timed.stdout)["decode"][0]["p50_ms"] > 0
    decided = drupe("predict", bundle, line / "crops" / "val", "--json", blocked=LINE_PC)
    assert decided.code == 0, decided.stderr
    assert json.loads(decided.stdout)["images"] == 50


def test_unreadable_files_are_reviewed_and_end_with_1(drupe, line, tmp_path) -> None:
    result = drupe("predict", line / "bundle", line / "today", "--csv", "out.csv")
    assert result.code == 1
    assert "3.png" in result.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["decision"] for row in rows].count("review") >= 1
    assert rows[3]["decision"] == "review"
    assert rows[3]["score"] == ""
    assert len(rows) == 6


def test_outputs_never_replace_what_they_are_about(quick, line, tmp_path) -> None:
    bundle = shutil.copytree(line / "bundle", tmp_path / "bundle")
    crop = shutil.copy(next((line / "crops" / "val").rglob("*.png")), tmp_path / "one.png")
    (tmp_path / "link.csv").symlink_to("one.png")
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.read_bytes() for path in (Path(crop), bundle / "fp32.onnx")}
    for options, message in (
        (("--csv", "one.png"), "--csv one.png: must be a file of its own, got the image"),
        (("--csv", "link.csv"), "got the image"),
        (("--jsonl", "bundle/fp32.onnx"), "got bundle/fp32.onnx of the bundle"),
        (
            ("--csv", "out", "--jsonl", "./out"),
            "--jsonl out: must be a file of its own, got that of",
        ),
        (("--csv", "-", "--jsonl", "-"), "--csv and --jsonl: only one can be written to stdout"),
        (("--csv", "-", "--json"), "--csv and --json: only one can be written to stdout"),
        (("--csv", "bundle"), "bundle"),
        (("--csv", "pipe"), "pipe: A device or a pipe, not a file"),
        (("--csv", "/dev/null"), "/dev/null: A device or a pipe, not a file"),
    ):
        result = quick("predict", "bundle", "one.png", *options)
        assert result.code == 2, (options, result)
        assert message in result.stderr, (options, result.stderr)
        assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("bundle", "link.csv", "one.png", "pipe")
    ]


def test_names_that_are_no_text_and_a_closed_stdin(quick, line, tmp_path, monkeypatch) -> None:
    crop = next((line / "crops" / "val").rglob("*.png"))
    odd = tmp_path / os.fsdecode(b"\xff.png")
    shutil.copy(crop, odd)
    result = quick("predict", line / "bundle", str(odd), "--csv", "out.csv", "--jsonl", "out.jsonl")
    assert result.code == 0, result.stderr
    assert r"\udcff.png,reject" in (tmp_path / "out.csv").read_text().replace("accept", "reject")
    assert r"\udcff.png" in (tmp_path / "out.jsonl").read_text()
    monkeypatch.setattr(sys, "stdin", None)
    nothing = quick("predict", line / "bundle", "-")
    assert (nothing.code, nothing.stdout.split()[:2]) == (0, ["0", "images"])


def test_a_csv_on_stdout_alone(quick, line) -> None:
    result = quick("predict", line / "bundle", line / "crops" / "val", "--csv", "-")
    assert result.code == 0, result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert len(rows) == 50
    assert {row["decision"] for row in rows} <= {"accept", "review", "reject"}


def test_what_vanished_from_a_list_is_reviewed(quick, line, monkeypatch) -> None:
    crops = sorted(map(str, (line / "crops" / "val").rglob("*.png")))[:2]
    names = "\n".join((crops[0], "gone.png", crops[1]))
    monkeypatch.setattr(sys, "stdin", io.StringIO(names))
    result = quick("predict", line / "bundle", "-", "--jsonl", "-")
    assert result.code == 1
    rows = [json.loads(row) for row in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [crops[0], "gone.png", crops[1]]
    assert (rows[1]["decision"], rows[1]["error"]) == ("review", "no such file or directory")


def test_a_line_that_has_drifted_is_said(quick, line, tmp_path) -> None:
    bundle = shutil.copytree(line / "bundle", tmp_path / "bundle")
    manifest = json.loads((bundle / "bundle.json").read_text())
    random = np.random.default_rng(0)
    for scores, drifted in ((random.random(300), True), (None, False)):
        if scores is None:  # what this bundle says of these very crops
            table = tmp_path / "out.csv"
            scores = np.array([float(row["score"]) for row in csv.DictReader(table.open())])
        ordered = np.sort(np.resize(scores, 300).astype(np.float32))
        names = [f"{one['backend']} {one['precision']}" for one in manifest["functions"]]
        content = calibration_file(dict.fromkeys(names, CalibrationScores(ordered, ordered)))
        (bundle / "calibration.npz").write_bytes(content)
        manifest["files"]["calibration.npz"] = file_digest(content)
        (bundle / "bundle.json").write_text(json.dumps(sealed(manifest)))
        found = quick("predict", bundle, line / "crops" / "train", "--csv", "out.csv", "--json")
        assert found.code == 0
        assert json.loads(found.stdout)["drift"]["drifted"] is drifted
        assert ("these scores have drifted" in found.stderr) is drifted
        assert ("drupe threshold RUN --data FRESH" in found.stderr) is drifted


@pytest.mark.parametrize("negative", [False, True])
def test_pictures_of_something_else_are_said(quick, line, tmp_path, negative) -> None:
    """Good crops pass without a word; their negatives are reviewed, and end with 1."""
    bundle = shutil.copytree(line / "bundle", tmp_path / "bundle")
    files = sorted((line / "crops").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    check = FrameCheck.of(images, images)
    assert check is not None
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "frames.json").write_text(check.model_dump_json())
    manifest["frames"] = "frames.json"
    manifest["files"]["frames.json"] = file_digest((bundle / "frames.json").read_bytes())
    (bundle / "bundle.json").write_text(json.dumps(sealed(manifest)))
    (tmp_path / "today").mkdir()
    for number, image in enumerate(images[:40]):
        seen = 255 - image if negative else image
        Image.fromarray(seen).save(tmp_path / "today" / f"{number}.png")
    found = quick("predict", bundle, tmp_path / "today", "--json")
    answer = json.loads(found.stdout)
    assert answer["unreadable"] == []
    if not negative:
        assert (found.code, answer["unlike_calibration"]) == (0, [])
    else:
        assert found.code == 1
        assert answer["review"] == len(answer["unlike_calibration"]) == 40
        assert "40 of 40 images don't look like" in found.stderr


def test_bench_of_every_function_and_batch(quick, line) -> None:
    bundle = line / "bundle"
    timed = quick(
        "bench", bundle, line / "run", "--all", "--batch", 1, "--batch", 3, "--samples", 5
    )
    assert timed.code == 0
    for words in ("pytorch fp32", "onnxruntime fp32", "openvino fp32", "decode PNG 64 x 64"):
        assert words in timed.stdout
    assert "5 calls each" in timed.stdout


def test_json_lines_on_stdout_alone(drupe, line) -> None:
    result = drupe("predict", line / "bundle", line / "today" / "[0-2].png", "--jsonl", "-")
    assert result.code == 0
    assert len([json.loads(text) for text in result.stdout.splitlines()]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "absent", "x.png"), "must be a bundle, but there is no such folder"),
        (("bench", "absent"), "must be a bundle, but there is no such folder"),
        (("bundle", "verify", "absent"), "must be a bundle, but there is no such folder"),
        (("export", "absent", "new"), "must be a run directory"),
        (("export", "absent", "new", "--data", "fresh"), "must be a run directory"),
        (("export", "absent", "new", "--min-recall", "0.9"), "no such file"),
    ],
)
def test_wrong_input_is_one_message(drupe, arguments, message) -> None:
    result = drupe(*arguments)
    assert result.code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_predict_explains_and_logs(quick, line, tmp_path) -> None:
    crops = line / "crops" / "val" / "cherry_pit"
    first = sorted(crops.glob("*.png"))[:2]
    result = quick(
        *("predict", line / "bundle", *first, "--explain", "why", "--log", "log", "--threads", 1)
    )
    assert result.code == 0, result.stderr
    pictures = sorted((tmp_path / "why").iterdir())
    assert [picture.name.partition("-")[0] for picture in pictures] == ["000001", "000002"]
    assert pictures[0].name.endswith(f"{first[0].stem}.png")
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 64)
    text = (tmp_path / "log" / "decisions-00000001.jsonl").read_text()
    assert [json.loads(one)["kind"] for one in text.splitlines()] == [
        *("opened", "decision", "decision", "closed")
    ]
    assert str(first[1]) in text
    assert quick("log", "verify", "log").code == 0
