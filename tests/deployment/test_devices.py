"""A device's function from the gate to the line, by a device that stands in for the real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bundle_files import change
from device_stand_in import NAME, StandIn, registered, two_way_bundle
from drupe.deployment.bench import bench_paths
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.contents import KNOWN_TO_ALL
from drupe.deployment.export import export_run
from drupe.deployment.gate import GateError
from drupe.deployment.manifest import KNOWS_ALL, SCHEMA_VERSION, read_manifest
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from service_files import grey

ASKED = Request(min_recall=0.8, confidence=0.8)


@pytest.fixture
def two_ways(tmp_path):
    return two_way_bundle(tmp_path / "two")


def test_the_device_decides_where_it_is(two_ways, monkeypatch) -> None:
    registered(monkeypatch, StandIn(shift=0.25))
    found = load(two_ways, order="rgb", threads=1)
    assert found.function.name == f"{NAME} fp32"
    plain = load(two_ways, order="rgb", backend="onnxruntime", threads=1)
    assert found.scores(grey(0.5)) == pytest.approx(plain.scores(grey(0.5)) + 0.25, abs=1e-6)
    timed = bench_paths([two_ways], threads=1, samples=3, backend=NAME).timings
    assert [one.backend for one in timed] == [NAME]
    timed = bench_paths([two_ways], threads=1, samples=3, every_function=True).timings
    assert [one.backend for one in timed] == [NAME, "onnxruntime"]


def test_nothing_takes_a_missing_devices_place_in_silence(two_ways, monkeypatch) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    words = (
        f"{two_ways}: can't be run here as {NAME} fp32 (its cable is out); certified and available "
        "here, if named as backend and precision: onnxruntime fp32"
    )
    for asked in ({}, {"backend": NAME}, {"precision": "fp32"}, {"uncertified": True}):
        with pytest.raises(InputError) as caught:
            load(two_ways, threads=1, **asked)
        assert str(caught.value) == words
    assert (
        load(two_ways, order="rgb", backend="onnxruntime", threads=1).decide(grey(0.0)) == "accept"
    )


def test_a_device_of_a_package_that_is_not_installed_is_no_damage(two_ways) -> None:
    with pytest.raises(InputError, match=rf"as {NAME} fp32 \(no such backend is installed\); cert"):
        load(two_ways, threads=1)
    first, second = verify_bundle(two_ways, threads=1)
    assert (first.passed, first.reason) == (None, "no golden scores")
    assert second.passed


def test_where_nothing_else_is_certified_that_is_said(two_ways, monkeypatch) -> None:
    registered(monkeypatch, StandIn(missing="its cable is out"))
    first, second = json.loads((two_ways / "bundle.json").read_text())["functions"]
    change(two_ways, functions=[first, second | {"certificate": None}])
    with pytest.raises(InputError, match=r"cable is out\); no certified function is available he"):
        load(two_ways, threads=1)
    # A device without a certificate would not have decided anyway: it is in nobody's way.
    change(two_ways, functions=[first | {"certificate": None}, second])
    assert load(two_ways, order="rgb", threads=1).function.backend == "onnxruntime"


@pytest.mark.parametrize("name", ["Upper", "under_score", "two words", "", "../up"])
def test_a_backends_name_is_a_plain_one(two_ways, name) -> None:
    first, second = json.loads((two_ways / "bundle.json").read_text())["functions"]
    change(two_ways, functions=[first | {"backend": name}, second])
    with pytest.raises(InputError, match=r"functions.0.backend"):
        read_manifest(two_ways)


@pytest.mark.thorough
def test_a_device_is_gated_and_certified_as_a_function_of_its_own(
    deployed, tmp_path, monkeypatch
) -> None:
    run, store, _ = deployed
    registered(monkeypatch, StandIn())
    asked = {"request": ASKED, "threads": 1, "backends": (NAME, "onnxruntime")}
    done = export_run(run, tmp_path / "same", store, **asked)
    found = {one.backend: one for one in done.manifest.functions}
    assert set(found) == {NAME, "onnxruntime"}
    assert found[NAME].gate.flips == 0
    assert found[NAME].certificate["measured_on"]["backend"] == NAME
    assert found[NAME].low == found["onnxruntime"].low, "fp32 decides alike"
    assert done.manifest.schema_version == SCHEMA_VERSION, "an older Drupe must not read it"
    assert all(one.passed for one in verify_bundle(tmp_path / "same", threads=1))
    # The same device on a machine where it computes otherwise.
    registered(monkeypatch, StandIn(shift=0.01))
    passed = {one.function.backend: one.passed for one in verify_bundle(tmp_path / "same")}
    assert passed == {NAME: False, "onnxruntime": True}


@pytest.mark.thorough
def test_a_device_that_decides_otherwise_in_fp32_is_refused(
    deployed, tmp_path, monkeypatch
) -> None:
    run, store, _ = deployed
    registered(monkeypatch, StandIn(shift=0.4))
    with pytest.raises(GateError, match=f"{NAME} fp32: .* decisions differ from those of the tes"):
        export_run(run, tmp_path / "new", store, request=ASKED, threads=1, backends=(NAME,))
    assert not (tmp_path / "new").exists()


@pytest.mark.thorough
def test_its_reduced_precision_has_its_own_certificate(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    registered(monkeypatch, StandIn(shift=0.01))
    asked = {"request": ASKED, "threads": 1, "precision": "fp16", "backends": (NAME,)}
    done = export_run(run, tmp_path / "new", store, **asked)
    (one,) = done.manifest.functions
    plain = load(deployed[2], uncertified=True, backend="onnxruntime", threads=1)
    assert (one.name, one.graph) == (f"{NAME} fp16", "fp32.onnx")
    assert one.is_certified
    assert one.certificate["measured_on"] == {
        "graph": done.manifest.files["fp32.onnx"],
        "backend": NAME,
        "precision": "fp16",
    }
    assert one.gate.max_score_difference == pytest.approx(0.01, abs=1e-3)
    image = np.zeros((64, 64, 3), np.uint8)
    moved = load(tmp_path / "new", order="rgb", threads=1)._session(image[None])
    expected = np.clip(plain._session(image[None]) + 0.01, 0, 1)
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.thorough
def test_bundles_of_the_cpu_alone_stay_as_older_runtimes_read_them(quantised) -> None:
    names = {(one.backend, one.precision) for one in quantised.manifest.functions}
    assert names <= set(KNOWN_TO_ALL)
    expected = KNOWS_ALL if quantised.manifest.unknown is None else SCHEMA_VERSION
    assert quantised.manifest.schema_version == expected
