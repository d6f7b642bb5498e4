from __future__ import annotations

import json

import pytest

from drupe.evaluation.predictions_csv import write_predictions
from run_files import predictions, write_run


@pytest.fixture
def experiments(tmp_path):
    """Two experiments of two seeds, and a CSV, on the same test images."""
    for name, quality in (("BASE", 1.5), ("BETTER", 2.2)):
        for seed in (1, 2):
            test = predictions(800, seed=10 * seed + int(10 * quality), quality=quality)
            write_run(tmp_path / name / f"seed-{seed}", test=test, experiment=name, seed=seed)
    write_predictions(tmp_path / "theirs.csv", predictions(800, 77, quality=1.5))
    return tmp_path


def test_experiments_in_80_columns(quick, experiments) -> None:
    result = quick("compare", "BASE", "BETTER")
    assert result.code == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "BETTER minus BASE" in text
    assert "BETTER has a higher accuracy than BASE" in text
    assert "seed 1: only BETTER right on" in text
    assert "Holm over 4 tests" in text
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_json_is_complete(quick, experiments) -> None:
    result = quick("compare", "BASE", "BETTER", "theirs.csv", "--margin", "0.02", "--json")
    document = json.loads(result.stdout)
    assert [(pair["a"], pair["b"], pair["metric"]) for pair in document["pairs"]] == [
        (name, "BASE", metric)
        for name in ("BETTER", "theirs")
        for metric in ("accuracy", "recall", "auroc")  # the CSV has no certified threshold
    ]
    assert document["family_size"] == 6
    assert set(document["pairs"][0]) >= {"difference", "low", "high", "p_value", "p_adjusted"}


def test_one_metric_is_one_test(quick, experiments) -> None:
    document = json.loads(
        quick("compare", "BASE", "BETTER", "--metric", "clean_yield", "--json").stdout
    )
    (pair,) = document["pairs"]
    assert pair["metric"] == "clean_yield"
    assert pair["p_adjusted"] == pair["p_value"]


def test_a_bare_number_comes_with_a_warning(quick, experiments) -> None:
    result = quick("compare", "BASE", "--number", "0.9405")
    assert result.code == 0
    assert "A bare number can't be paired image by image" in " ".join(result.stdout.split())
    document = json.loads(quick("compare", "BASE", "--number", "0.9405", "--json").stdout)
    assert document["pairs"] == []
    assert document["against_number"][0]["number"] == 0.9405


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("BASE",), "needs two models, or one and --number, got one model"),
        (("BASE", "absent.csv"), "absent.csv: no such file"),
        (("BASE", "."), "must be a run, a folder of seed-N runs or a CSV file"),
        (("BASE", "other.csv"), "got 1 missing (val/00000.png) and 1 further (val/new.png)"),
        (("BASE", "BETTER", "--metric", "f1"), "--metric: must be one of accuracy, recall"),
        (("BASE", "BETTER", "--margin", "3"), "margin: must be in [0, 1), got 3"),
        (("BASE", "BETTER", "--confidence", "95"), "confidence: must be in [0.5, 1), got 95"),
        (("BASE", "--number", "94.05"), "number: must be a rate in (0, 1), got 94.05"),
    ],
)
def test_wrong_input_is_one_message(quick, experiments, arguments, message) -> None:
    text = (experiments / "theirs.csv").read_text()
    (experiments / "other.csv").write_text(text.replace("val/00000.png", "val/new.png"))
    result = quick("compare", *arguments)
    assert result.code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_clean_yield_without_a_certificate_is_an_answer(quick, experiments) -> None:
    arguments = ("BASE", "BETTER", "--metric", "clean_yield", "--min-recall", "0.999")
    result = quick("compare", *arguments)
    assert result.code == 1
    assert "it takes at least 2,995 distinct defects" in " ".join(result.stderr.split())
