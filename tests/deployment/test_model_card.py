from __future__ import annotations

import shutil

import pytest
from PIL import Image

from drupe.deployment.export import export_run
from drupe.deployment.model_card import CARD_FILE, _cell, _claim
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.intervals import format_confidence
from drupe.evaluation.operating_point import Request
from drupe.runs.record import read_record
from drupe.training.config import read_config, validate_experiment
from drupe.training.run import train_run


@pytest.fixture(scope="module")
def card(quantised) -> str:
    return (quantised.bundle / CARD_FILE).read_text()


def test_the_card_says_what_the_bundle_holds(card, quantised) -> None:
    manifest = quantised.manifest
    clean, defect = manifest.classes
    for words in (
        f"`{defect}`",
        f"`{clean}`",
        "uint8 `[N, 64, 64, 3]`, RGB, 0-255",
        "48 × 48 pixels",
        "| architecture | test_efficientnet |",
        manifest.provenance["data_fingerprint"],
        manifest.provenance["weights_sha256"],
        "Recheck weekly",
        f"The certificates of {quantised.evaluation.certified_together} alternatives hold together",
    ):
        assert words in card
    for one in quantised.evaluation.functions:
        function = one.function
        assert f"- **{function.name}**, low {function.low:.6g}" in card
        rows = [line for line in card.splitlines() if line.startswith(f"| {function.name} |")]
        assert f"| {function.gate.flips} |" in rows[0]
        assert one.test.argmax.accuracy().percent() in rows[1]
    confidence = format_confidence(1 - 0.2 / quantised.evaluation.certified_together)
    assert f"with confidence {confidence} at least 80 %" in card
    assert "Nothing here is certified" not in card
    assert "None" not in card


def test_a_card_shows_where_it_looks_where_it_is_wrong(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    request = Request(min_recall=0.9, confidence=0.9)
    done = export_run(run, tmp_path / "told", store, request=request, explain=True)
    text = (done.bundle / CARD_FILE).read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ![")]
    assert [row[2] for row in rows] == ["miss", "false reject"] * (len(rows) // 2) + ["miss"] * (
        len(rows) % 2
    )
    test = done.evaluation.functions[0].model.test
    assert test is not None
    score_of = dict(zip(test.table.paths, test.table.scores, strict=True))
    low = done.manifest.functions[0].low
    for number, (_, path, kind, score) in enumerate(rows, start=1):
        assert float(score.rstrip(" |")) == pytest.approx(score_of[path], rel=5e-3)
        assert (score_of[path] < low) == (kind == "miss")
        with Image.open(done.bundle / f"heatmap-{number}.png") as picture:
            assert picture.size == (64, 64)
    assert min(test.table.scores[test.table.is_defect]) == score_of[rows[0][1]]  # the worst
    load(done.bundle)  # whose files are all in the manifest
    monkeypatch.setattr("drupe.deployment.card_heatmaps.SECONDS", 0.0)
    late = export_run(run, tmp_path / "late", store, request=request, explain=True)
    assert "Where it looks" not in (late.bundle / CARD_FILE).read_text()


def test_a_changed_card_is_found(quantised, tmp_path) -> None:
    copied = shutil.copytree(quantised.bundle, tmp_path / "copied")
    with (copied / CARD_FILE).open("a") as stream:
        stream.write(" ")
    with pytest.raises(InputError, match=r"model_card\.md: changed since the bundle was made"):
        load(copied)


CERTIFICATE = {
    "confidence": 0.95,
    "min_recall": 0.99,
    "misses": 1,
    "defects": 1234,
    "misses_allowed": 5,
    "approximate": None,
}
PROVEN = (
    "with confidence 95 % at least 99 % of the defects to come are not accepted (1 of 1,234 "
    "distinct calibration defects were missed; 5 were allowed)"
)


@pytest.mark.parametrize(
    ("certificate", "refusal", "claim"),
    [
        (CERTIFICATE, None, PROVEN),
        (
            CERTIFICATE | {"approximate": "cross-fitted"},
            None,
            f"approximately, which is no guarantee (cross-fitted): {PROVEN}",
        ),
        (
            CERTIFICATE
            | {
                "slices": [
                    {"kind": "type", "name": "pit", "min_recall": 0.95, "misses": 1}
                    | {"defects": 300, "misses_allowed": 8},
                    {"kind": "group", "name": "cam 1", "min_recall": 0.9, "misses": 0}
                    | {"defects": 60, "misses_allowed": 2},
                ]
            },
            None,
            f"{PROVEN}; together with that, recall ≥ 95 % of pit (1 of 300 missed, 8 allowed), "
            "recall ≥ 90 % in cam 1 (0 of 60 missed, 2 allowed)",
        ),
        (None, "too few defects", "nothing is proven: too few defects"),
        (None, None, "nothing is proven: a threshold given"),
    ],
)
def test_a_claim_says_no_more_than_is_proven(certificate, refusal, claim) -> None:
    assert _claim(certificate, refusal) == claim


def test_a_name_does_not_end_a_cell_of_a_table() -> None:
    assert _cell("a|b\nc") == "a\\|b c"
    assert _cell(7) == "7"


def test_the_card_says_what_was_learnt_besides_the_labels(deployed, tmp_path) -> None:
    """A student with two views that goes on from another run, through the gate."""
    run, store, _ = deployed
    teacher = {"recipes": ["self"], "folds": 2, "share": 0.4}
    document = read_config(run).model_dump(mode="json")
    document["training"] |= {"init": str(run), "teacher": teacher}
    document["input"]["views"] = 2
    student = tmp_path / "student"
    train_run(validate_experiment(document, "student"), student, store)
    corrected = read_record(student)
    assert corrected is not None
    assert corrected.data.fixes is not None
    corrected.data.fixes.suspects = {"test": 3}
    corrected.write(student)
    request = Request(min_recall=0.8, confidence=0.8)
    exported = export_run(student, tmp_path / "bundle", store, request=request, threads=1)
    assert all(one.function.gate.flips == 0 for one in exported.evaluation.functions)
    card = (tmp_path / "bundle" / CARD_FILE).read_text()
    record = read_record(student)
    assert record is not None
    items = f"{record.data.fit:,}"
    assert f"| soft targets | 40 % of the target of {items} images, from 2 networks" in card
    assert f"| first weights | of {run} (SHA-256 {record.weights['sha256'][:12]}" in card
    assert f"had learnt from {items} of these" in card
    assert "| state of the labels | `original` |" in card
    assert "On the distinct test images (mind: 3 test labels were changed because" in card
