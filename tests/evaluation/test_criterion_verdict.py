from __future__ import annotations

import json

import numpy as np
import pytest

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.evaluation.certificate import MeasuredOn, certify_threshold
from drupe.evaluation.criterion_verdict import (
    BaselineComparison,
    CriterionVerdict,
    Evidence,
    LatencyEvidence,
    NotMeasured,
    RecallEvidence,
    Settlement,
    SizeEvidence,
)
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.paired import clustered_mean_interval, paired_difference

ITEMS = np.arange(200)
RATE = clustered_mean_interval(ITEMS < 180, ITEMS, sides=1)
DIFFERENCE = paired_difference(ITEMS < 180, ITEMS < 150, ITEMS, sides=1)
TEST = Proportion(199, 200, sides=1)
CERTIFICATE = certify_threshold(
    np.linspace(0, 1, 1000), ITEMS.repeat(5) >= 100, measured_on=MeasuredOn("a" * 64, "onnxruntime")
)
EVIDENCE: list[Evidence] = [
    RATE,
    TEST,
    DIFFERENCE,
    BaselineComparison(paired=DIFFERENCE, accuracy=RATE, number="fail"),
    RecallEvidence(certificate=CERTIFICATE, test=TEST, refutation_p_value=0.7),
    RecallEvidence(certificate=None, test=TEST, refutation_p_value=1.0),
    LatencyEvidence(
        quantile=0.95, value_ms=3.5, low_ms=3.1, high_ms=None, samples=40, confidence=0.9
    ),
    SizeEvidence(size_bytes=13_500_000),
    NotMeasured(),
]


def verdict_on(evidence: Evidence) -> CriterionVerdict:
    return CriterionVerdict(
        criterion="accuracy",
        required="≥ 90 %",
        verdict="undecided",
        reason="why",
        evidence=evidence,
        settles_with=Settlement(12, "images"),
    )


@pytest.mark.parametrize("evidence", EVIDENCE, ids=lambda one: type(one).__name__)
def test_evidence_that_was_written_is_read_as_what_it_was(evidence) -> None:
    written = verdict_on(evidence).model_dump(mode="json")
    document = json.loads(json.dumps(written, allow_nan=False))

    read = CriterionVerdict.model_validate(document)

    assert read == verdict_on(evidence)
    assert type(read.evidence) is type(evidence)
    assert json.dumps(read.model_dump(mode="json")) == json.dumps(written)


def test_what_is_known_of_a_difference_stands_beside_what_it_is_compared_with() -> None:
    comparison = BaselineComparison(paired=DIFFERENCE, accuracy=RATE, number="fail")

    document = verdict_on(comparison).model_dump(mode="json")["evidence"]

    assert document == {**DIFFERENCE.to_json(), "accuracy": RATE.to_json(), "number": "fail"}
    assert list(document) == [*DIFFERENCE.to_json(), "accuracy", "number"]


def test_nothing_measured_is_an_empty_mapping() -> None:
    assert verdict_on(NotMeasured()).model_dump(mode="json")["evidence"] == {}


def test_bounds_are_derived_anew_and_further_keys_ignored() -> None:
    document = verdict_on(TEST).model_dump(mode="json")
    document["evidence"] |= {"low": 0.1, "of": "a later version"}

    assert CriterionVerdict.model_validate(document).evidence == TEST


@pytest.mark.parametrize(
    "evidence",
    [
        {"weight_g": 7},
        {"size_bytes": "many"},
        {"mean": 0.9},
        {"successes": 3, "trials": 2},
        {"difference": 0.1, "number": "pass"},
        [1],
        None,
    ],
)
def test_evidence_of_no_kind_is_named_with_what_it_may_be(evidence) -> None:
    document = {**verdict_on(RATE).model_dump(mode="json"), "evidence": evidence}

    with pytest.raises(InputError) as caught:
        validate(CriterionVerdict, document, "verdict.json")

    message = str(caught.value)
    assert message.startswith("evidence: must be BaselineComparison, PairedDifference, ")
    assert "SizeEvidence or NotMeasured, got " in message
    assert message.endswith("(verdict.json)")
