from __future__ import annotations

import io
import json

import numpy as np
import pytest

from bundle_files import rewrite
from drupe.deployment import bundle as bundles
from drupe.deployment.backends import runs_here
from drupe.deployment.bundle import golden_images, verify_bundle
from drupe.deployment.runtime import load
from drupe.errors import InputError

COMPUTES_BF16 = runs_here("openvino", "bf16")


def test_golden_samples_are_synthetic_and_always_the_same() -> None:
    images = golden_images(64)
    assert images.shape == (16, 64, 64, 3)
    np.testing.assert_array_equal(images, golden_images(64))
    assert golden_images(24).shape == (16, 24, 24, 3)


def test_a_bundle_verifies_where_it_was_made(bundle) -> None:
    assert [one.passed for one in verify_bundle(bundle)] == [True, True]


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
    class Broken:
        def __call__(self, images):
            return np.full(len(images), np.nan, np.float32)

    monkeypatch.setattr(bundles, "open_function", lambda *_: Broken())
    for one in verify_bundle(copied):
        assert one.passed is False
        json.dumps(one.to_json(), allow_nan=False)
