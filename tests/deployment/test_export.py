from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from drupe.deployment import export, function_specs, functions
from drupe.deployment.backends import open_session, runs_here
from drupe.deployment.export import export_run
from drupe.deployment.function_specs import specs_for
from drupe.deployment.functions import FunctionSpec
from drupe.deployment.gate import GateError
from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import load
from drupe.errors import InputError, MissingExtraError
from drupe.evaluation.certificate import certify_threshold
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request
from drupe.evaluation.predictions_csv import read_predictions
from drupe.training.config import read_config
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.preparation import prepare_data
from drupe.training.run import train_run
from drupe.training.saved import load_network

pytestmark = pytest.mark.thorough

COMPUTES_BF16 = runs_here("openvino", "bf16")


def test_the_bundle_says_where_it_comes_from(deployed) -> None:
    run, _, bundle = deployed
    manifest = read_manifest(bundle)
    splits = ("calibration", "test")
    images = sum(len(read_predictions(run / "predictions" / f"{name}.csv")) for name in splits)
    assert {one.name for one in manifest.functions} == {"onnxruntime fp32", "openvino fp32"}
    for function in manifest.functions:
        assert function.gate.flips == 0
        assert function.gate.max_score_difference < 1e-4
        assert function.gate.images == images
        certificate = function.certificate
        assert certificate is not None
        assert certificate["measured_on"]["backend"] == function.backend
        assert certificate["measured_on"]["graph"] == manifest.files["fp32.onnx"]
        assert certificate["threshold"] == function.low
    metadata = load_network(run)[1]
    assert manifest.provenance["architecture"] == metadata.architecture
    times = [one.p50_ms for one in manifest.functions]
    assert times == sorted(times)


