from __future__ import annotations

import errno
import io
import json
import os
import tempfile

import numpy as np
import pytest

from bundle_files import Answering, change, rewrite
from drupe.data.image_contract import ImageContract
from drupe.deployment import bundle as bundles
from drupe.deployment.backends import runs_here
from drupe.deployment.bundle import (
    Verified,
    digests,
    golden_file,
    golden_images,
    require_new,
    verify_bundle,
    write_bundle,
)
from drupe.deployment.manifest import Function, Gate, GraphInput, Manifest
from drupe.deployment.runtime import load
from drupe.errors import InputError

COMPUTES_BF16 = runs_here("openvino", "bf16")


def test_golden_samples_are_synthetic_and_always_the_same() -> None:
    images = golden_images(ImageContract(64))
    assert images.shape == (16, 64, 64, 3)
    np.testing.assert_array_equal(images, golden_images(ImageContract(64)))
    assert golden_images(ImageContract(24)).shape == (16, 24, 24, 3)


def test_a_bundle_verifies_where_it_was_made(bundle) -> None:
    assert [one.passed for one in verify_bundle(bundle)] == [True, True]


@pytest.mark.thorough
def test_a_quantised_bundle_verifies_and_runs_what_is_asked(quantised) -> None:
    assert [one.passed for one in verify_bundle(quantised.bundle)] == [True] * (4 + COMPUTES_BF16)
    classifier = load(quantised.bundle, backend="onnxruntime", precision="int8")
    assert classifier.function.graph == "int8.onnx"


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


IMAGES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not golden samples"),
        (archive(images=IMAGES)[:-40], "not golden samples"),
        (archive(other=IMAGES), "not golden samples"),
        (archive(images=IMAGES[:0]), "images: must be uint8"),
        (archive(images=IMAGES.astype(np.float32)), "images: must be uint8"),
        (archive(images=np.uint8(3)), "images: must be uint8"),
        (
            archive(images=IMAGES, onnxruntime_fp32=np.zeros(3, np.float32)),
            r"must be float32 \[2\]",
        ),
        (archive(images=IMAGES, onnxruntime_fp32=np.zeros(2)), r"must be float32 \[2\]"),
    ],
)
def test_golden_samples_that_are_none(copied, content, message) -> None:
    rewrite(copied, "golden.npz", content)
    with pytest.raises(InputError, match=rf"golden\.npz: .*{message}"):
        verify_bundle(copied)


def test_scores_that_are_no_numbers_do_not_verify(copied, monkeypatch) -> None:
    broken = Answering(lambda images: np.full(len(images), np.nan, np.float32))
    monkeypatch.setattr(bundles, "open_function", lambda *_: broken)
    for one in verify_bundle(copied):
        assert one.passed is False
        json.dumps(one.to_json(), allow_nan=False)


def manifest_of(**keys) -> Manifest:
    gate = Gate(images=1, max_score_difference=0, mean_score_difference=0, flips=0)
    function = Function(
        graph="fp32.onnx",
        backend="onnxruntime",
        precision="fp32",
        low=0.25,
        high=0.75,
        certificate=None,
        gate=gate,
    )
    return Manifest(
        schema_version=1,
        name="one",
        classes=("clean", "pit"),
        input=GraphInput(size=8),
        functions=(function.model_copy(update=keys),),
        golden="golden.npz",
        files={},
        provenance={},
    )


def test_golden_scores_that_are_no_probabilities(copied) -> None:
    """A graph that answers the same nonsense as then isn't verified by it."""
    with np.load(copied / "golden.npz") as found:
        arrays = dict(found)
    arrays["onnxruntime_fp32"][3] = -4.06
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    rewrite(copied, "golden.npz", buffer.getvalue())

    with pytest.raises(InputError, match=r"golden\.npz: onnxruntime_fp32: scores: must be prob"):
        verify_bundle(copied)


