from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from drupe.deployment.answers import BenchAnswer, ExportAnswer

FUNCTION = {"graph": "fp32.onnx", "backend": "onnxruntime", "precision": "fp32"}
BENCHED = {"name": "b", "backend": "openvino", "precision": "int8", "threads": 2, "batch": 1}
TIMES = {"p50_ms": 1.0, "p90_ms": 1.5, "p95_ms": 2.0, "p99_ms": 4.0, "samples": 3}


def again(model, document) -> str:
    return json.dumps(model.model_validate(document).model_dump(mode="json", exclude_unset=True))


def test_what_earlier_versions_said_is_kept_as_it_was() -> None:
    exported = {"bundle": "b", "functions": [{**FUNCTION, "flips": 0, "size_bytes": 9, "low": 0.5}]}
    benched = {"results": [{**BENCHED, **TIMES, "samples_ms": [1.0, 1.0, 4.0]}]}

    assert again(ExportAnswer, exported) == json.dumps(exported)
    assert again(BenchAnswer, benched) == json.dumps(benched)


def test_what_later_versions_say_is_kept_behind_the_rest() -> None:
    exported = {"bundle": "b", "functions": [{**FUNCTION, "size_bytes": 9, "watts": 3}], "also": 1}

    assert again(ExportAnswer, exported) == json.dumps(exported)


def test_the_first_function_is_the_one_that_would_run() -> None:
    answer = BenchAnswer.model_validate(
        {"results": [BENCHED | TIMES, {**BENCHED, **TIMES, "name": "c"}]}
    )

    assert answer.first is not None
    assert answer.first.name == "b"
    assert BenchAnswer(results=()).first is None


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (ExportAnswer, {"bundle": None, "refused": "too few defects"}),
        (ExportAnswer, {"bundle": "b", "functions": [FUNCTION]}),
        (BenchAnswer, {"results": [BENCHED]}),
    ],
)
def test_an_answer_without_what_a_verdict_needs_is_refused(model, document) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(document)
