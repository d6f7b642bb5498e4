from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drupe.deployment import functions
from drupe.deployment.functions import FunctionSpec, evaluate_functions, line_reference
from drupe.deployment.gate import Crops, GateError
from drupe.errors import InputError
from drupe.evaluation.certificate import MeasuredOn, certify_threshold
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.operating_point import Request
from drupe.progress import silent
from run_files import predictions

SPECS = [
    FunctionSpec("fp32.onnx", "onnxruntime", "fp32"),
    FunctionSpec("fp32.onnx", "openvino", "fp32"),
    FunctionSpec("int8.onnx", "onnxruntime", "int8"),
    FunctionSpec("int8.onnx", "openvino", "int8"),
]
GRAPHS = {"fp32.onnx": b"float", "int8.onnx": b"integer"}


def model_of(calibration: int, **keys) -> ModelPredictions:
    tables = predictions(calibration, 1, prefix="train"), predictions(800, 2)
    return ModelPredictions(
        "lite0 seed 42",
        *(JudgedSplit.of_distinct(table) for table in tables),
        data_fingerprint="f" * 64,
        measured_on=MeasuredOn("weights", "pytorch", "fp32"),
        seed=42,
        **keys,
    )


def evaluate(monkeypatch, model, shift, times, request=None, specs=SPECS, tested=None):
    """Evaluate functions whose images are item numbers: int8 scores are those of PyTorch, shifted.

    ``tested``: another network than the one that was exported.
    """
    known = np.concatenate([model.calibration.table.scores, model.test.table.scores])

    def open_session(graph, backend, precision, threads):
        moved = np.broadcast_to(np.float32(0 if precision == "fp32" else shift), known.shape)
        return lambda images: np.clip(known[images[:, 0]] + moved[images[:, 0]], 0, 1)

    monkeypatch.setattr(functions, "open_session", open_session)
    monkeypatch.setattr(functions, "medians_ms", lambda sessions, image: times)
    first = len(model.calibration.table)
    numbers = np.arange(len(known))[:, None]
    expected = (tested or model).test.table.scores
    splits = [
        Crops("calibration", numbers[:first], known[:first]),
        Crops("test", numbers[first:], expected),
    ]
    request = request or Request(0.9, 0.9)
    return evaluate_functions(
        specs,
        GRAPHS,
        exported=GRAPHS["fp32.onnx"],
        model=model,
        splits=splits,
        request=request,
        golden=numbers[:4],
        threads=1,
        progress=silent,
    )


def test_int8_alone_is_refused_where_the_float_graph_is_another_network(monkeypatch) -> None:
    model = model_of(1000)
    assert evaluate(monkeypatch, model, 0.01, [2.0, 1.0], specs=SPECS[2:]).certified_together == 2
    table = model.test.table
    other = replace(model, test=JudgedSplit.of_distinct(replace(table, scores=1 - table.scores)))
    with pytest.raises(GateError, match=r"onnxruntime fp32: .* decisions differ"):
        evaluate(monkeypatch, model, 0.01, [2.0, 1.0], specs=SPECS[2:], tested=other)


def test_own_thresholds_at_a_confidence_raised_for_all_alternatives(monkeypatch) -> None:
    model = model_of(1000)
    found = evaluate(monkeypatch, model, 0.01, [4.0, 3.0, 2.0, 1.0])
    assert (found.alternatives, found.certified_together) == (3, 3)
    table = model.calibration.distinct
    for one in found.functions:
        moved = 0.0 if one.function.precision == "fp32" else 0.01
        scores = np.clip(table.scores + np.float32(moved), 0, 1)
        expected = certify_threshold(
            scores, table.is_defect, min_recall=0.9, confidence=0.9, candidates=3
        )
        assert one.function.low == expected.threshold
        assert one.function.certificate["confidence"] == pytest.approx(1 - 0.1 / 3)
        assert one.function.certificate["measured_on"]["precision"] == one.function.precision
    names = [one.function.name for one in found.functions]
    assert names == ["openvino int8", "onnxruntime int8", "openvino fp32", "onnxruntime fp32"]


def test_promises_of_types_are_kept_by_every_function(monkeypatch) -> None:
    def told(split: JudgedSplit, stems: int) -> JudgedSplit:
        defects = np.cumsum(split.table.is_defect) * split.table.is_defect
        types = tuple("" if not k else "stem" if k <= stems else "pit" for k in defects.tolist())
        return JudgedSplit.of_distinct(replace(split.table, types=types))

    def typed(stems: int) -> ModelPredictions:
        model = model_of(1000)
        both = {name: told(getattr(model, name), stems) for name in ("calibration", "test")}
        return replace(model, **both)

    asked = Request(0.9, 0.9, recall_of_types=(("stem", 0.9),))
    # 22 stems certify 90 % at 90 %, for two alternatives it takes 29: types are what is scarce.
    for stems, together in ((28, 1), (29, 2), (33, 3)):
        found = evaluate(monkeypatch, typed(stems), 0.01, [4.0, 3.0, 2.0, 1.0], asked)
        assert (found.alternatives, found.certified_together) == (3, together)
        for one in found.functions:
            if one.function.is_certified:
                (kept,) = one.function.certificate["slices"]
                assert (kept["name"], kept["defects"]) == ("stem", stems)
            else:
                assert f"recall ≥ 90 % of stem takes 33, got {stems}" in str(one.refusal)


