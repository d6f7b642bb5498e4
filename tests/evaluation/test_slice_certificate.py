from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import binom

from drupe.errors import InputError
from drupe.evaluation.certificate import (
    NotCertifiableError,
    Promise,
    SliceCertificate,
    certify_threshold,
    needed_defects,
)
from drupe.evaluation.criterion_verdict import CertificateField
from drupe.evaluation.holding import threshold_holders
from drupe.evaluation.model_predictions import read_csv, read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point, read_recorded
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.predictions_csv import write_predictions
from drupe.evaluation.promises import promises_about
from drupe.evaluation.slice_refutation import refute
from drupe.evaluation.slices import Slices
from drupe.runs.evaluation_file import record_certificate
from run_files import predictions, write_run

ASKED = {"min_recall": 0.95, "confidence": 0.9}


def typed(count: int, seed: int, prefix: str = "val", groups: int = 3) -> Predictions:
    """Predictions of which every third defect is a stem, with lower scores than the pits."""
    table = predictions(count, seed, prefix=prefix)
    numbers = np.cumsum(table.is_defect)
    is_stem = table.is_defect & (numbers % 3 == 0)
    return replace(
        table,
        scores=np.where(is_stem, table.scores**2, table.scores),
        logits=None,
        types=tuple(
            ("stem" if stem else "pit") if defect else ""
            for stem, defect in zip(is_stem, table.is_defect, strict=True)
        ),
        groups=tuple(f"camera-{k % groups}" for k in range(count)),
    )


def members(table: Predictions, name: str) -> np.ndarray:
    return np.array(table.types) == name


def test_the_overall_certificate_is_that_of_two_classes() -> None:
    table = typed(900, 1)
    plain = replace(table, types=None, groups=None)
    alike = [
        operating_point(read_back(one), Request(**ASKED)).certificate.to_json()
        for one in (table, plain)
    ]
    assert alike[0] == alike[1]
    assert "slices" not in alike[0]
    # A promise that asks for less than the overall one leaves the threshold where it was.
    easy = Promise("type", "pit", 0.5, members(table, "pit"))
    found = certify_threshold(table.scores, table.is_defect, promises=[easy], **ASKED)
    assert replace(found, slices=()) == certify_threshold(table.scores, table.is_defect, **ASKED)


def read_back(table: Predictions):
    path = Path("table.csv")
    write_predictions(path, table)
    return read_csv(path)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_threshold_is_the_lowest_that_a_promise_allows_by_itself() -> None:
    table = typed(1500, 2)
    promises = [
        Promise("type", name, recall, members(table, name))
        for name, recall in (("pit", 0.97), ("stem", 0.98))
    ]
    found = certify_threshold(table.scores, table.is_defect, promises=promises, **ASKED)
    alone = [
        certify_threshold(
            table.scores[one.members | ~table.is_defect],
            table.is_defect[one.members | ~table.is_defect],
            min_recall=one.min_recall,
            confidence=0.9,
        )
        for one in promises
    ]
    overall = certify_threshold(table.scores, table.is_defect, **ASKED)
    lowest = min([overall, *alone], key=lambda one: one.threshold)
    assert lowest is alone[1]
    # Half-way to the next lower score, of whatever type.
    assert found.threshold == pytest.approx(lowest.threshold, abs=0.02)
    accepted = table.scores < np.float32(found.threshold)
    for one, by_itself, promise in zip(found.slices, alone, promises, strict=True):
        assert one.defects == by_itself.defects == promise.members.sum()
        assert one.misses_allowed == by_itself.misses_allowed
        assert one.misses == np.count_nonzero(accepted & promise.members)
        assert one.misses <= one.misses_allowed
        assert one.recall.low >= one.min_recall
    assert found.misses_allowed == overall.misses_allowed


def test_copies_count_once_in_a_slice() -> None:
    table = typed(900, 3)
    promise = Promise("type", "stem", 0.9, members(table, "stem"))
    once = certify_threshold(table.scores, table.is_defect, promises=[promise], **ASKED)
    twice = certify_threshold(
        np.tile(table.scores, 2),
        np.tile(table.is_defect, 2),
        promises=[replace(promise, members=np.tile(promise.members, 2))],
        groups=np.tile(np.arange(900), 2),
        **ASKED,
    )
    assert twice == once


def test_more_candidates_raise_the_confidence_of_every_promise() -> None:
    table = typed(1500, 3)
    promise = Promise("type", "stem", 0.9, members(table, "stem"))
    found = certify_threshold(
        table.scores, table.is_defect, promises=[promise], candidates=4, **ASKED
    )
    (kept,) = found.slices
    assert kept.confidence == found.confidence == pytest.approx(0.975)
    below = binom.cdf([kept.misses_allowed, kept.misses_allowed + 1], kept.defects, 0.1)
    assert below[0] <= 0.025 < below[1]


