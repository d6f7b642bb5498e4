"""What the command line says of devices: a stand-in's, which is there, and those that aren't."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from device_stand_in import NAME, StandIn, registered, two_way_bundle
from drupe.errors import InputError
from drupe.line.service.application import Limits
from drupe.line.service.guard import Tokens
from drupe.line.service.process import ServiceSettings, opened
from service_files import grey


@pytest.fixture
def line(tmp_path):
    """A folder with ``two``, a bundle that prefers a device, and a picture."""
    two_way_bundle(tmp_path / "two")
    Image.fromarray(grey(0.5)).save(tmp_path / "one.png")
    return tmp_path


def test_doctor_lists_what_can_run_bundles(quick, monkeypatch) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    report = json.loads(quick("doctor", "--json").stdout)
    found = {one["backend"]: one for one in report["backends"]}
    assert found["onnxruntime"]["precisions"] == ["fp32", "int8"]
    assert found["onnxruntime"]["unavailable"] is None
    assert found[NAME] == {"backend": NAME, "precisions": [], "unavailable": "its cable is out"}
    assert {"onnxruntime-cuda", "onnxruntime-tensorrt", "openvino-gpu", "openvino-npu"} <= set(
        found
    )
    printed = quick("doctor", columns=200).stdout
    assert "backend onnxruntime: fp32, int8" in printed
    assert f"backend {NAME}: not available: its cable is out" in printed


def test_predict_and_bench_take_the_backend_that_is_named(quick, line, monkeypatch) -> None:
    registered(monkeypatch, StandIn(shift=0.2))
    for options, function in (
        ((), f"{NAME} fp32"),
        (("--backend", "onnxruntime"), "onnxruntime fp32"),
        (("--backend", NAME, "--precision", "fp32"), f"{NAME} fp32"),
    ):
        done = quick("predict", "two", "one.png", *options, "--json")
        assert (done.code, json.loads(done.stdout)["function"]) == (0, function), done.stderr
    done = quick("bench", "two", "--samples", 3, "--threads", 1, "--backend", NAME, "--json")
    assert [one["backend"] for one in json.loads(done.stdout)["results"]] == [NAME]


def test_a_missing_device_is_an_error_that_names_what_is_there(quick, line, monkeypatch) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    done = quick("predict", "two", "one.png", columns=400)
    assert (done.code, done.stdout) == (2, "")
    assert f"can't be run here as {NAME} fp32 (its cable is out); certified and" in done.stderr
    assert quick("predict", "two", "one.png", "--backend", "onnxruntime").code == 0
    done = quick("bundle", "verify", "two")
    assert f"{NAME} fp32: not run here" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backend", "nobodys"), "backend: must be one of onnxruntime, openvino"),
        (("--backend", NAME), f"--backend {NAME}: must compute fp32 here, but its cable is out"),
        (("--precision", "fp16"), "--precision fp16: takes a --backend that computes it, one of"),
        (
            ("--backend", "onnxruntime", "--precision", "bf16"),
            "--backend onnxruntime: must compute bf16 here, but it computes fp32, int8",
        ),
    ],
)
def test_an_export_for_what_is_not_there_is_refused(quick, monkeypatch, options, words) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    done = quick("export", "run", "new.bundle", *options, columns=300)
    assert done.code == 2
    assert words in done.stderr


def test_a_service_decides_by_the_backend_that_is_named(line, monkeypatch) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    asked = {"bundles": {"two": line / "two"}, "limits": Limits(), "tokens": Tokens(), "workers": 1}
    with pytest.raises(InputError, match="its cable is out"), opened(ServiceSettings(**asked)):
        pass
    with opened(ServiceSettings(**asked, backend="onnxruntime", precision="fp32")) as service:
        (one,) = service.to_json()
        assert one["function"] == "onnxruntime fp32"