def test_few_defects_certify_fp32_first_then_the_fastest(monkeypatch) -> None:
    # 90 % at 90 % takes 22 defects for one, 29 for two, 33 for three alternatives.
    found = evaluate(monkeypatch, model_of(65), 0.01, [4.0, 3.0, 2.0, 1.0])
    assert (found.alternatives, found.certified_together) == (3, 2)
    certified = {one.function.name for one in found.functions if one.function.is_certified}
    assert certified == {"onnxruntime fp32", "openvino fp32", "openvino int8"}
    last = found.functions[-1]
    assert last.function.name == "onnxruntime int8", "what is not certified comes last"
    assert last.function.low == found.functions[-2].function.low, "the tested network's threshold"
    assert "at least 33 distinct defects" in str(last.refusal)


def test_speed_does_not_buy_waste(monkeypatch) -> None:
    found = evaluate(monkeypatch, model_of(1000), 0.999, [4.0, 3.0, 2.0, 1.0])
    assert [one.function.precision for one in found.functions] == ["fp32"] * 2 + ["int8"] * 2


def test_fp32_must_turn_nothing_and_int8_may(monkeypatch) -> None:
    model = model_of(1000)
    noise = np.random.default_rng(0).normal(0, 0.2, 1800)
    found = evaluate(monkeypatch, model, noise, [2.0, 1.0], specs=SPECS[1:3])
    assert {one.function.precision: one.function.gate.flips > 0 for one in found.functions} == {
        "fp32": False,
        "int8": True,
    }
    monkeypatch.setattr(FunctionSpec, "is_fp32", property(lambda self: True))
    with pytest.raises(GateError, match=r"onnxruntime int8: .* of 1,800 decisions differ"):
        evaluate(monkeypatch, model, noise, [2.0], specs=SPECS[2:3])


def test_an_approximate_calibration_stays_approximate(monkeypatch) -> None:
    model = model_of(1000, approximate="cross-fitted")
    found = evaluate(monkeypatch, model, 0.01, [4.0, 3.0, 2.0, 1.0])
    assert not any(one.function.is_certified for one in found.functions)
    assert all(one.function.certificate["approximate"] for one in found.functions)


def test_scores_that_are_no_numbers_are_never_certified(monkeypatch) -> None:
    with pytest.raises(InputError, match="scores: must be probabilities in"):
        evaluate(monkeypatch, model_of(1000), np.nan, [1.0], specs=SPECS[2:3])


def test_a_line_is_compared_with_items_that_the_network_never_learnt() -> None:
    calibration, test = predictions(60, 1), predictions(40, 2)
    model = ModelPredictions(
        name="one",
        calibration=JudgedSplit(calibration, np.maximum(np.arange(60), 2)),
        test=JudgedSplit.of_distinct(test),
        data_fingerprint="",
        measured_on=MeasuredOn(graph=""),
    )
    held_out = line_reference(model)
    assert len(held_out.clean) + len(held_out.defect) == 58  # items 0 to 2 are copies
    crossfit = line_reference(replace(model, approximate="cross-fitted"))
    np.testing.assert_array_equal(crossfit.defect, np.sort(test.scores[test.is_defect]))


def test_all_fp32_functions_are_one_alternative() -> None:
    assert [spec.alternative for spec in SPECS] == [
        "fp32",
        "fp32",
        "onnxruntime int8",
        "openvino int8",
    ]
    assert [spec.is_fp32 for spec in SPECS] == [True, True, False, False]


def test_one_alternative_is_certified_at_the_confidence_asked_for(monkeypatch) -> None:
    found = evaluate(monkeypatch, model_of(1000), 0.01, [2.0, 1.0], specs=SPECS[:2])
    assert (found.alternatives, found.certified_together) == (1, 1)
    assert {one.function.certificate["confidence"] for one in found.functions} == {0.9}
    assert [one.function.p50_ms for one in found.functions] == [1.0, 2.0]


def test_too_few_defects_for_even_one_certify_nothing(monkeypatch) -> None:
    found = evaluate(monkeypatch, model_of(26), 0.01, [4.0, 3.0, 2.0, 1.0])
    assert (found.alternatives, found.certified_together) == (3, 1)
    assert not any(one.function.is_certified for one in found.functions)
    assert {(one.function.low, one.function.high) for one in found.functions} == {(0.5, 0.5)}
    assert [one.clean_yield for one in found.functions] == [0.0] * 4
    # 22 = the first n with 0.9^n <= 0.1, which is asked of fp32; 33 with 0.9^n <= 0.1 / 3.
    for one in found.functions:
        needed = 22 if one.function.precision == "fp32" else 33
        assert f"at least {needed} distinct defects" in str(one.refusal)


def test_figures_of_the_test_split_are_those_of_its_scores(monkeypatch) -> None:
    model = model_of(1000)
    found = evaluate(monkeypatch, model, 0.01, [4.0, 3.0, 2.0, 1.0])
    table = model.test.distinct
    for one in found.functions:
        moved = 0.0 if one.function.precision == "fp32" else 0.01
        scores = np.clip(table.scores + np.float32(moved), 0, 1)
        rejected, accepted = scores >= 0.5, scores < np.float32(one.function.low)
        figures = one.test.to_json()
        assert figures["accuracy"]["successes"] == np.count_nonzero(rejected == table.is_defect)
        assert figures["misses"] == np.count_nonzero(accepted & table.is_defect)
        assert figures["clean_yield"]["successes"] == np.count_nonzero(accepted & ~table.is_defect)
        assert figures["recall"]["sides"] == 1
        np.testing.assert_array_equal(
            one.golden, np.clip(model.calibration.table.scores[:4] + np.float32(moved), 0, 1)
        )
