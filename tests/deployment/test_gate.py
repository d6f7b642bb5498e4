from __future__ import annotations

import numpy as np
import pytest

from drupe.deployment.gate import GateError, compare_scores, require_no_flips, run_all
from drupe.deployment.manifest import Gate
from drupe.errors import InputError
from drupe.evaluation.lanes import Thresholds
from drupe.progress import silent


def test_flips_are_decisions_that_turn() -> None:
    expected = np.float32([0.1, 0.4, 0.6, 0.9])
    gate = compare_scores(expected, np.float32([0.1, 0.51, 0.6, 0.9]), Thresholds(0.5, 0.8))
    assert (gate.flips, gate.images) == (1, 4)
    assert gate.max_score_difference == pytest.approx(0.11, abs=1e-6)
    assert gate.mean_score_difference == pytest.approx(0.0275, abs=1e-6)


def test_a_function_is_compared_at_its_own_thresholds() -> None:
    expected, found = np.float32([0.2, 0.6, 0.9]), np.float32([0.3, 0.7, 0.8])
    assert compare_scores(expected, found, Thresholds(0.5, 0.5)).flips == 0
    gate = compare_scores(expected, found, Thresholds(0.5, 0.5), Thresholds(0.75, 0.75))
    assert gate.flips == 1  # 0.6 is rejected at 0.5, 0.7 accepted at 0.75
    review = compare_scores(expected, found, Thresholds(0.5, 0.5), Thresholds(0.3, 0.7))
    assert review.flips == 1  # 0.2 is accepted, 0.3 reviewed


def test_no_images_differ_by_nothing() -> None:
    nothing = np.empty(0, np.float32)
    gate = compare_scores(nothing, nothing, Thresholds(0.5, 0.5))
    assert gate.model_dump() == {
        "images": 0,
        "max_score_difference": 0.0,
        "mean_score_difference": 0.0,
        "flips": 0,
    }


def test_all_images_are_run_in_batches_and_counted() -> None:
    sizes, advanced = [], []

    def session(images: np.ndarray) -> np.ndarray:
        assert images.flags.c_contiguous
        sizes.append(len(images))
        return images[:, 0, 0, 0].astype(np.float32) / 255

    class Counting:
        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, count: int) -> None:
            advanced.append(count)

    def progress(what: str, total: int, unit: str) -> Counting:
        assert (what, total, unit) == ("a split", 130, "images")
        return Counting()

    images = np.zeros((130, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(130)
    scores = run_all(session, images[:, :, ::-1][:, :, ::-1], progress, "a split")
    assert scores.tolist() == (np.arange(130, dtype=np.float32) / 255).tolist()
    assert sizes == advanced == [64, 64, 2]


def test_one_turned_decision_is_refused_with_its_count() -> None:
    gate = Gate(images=1234, max_score_difference=0.0623, mean_score_difference=0.01, flips=0)
    require_no_flips("onnxruntime fp32", gate)
    with pytest.raises(GateError) as caught:
        require_no_flips("onnxruntime fp32", gate.model_copy(update={"flips": 3}))
    assert str(caught.value) == (
        "onnxruntime fp32: 3 of 1,234 decisions differ from those of the tested network (scores by "
        "up to 0.062): nothing was exported"
    )


@pytest.mark.parametrize("wrong", [-4.06, 1.5, np.nan, np.inf])
def test_scores_that_are_no_probabilities_never_pass(wrong: float) -> None:
    def session(images):
        return np.where(np.arange(len(images)) == 1, np.float32(wrong), np.float32(0.5))

    with pytest.raises(InputError, match="must be probabilities"):
        run_all(session, np.zeros((3, 8, 8, 3), np.uint8), silent, "")