def test_a_bundle_is_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    files = {"fp32.onnx": b"graph", "golden.npz": b"golden"}
    (tmp_path / "bundle").mkdir()  # an empty folder is taken
    write_bundle(tmp_path / "bundle", manifest_of(), files)
    written = {path.name: path for path in (tmp_path / "bundle").iterdir()}
    assert set(written) == {*files, "bundle.json"}
    assert {name: written[name].read_bytes() for name in files} == files
    assert (tmp_path / "bundle").stat().st_mode & 0o777 == 0o755

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles, "write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path / "new" / "bundle", manifest_of(), files)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "mkdtemp"])
def test_a_full_disk_names_the_bundle(tmp_path, monkeypatch, call) -> None:
    """The file that is being written is gone when the message is read."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else tempfile, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bundle(tmp_path / "bundle", manifest_of(), {"fp32.onnx": b"graph"})
    assert caught.value.filename == str(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_exists_is_never_written_over(tmp_path, kind) -> None:
    place = tmp_path / "bundle"
    if kind == "folder":
        (place / "precious").mkdir(parents=True)
    else:
        place.write_text("precious")
    for refused in (
        lambda: require_new(place),
        lambda: write_bundle(place, manifest_of(), {}),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        assert str(caught.value) == (
            f"{place}: must be new or empty, got something that exists: name another, or delete it"
        )


def test_digests_are_those_of_sha256() -> None:
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert digests({"one": b"abc"}) == {"one": abc}


def test_golden_samples_keep_the_scores_of_each_function() -> None:
    scores = np.float32([0.25, 0.5])
    with np.load(io.BytesIO(golden_file(IMAGES, {"openvino bf16": scores}))) as kept:
        assert sorted(kept.files) == ["images", "openvino_bf16"]
        np.testing.assert_array_equal(kept["images"], IMAGES)
        np.testing.assert_array_equal(kept["openvino_bf16"], scores)


@pytest.mark.parametrize(
    ("precision", "difference", "flips", "passed"),
    [
        ("fp32", 1e-4, 0, True),
        ("fp32", 1.1e-4, 0, False),
        ("int8", 0.05, 0, True),
        ("int8", 0.051, 0, False),
        ("bf16", 0.15, 0, True),
        ("bf16", 0.151, 0, False),
        ("fp32", 0.0, 1, False),
        ("fp32", float("nan"), 0, False),
        ("fp32", None, None, None),
    ],
)
def test_a_function_passes_without_a_turn_and_within_its_tolerance(
    precision, difference, flips, passed
) -> None:
    function = manifest_of(precision=precision).functions[0]
    verified = Verified(function, difference, flips)
    assert verified.passed is passed
    shown = None if difference != difference else difference
    assert verified.to_json() == {
        "backend": "onnxruntime",
        "precision": precision,
        "max_score_difference": shown,
        "flips": flips,
        "passed": passed,
        "reason": None,
    }


def test_decisions_are_compared_at_the_thresholds_of_the_function(copied, monkeypatch) -> None:
    """Of each pair of scores, expected and found, the lanes are told by hand: low 0.25, high 0.75.

    accept/accept, accept/review, review/review, review/reject and, on the thresholds themselves,
    review/accept and reject/review.
    """
    expected = np.float32([0.1, 0.2, 0.3, 0.7, 0.25, 0.75])
    found = np.float32([0.2, 0.3, 0.7, 0.8, 0.24, 0.74])
    images = np.zeros((6, 64, 64, 3), np.uint8)
    rewrite(copied, "golden.npz", archive(images=images, onnxruntime_fp32=expected))
    document = json.loads((copied / "bundle.json").read_text())
    (function,) = [one for one in document["functions"] if one["backend"] == "onnxruntime"]
    change(copied, functions=[function | {"low": 0.25, "high": 0.75}])
    monkeypatch.setattr(bundles, "open_function", lambda *_: Answering(lambda images: found))
    (verified,) = verify_bundle(copied)
    assert verified.flips == 4
    assert verified.max_score_difference == pytest.approx(0.4, abs=1e-6)
    assert verified.passed is False


def test_what_can_not_be_run_says_why(copied, monkeypatch) -> None:
    with np.load(copied / "golden.npz") as golden:
        images, scores = golden["images"], golden["openvino_fp32"]
    rewrite(copied, "golden.npz", archive(images=images, openvino_fp32=scores))
    monkeypatch.setattr(bundles, "obstacle", lambda backend, precision: "it is not installed")
    found = {one.function.backend: one for one in verify_bundle(copied)}
    assert {name: one.passed for name, one in found.items()} == {
        "onnxruntime": None,
        "openvino": None,
    }
    assert found["onnxruntime"].reason == "no golden scores"
    assert found["openvino"].reason == "it is not installed"