def test_slices_with_too_few_defects_are_named_with_what_they_need() -> None:
    table = typed(300, 4)
    promises = promises_about(
        table, [("pit", 0.95), ("stem", 0.99), ("split", 0.9)], None, ["split"]
    )
    with pytest.raises(NotCertifiableError) as caught:
        certify_threshold(table.scores, table.is_defect, promises=promises, **ASKED)
    stems = int(members(table, "stem").sum())
    assert [(one.name, one.defects, one.needed) for one in caught.value.lacking] == [
        ("stem", stems, needed_defects(0.99, 0.9)),
        ("split", 0, needed_defects(0.9, 0.9)),
    ]
    assert (
        f"recall ≥ 99 % of stem takes 230, got {stems}; recall ≥ 90 % of split takes 22, got 0"
        in (str(caught.value))
    )
    few = table.take(np.arange(60))
    with pytest.raises(NotCertifiableError, match=r"at least 45 distinct defects .* of stem takes"):
        certify_threshold(
            few.scores, few.is_defect, promises=promises_about(few, [("stem", 0.9)], None), **ASKED
        )


def test_what_is_asked_must_be_about_known_slices() -> None:
    table = typed(300, 4)
    with pytest.raises(InputError, match=r"min_recall: sten: must be .* \(did you mean stem\?\)"):
        promises_about(table, [("sten", 0.9)], None)
    with pytest.raises(InputError, match="got none: no types are known"):
        promises_about(replace(table, types=None), [("stem", 0.9)], None)
    with pytest.raises(
        InputError, match=r"every calibration item must tell its group .*300 of 300"
    ):
        promises_about(replace(table, groups=None), [], 0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall_of_types": (("pit", 0.9), ("pit", 0.8))}, "once for a type, got pit 2 times"),
        ({"recall_of_types": (("pit", 1.0),)}, r"min_recall: must be in \(0, 1\), got 1"),
        ({"per_group": True, "low": 0.5}, "low: a given one is not certified"),
    ],
)
def test_requests_that_contradict_themselves(options, message) -> None:
    with pytest.raises(InputError, match=message):
        Request(**options)


def test_every_group_is_promised_the_overall_recall() -> None:
    table = typed(1500, 5)
    point = operating_point(read_back(table), Request(**ASKED, per_group=True))
    assert [(one.kind, one.name) for one in point.certificate.slices] == [
        ("group", f"camera-{k}") for k in range(3)
    ]
    assert {one.min_recall for one in point.certificate.slices} == {0.95}
    assert point.offers == ()
    assert (
        point.certificate.threshold
        <= operating_point(read_back(table), Request(**ASKED)).certificate.threshold
    )


def test_a_run_records_what_was_promised_and_an_export_asks_for_it_again(tmp_path) -> None:
    run = write_run(
        tmp_path / "run",
        calibration=typed(1500, 1, "train"),
        test=typed(800, 2),
    )
    asked = Request(**ASKED, recall_of_types=(("stem", 0.96), ("pit", 0.9)), per_group=True)
    point = operating_point(read_run_predictions(run), asked)
    record_certificate(run, point.certified_figures())
    assert read_recorded(run).request == asked
    again = operating_point(read_run_predictions(run), read_recorded(run).request)
    assert again.to_json() == point.to_json()
    record_certificate(
        run, operating_point(read_run_predictions(run), Request()).certified_figures()
    )
    assert read_recorded(run).request.recall_of_types == ()


def test_a_verdict_reads_a_certificate_with_promises_back() -> None:
    table = typed(1500, 5)
    asked = Request(**ASKED, recall_of_types=(("stem", 0.9),), per_group=True)
    certificate = operating_point(read_back(table), asked).certificate
    adapter = TypeAdapter(CertificateField)
    document = json.loads(json.dumps(adapter.dump_python(certificate)))
    assert adapter.validate_python(document) == certificate
    assert len(document["slices"]) == 4


def test_the_defects_that_hold_the_threshold_are_those_of_the_slice_that_sets_it() -> None:
    table = typed(900, 6)
    request = Request(**ASKED, recall_of_types=(("stem", 0.95),))
    found = threshold_holders(table, request)
    stems = dict(zip(table.paths, members(table, "stem").tolist(), strict=True))
    assert all(stems[path] for path in found.paths)
    assert len(found.paths) == found.certificate.slices[0].misses_allowed + 1
    assert found.without.threshold > found.certificate.threshold


def test_the_test_items_may_refute_one_promise() -> None:
    promised = [
        SliceCertificate("type", name, 0.95, 0.9, 200, 4, 3) for name in ("pit", "stem", "split")
    ]
    test = typed(900, 7)
    low = np.where(members(test, "stem") & (np.arange(900) % 4 == 0), 0.01, test.scores)
    counted = Slices.of(replace(test, scores=low), 0.05)
    pit, stem, split = refute(promised, counted)
    tail = binom.sf(stem.misses - 1, stem.defects, 0.05)
    assert stem.p_value == pytest.approx(3 * tail)
    assert stem.p_value < 0.001
    assert pit.p_value > 0.5
    assert (split.defects, split.p_value) == (0, 1.0)