def test_a_turned_decision_stops_the_export(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    honest = functions.open_session

    def lying(*arguments):
        session = honest(*arguments)
        return lambda images: 1 - session(images)

    monkeypatch.setattr(functions, "open_session", lying)
    request = Request(min_recall=0.9, confidence=0.9)
    with pytest.raises(GateError, match="decisions differ from those of the tested network"):
        export_run(run, tmp_path / "bundle", store, request=request)
    assert list(tmp_path.iterdir()) == []


def test_too_few_defects_export_without_a_certificate(deployed, tmp_path) -> None:
    run, store, _ = deployed
    done = export_run(run, tmp_path / "bundle", store)  # 99 % takes 299 defects
    assert done.refusal is not None
    assert [one.certificate for one in done.manifest.functions] == [None, None]
    assert [one.low for one in done.manifest.functions] == [0.5, 0.5]
    json.dumps(done.to_json(), allow_nan=False)


def test_what_computes_otherwise_is_certified_by_its_own_scores(deployed, quantised) -> None:
    run, store, _ = deployed
    done = quantised
    functions = [one.function for one in done.evaluation.functions]
    assert len(functions) == 4 + COMPUTES_BF16
    assert all(function.is_certified for function in functions)
    others = 3 + COMPUTES_BF16  # fp32 counts once, for both backends
    assert (done.evaluation.alternatives, done.evaluation.certified_together) == (others, others)
    config = read_config(run)
    images = prepare_data(config, store)
    place = {path: index for index, path in enumerate(images.dataset.paths)}
    calibration = read_run_predictions(run).calibration
    assert calibration is not None
    table = calibration.distinct
    crops = images.dataset.images[[place[path] for path in table.paths]]
    for function in functions:
        graph = (done.bundle / function.graph).read_bytes()
        scores = open_session(graph, function.backend, function.precision, 1)(crops)
        certificate = certify_threshold(
            scores, table.is_defect, min_recall=0.8, confidence=0.8, candidates=others
        )
        assert function.certificate is not None
        assert function.certificate["confidence"] == certificate.confidence
        assert function.certificate["misses_allowed"] == certificate.misses_allowed
        assert function.low == pytest.approx(certificate.threshold, abs=2e-3)
        measured = function.certificate["measured_on"]
        assert (measured["backend"], measured["precision"]) == (
            function.backend,
            function.precision,
        )
        assert measured["graph"] == done.manifest.files[function.graph]
    reduced = [function for function in functions if function.precision != "fp32"]
    assert all(0 < function.gate.max_score_difference < 0.2 for function in reduced)
    assert done.sizes["int8.onnx"] < done.sizes["fp32.onnx"]
    document = done.to_json()
    json.dumps(document, allow_nan=False)
    assert set(document["functions"][0]["test"]) == {"accuracy", "misses", "recall", "clean_yield"}


def test_the_search_sees_only_crops_of_fit(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    seen = {}

    class Watching:
        def __init__(self, graph, images, is_defect, *rest) -> None:
            seen.update(images=images, is_defect=is_defect)

        def run(self) -> None:
            return None

    monkeypatch.setattr(export, "LayerSearch", Watching)
    with pytest.raises(GateError, match="no layer may be quantised"):
        export_run(run, tmp_path / "bundle", store, precision="int8")
    assert list(tmp_path.iterdir()) == []
    data = prepare_data(read_config(run), store)
    np.testing.assert_array_equal(seen["images"], data.dataset.images[data.split.fit])
    np.testing.assert_array_equal(seen["is_defect"], data.dataset.is_defect[data.split.fit])


def test_bf16_is_offered_only_where_the_processor_has_it(monkeypatch) -> None:
    bf16 = FunctionSpec("fp32.onnx", "openvino", "bf16")
    monkeypatch.setattr(function_specs, "native_reduced", lambda device: None)
    assert bf16 not in specs_for("auto", None)
    monkeypatch.setattr(function_specs, "native_reduced", lambda device: "bf16")
    offered = {"onnxruntime": ("fp32", "int8"), "openvino": ("fp32", "int8", "bf16")}
    monkeypatch.setattr(
        function_specs,
        "obstacle",
        lambda backend, precision: None if precision in offered[backend] else "no",
    )
    assert bf16 in specs_for("auto", None)
    assert bf16 not in specs_for("fp32", None)
    assert specs_for("bf16", None) == [bf16]


def test_bf16_is_refused_where_the_processor_lacks_it(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    monkeypatch.setattr(function_specs, "native_reduced", lambda device: None)
    with pytest.raises(InputError, match="--precision bf16: needs a processor"):
        export_run(run, tmp_path / "bundle", store, precision="bf16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not COMPUTES_BF16, reason="this processor doesn't compute bf16")
def test_bf16_alone_pays_for_no_alternative(deployed, tmp_path) -> None:
    run, store, _ = deployed
    request = Request(min_recall=0.9, confidence=0.9)
    done = export_run(run, tmp_path / "bundle", store, precision="bf16", request=request)
    (function,) = done.manifest.functions
    assert function.name == "openvino bf16"
    assert function.certificate is not None
    assert function.certificate["confidence"] == 0.9
    assert done.evaluation.alternatives == 1
    assert load(tmp_path / "bundle").function == function


def test_nothing_can_be_written_there(deployed, tmp_path) -> None:
    run, store, _ = deployed
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "bundle", Path("/proc/drupe/bundle")):
        with pytest.raises(OSError, match=r"Not a directory|No such file|Permission"):
            export_run(run, folder, store)


def test_a_run_that_never_finished_is_refused(deployed, tmp_path) -> None:
    run, store, _ = deployed
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    with pytest.raises(InputError, match="must hold a finished run, got one that is interrupted"):
        export_run(tmp_path / "run", tmp_path / "bundle", store)


def test_what_is_refused(deployed, tmp_path) -> None:
    run, store, bundle = deployed
    with pytest.raises(InputError, match="must be new or empty"):
        export_run(run, bundle, store)
    with pytest.raises(InputError, match=r"but it holds no run\.json"):
        export_run(tmp_path, tmp_path / "new", store)


def test_a_cross_fitted_run_is_gated_on_test_alone_and_certified_approximately(
    deployed, tmp_path
) -> None:
    run, store, _ = deployed
    config = read_config(run)
    calibration = config.calibration.model_copy(update={"crossfit": 2})
    config = config.model_copy(update={"calibration": calibration})
    own = tmp_path / "run"
    train_run(config, own, store)
    with pytest.raises(InputError, match="--cross-fit K gives them"):
        export_run(own, tmp_path / "early", store)
    model = calibrate_on_folds(read_run_predictions(own), own, 2, store)

    request = Request(min_recall=0.8, confidence=0.8)
    done = export_run(own, tmp_path / "bundle", store, precision="auto", request=request)

    found = {one.function.name: one for one in done.evaluation.functions}
    exact = found["onnxruntime fp32"]
    assert exact.function.gate.images == len(model.test.table)
    assert exact.function.gate.flips == 0
    assert "2 networks" in exact.function.certificate["approximate"]
    assert not exact.function.is_certified
    for name, one in found.items():  # no other precision has calibration scores of its own
        assert one.function.certificate is None or name.endswith("fp32")


def test_bf16_without_openvino_names_the_extra(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    monkeypatch.setattr(function_specs, "installed", lambda: ("onnxruntime",))
    with pytest.raises(MissingExtraError) as caught:
        export_run(run, tmp_path / "bundle", store, precision="bf16")
    assert str(caught.value) == (
        "--precision bf16 needs the package 'openvino', which is not installed: "
        "pip install 'drupe[openvino]'"
    )


@pytest.mark.parametrize(
    ("precision", "has_int8", "expected"),
    [
        ("fp32", False, ["onnxruntime fp32", "openvino fp32"]),
        ("int8", True, ["onnxruntime int8", "openvino int8"]),
        (
            "auto",
            True,
            ["onnxruntime fp32", "openvino fp32", "onnxruntime int8", "openvino int8"],
        ),
        ("auto", False, ["onnxruntime fp32", "openvino fp32"]),
    ],
)
def test_the_functions_of_an_export(monkeypatch, precision, has_int8, expected) -> None:
    monkeypatch.setattr(function_specs, "native_reduced", lambda device: None)
    specs = specs_for(precision, None, has_int8)
    assert [spec.name for spec in specs] == expected
    assert {spec.graph for spec in specs if spec.is_fp32} <= {"fp32.onnx"}
    assert {spec.graph for spec in specs if not spec.is_fp32} <= {"int8.onnx"}
