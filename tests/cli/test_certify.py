from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnx_files import classifier

pytestmark = pytest.mark.thorough

ASKED = ("--scale", "0..1", "--min-recall", "0.6", "--confidence", "0.6", "--out", "bundle")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return classifier(tmp_path / "best.onnx")


def test_from_a_file_to_a_bundle(quick, model, small_synthetic, tmp_path) -> None:
    done = quick("certify", model, small_synthetic, *ASKED, "--unseen", "--run", "run")
    assert done.code == 0, done.stderr
    said = " ".join(done.stdout.split())
    for words in (
        "input images, float32, NCHW (the graph)",
        "channels rgb (assumed: --order bgr says otherwise)",
        "scale pixel / 255 (--scale)",
        "apply softmax (assumed, as the graph ends in Gemm: --apply says otherwise)",
        "defect output 1 is cherry_pit (assumed: classes in sorted order",
        "somebody's word (--unseen)",
        "best: recall ≥ 60 % certified at 60 % confidence",
        "openvino fp32",
        "On the line PC: drupe bundle verify bundle",
    ):
        assert words in said, words
    assert "1 file was not taken" in done.stderr

    assert quick("bundle", "verify", "bundle").code == 0
    picture = next((small_synthetic / "val" / "cherry_pit").glob("*.png"))
    assert quick("predict", "bundle", picture).code == 0
    asked = ("--min-recall", "0.6", "--confidence", "0.6")
    threshold = quick("threshold", "run", *asked, "--json")
    assert threshold.code == 0
    assert "--unseen" in json.loads(threshold.stdout)["caveats"][0]
    compared = quick("compare", "run", "run", "--json", *asked)
    assert "--unseen" in json.loads(compared.stdout)["caveats"][0]
    assert quick("report", "run", "--out", "report.html").code == 0
    assert "best" in (tmp_path / "report.html").read_text()

    again = quick("certify", model, small_synthetic, *ASKED, "--unseen")
    assert again.code == 2
    assert "bundle: must be new or empty" in again.stderr


def test_what_is_not_vouched_for_is_not_certified(quick, model, small_synthetic, tmp_path) -> None:
    options = ("--positive-index", "1", "--order", "bgr", "--size", "64x64", "--layout", "nchw")
    done = quick("certify", model, small_synthetic, *ASKED, *options, "--backend", "onnxruntime")
    assert done.code == 1
    said = " ".join(done.stdout.split())
    assert "best: not certified" in said
    assert "--unseen; which it has: --trained-on FILE" in said
    assert "No function has an exact certificate" in said
    assert "Is what the outputs mean (--positive-index)" in " ".join(done.stderr.split())
    assert (tmp_path / "bundle" / "bundle.json").exists()
    refused = quick("predict", "bundle", small_synthetic / "val")
    assert refused.code == 2
    assert "no exact certificate" in refused.stderr


def test_json_holds_all_that_was_found(quick, tmp_path, small_synthetic) -> None:
    model = classifier(tmp_path / "best.onnx", shape=[1, 3, 64, 64], reshape=True, opset=20)
    options = ("--unseen", "--apply", "softmax", "--json")
    done = quick("certify", model, small_synthetic, *ASKED, *options)
    assert done.code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["imported"]["graph"]["freed"] is True
    assert document["imported"]["graph"]["origins"]["apply"] == "--apply"
    assert document["threshold"]["certified"] is True
    assert [one["flips"] for one in document["bundle"]["functions"]] == [0, 0]
    assert document["refused"] is None


def test_it_says_that_it_opened_the_batch_axis(quick, tmp_path, small_synthetic) -> None:
    model = classifier(tmp_path / "best.onnx", outputs=1, shape=[1, 3, 64, 64])
    done = quick("certify", model, small_synthetic, *ASKED, "--unseen")
    assert "its axis N was opened, and checked" in done.stderr
    assert "defect the output is cherry_pit" in " ".join(done.stdout.split())


def test_a_turned_decision_is_an_answer(
    quick, model, small_synthetic, tmp_path, monkeypatch
) -> None:
    from drupe.deployment.certify import certification
    from drupe.deployment.gate import GateError

    def refuse(*arguments, **options):
        raise GateError("openvino fp32: 1 of 50 decisions differ")

    monkeypatch.setattr(certification, "evaluate_functions", refuse)
    done = quick("certify", model, small_synthetic, *ASKED, "--unseen", "--json")
    assert done.code == 1
    assert "1 of 50 decisions differ" in done.stderr
    document = json.loads(done.stdout)
    assert document["bundle"] is None
    assert document["refused"] == "openvino fp32: 1 of 50 decisions differ"
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "b"), "give --scale 0..1, 0..255, -1..1, imagenet or MEAN/STD"),
        (
            (*ASKED, "--size", "big"),
            "--size: must be PIXELS or HEIGHTxWIDTH .* got 'big'",
        ),
        ((*ASKED, "--positive-index", "pit"), "--positive-index: must be I or I,J, .* got 'pit'"),
        ((*ASKED, "--positive-index", "2"), "--positive-index: must name outputs"),
        ((*ASKED, "--set", "training.epochs=3"), "training: certify takes keys of"),
        ((*ASKED, "--order", "grb"), "'grb' is not one of 'rgb', 'bgr'"),
        ((*ASKED, "--unseen", "--trained-on", "a.txt"), "only one of them can say"),
    ],
)
def test_wrong_input_is_one_message(
    quick, model, small_synthetic, tmp_path, arguments, message
) -> None:
    done = quick("certify", model, small_synthetic, *arguments)
    assert done.code == 2
    assert all(part in done.stderr for part in message.split(" .* ")), done.stderr
    assert done.stdout == ""
    assert {one.name for one in tmp_path.iterdir()} <= {"best.onnx", "drupe-store"}
