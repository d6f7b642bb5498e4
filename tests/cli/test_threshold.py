from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from drupe.evaluation.predictions_csv import write_predictions
from run_files import predictions, refuse_writing, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def test_a_run_is_certified_in_80_columns(quick, run) -> None:
    result = quick("threshold", run, "--review-budget", "0.05", "--prevalence", "0.02")
    assert result.code == 0, result.stderr
    assert "lite0 seed 42: recall ≥ 99 % certified at 95 % confidence" in result.stdout
    assert "does not refute" in result.stdout
    document = json.loads(
        quick("threshold", run, "--review-budget", "0.05", "--prevalence", "0.02", "--json").stdout
    )
    lanes = document["test"]["lanes"]
    passed, looked_at = lanes["clean_accepted"], lanes["clean_reviewed"]
    with_people = 100 * (passed + looked_at) / (passed + looked_at + lanes["clean_rejected"])
    assert looked_at
    assert f"{with_people:.1f} % (test)" in " ".join(result.stdout.split())
    assert "Per 1,000 items with 2.0 % defects (rates of test)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert json.loads((run / "evaluation.json").read_text())["certificate"]["min_recall"] == 0.99


def test_json_is_the_document_and_nothing_else(quick, run) -> None:
    document = json.loads(quick("threshold", run, "--json").stdout)
    keys = {"certified", "threshold", "high", "defects", "misses_allowed", "misses", "recall"}
    assert set(document) >= keys | {"clean_yield", "method", "approximate", "test"}
    assert document["test"]["recall"]["trials"] == document["test"]["defects"]


def test_anyone_s_csv(quick, tmp_path) -> None:
    write_predictions(tmp_path / "theirs.csv", predictions(1200, 5))
    document = json.loads(quick("threshold", "theirs.csv", "--json").stdout)
    assert document["certified"] is True
    assert document["test"] is None
    table = quick("threshold", "theirs.csv").stdout
    assert "test" not in table


def test_logits_are_taken_when_named(quick, tmp_path) -> None:
    lines = [f"{i}.png,{'ng' if i % 2 else 'ok'},{4 if i % 2 else -4}" for i in range(700)]
    (tmp_path / "logits.csv").write_text("\n".join(["path,label,score", *lines]))
    refused = quick("threshold", "logits.csv")
    assert refused.code == 2
    assert "if these are logits, say so with --logits" in refused.stderr
    assert quick("threshold", "logits.csv", "--logits").code == 0


def test_too_few_defects_end_with_1_and_the_number_needed(quick, tmp_path) -> None:
    write_predictions(tmp_path / "few.csv", predictions(300, 5))
    result = quick("threshold", "few.csv")
    assert result.code == 1
    assert "not certified" in result.stdout
    assert "at least 299 distinct defects" in " ".join(result.stdout.split())
    as_json = quick("threshold", "few.csv", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.stdout)["needed_defects"] == 299


def test_a_given_threshold_leaves_the_run_s_certificate_alone(quick, run) -> None:
    before = (run / "evaluation.json").read_bytes()
    result = quick("threshold", run, "--low", "0.2", "--high", "0.8")
    assert result.code == 0
    assert "given by hand, not certified" in result.stdout
    assert (run / "evaluation.json").read_bytes() == before


def test_a_test_that_refutes_says_so(quick, tmp_path) -> None:
    worse = predictions(900, 8, quality=-0.5)
    run = write_run(tmp_path / "run", test=worse)
    assert "REFUTES recall ≥ 99 %" in " ".join(quick("threshold", run).stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.csv",), "absent.csv: no such file"),
        ((".",), "must be a run directory or a CSV file"),
        (("run", "--data", "x", "--cross-fit", "5"), "only one of them"),
        (("theirs.csv", "--cross-fit", "5"), "need a run directory"),
        (("run", "--logits"), "is for CSV files"),
        (("run", "--costs", "1,2"), "must be three numbers M,F,R, got '1,2'"),
        (("run", "--costs", "1,2,3"), "costs: need the prevalence"),
        (("run", "--min-recall", "99"), "min_recall: must be in (0, 1), got 99"),
        (("run", "--low", "nan"), "low: must be in [0, 1], got nan"),
        (("run", "--review-budget", "5"), "review_budget: must be in [0, 1), got 5"),
        (("run", "--defect", "cherry_clean"), "got --defect cherry_clean"),
    ],
)
def test_wrong_input_is_one_message(quick, run, tmp_path, arguments, message) -> None:
    write_predictions(tmp_path / "theirs.csv", predictions(900, 5))
    before = (run / "evaluation.json").read_bytes()
    result = quick("threshold", *arguments)
    assert result.code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert (run / "evaluation.json").read_bytes() == before


def test_a_csv_needs_no_torch(drupe, run) -> None:
    blocked = ("torch", "timm", "torchvision", "safetensors")
    assert drupe("threshold", run, blocked=blocked).code == 0
    fresh = drupe("threshold", run, "--data", "x", blocked=blocked)
    assert fresh.code == 2
    assert "pip install 'drupe[train]'" in fresh.stderr


def test_cross_fitting_from_training_to_an_approximate_certificate(
    drupe, tmp_path, small_synthetic
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "model: {architecture: test_resnet, pretrained: false}\n"
        "input: {size: 64}\n"
        "training: {epochs: 1, batch_size: 16, threads: 1, precision: fp32, layout: contiguous}\n"
    )
    assert drupe("train", "tiny.yaml", "--data", small_synthetic, "--out", "run").code == 0
    result = drupe("threshold", "run", "--cross-fit", "2", "--min-recall", "0.8", "--json")
    assert result.code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["approximate"] is True
    assert "not from the network to be deployed" in document["certificate"]["approximate"]
    assert "fold 2 of 2" in result.stderr
    assert (tmp_path / "run-cross-fit-2" / "fold-1" / "run.json").exists()


def test_a_lane_that_there_is_not_has_no_column(quick, run) -> None:
    assert "accept  reject\n" in quick("threshold", run).stdout
    assert "accept  review  reject\n" in quick("threshold", run, "--review-budget", "0.1").stdout


def test_a_test_without_a_miss_says_so_in_words(quick, tmp_path) -> None:
    run = write_run(tmp_path / "run", test=predictions(800, 2, quality=9.0))
    text = " ".join(quick("threshold", run).stdout.split())
    assert "does not refute recall ≥ 99 %: none of its 372 defects is missed." in text


def test_sentences_stay_readable_in_a_wide_terminal(quick, run) -> None:
    result = quick("threshold", run, "--min-recall", "0.999", columns=200)
    assert 80 < max(map(len, result.stdout.splitlines())) <= 100


def test_it_reads_well_in_a_narrow_terminal(quick, run) -> None:
    result = quick("threshold", run, columns=40)
    assert max(map(len, result.stdout.splitlines())) <= 48  # a message line may hold one long word
    assert "calibration\n  recall" in result.stdout


def test_wrong_options_are_said_before_anything_is_trained(quick, run) -> None:
    for wrong in (("--review-budget", "7"), ("--high", "7"), ("--prevalence", "7")):
        result = quick("threshold", run, "--cross-fit", "5", *wrong)
        assert result.code == 2
        assert wrong[0].removeprefix("--").replace("-", "_") in result.stderr
        assert "fold" not in result.stderr


def write_typed(path, count: int, stems: int) -> None:
    """A CSV of ``count`` items, half of them defects of which ``stems`` are stems, of 2 cameras."""
    lines = ["path,label,score,type,group"]
    for k in range(count):
        is_defect = k % 2
        kind = ("stem" if k // 2 < stems else "pit") if is_defect else ""
        score = 0.6 + 0.3 * k / count if is_defect else 0.1 + 0.3 * k / count
        label = "defect" if is_defect else "clean"
        lines.append(f"{k},{label},{score},{kind},camera {k % 4 // 2}")
    path.write_text("\n".join(lines))


def test_promises_about_types_and_groups(quick, tmp_path) -> None:
    write_typed(tmp_path / "typed.csv", 1600, 200)
    asked = ("--min-recall", "pit=0.99", "--min-recall", "stem=0.98", "--per-group")
    result = quick("threshold", "typed.csv", *asked)
    assert result.code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert "recall ≥ 98 % certified at 95 % confidence" in words
    assert "Certified together with it, all at 95 % confidence:" in words
    assert "stem ≥ 98 % 200 0 0" in words
    assert "pit ≥ 99 % 600 1 0" in words
    assert "camera 0 ≥ 98 % 400 3 0" in words
    assert max(map(len, result.stdout.splitlines())) <= 80
    document = json.loads(quick("threshold", "typed.csv", *asked, "--json").stdout)
    kept = {one["name"]: one["min_recall"] for one in document["certificate"]["slices"]}
    assert kept == {"pit": 0.99, "stem": 0.98, "camera 0": 0.98, "camera 1": 0.98}
    counted = document["slices"]
    assert [one["name"] for one in counted["types"]] == ["pit", "stem"]
    assert [one["defects"] for one in counted["groups"]] == [400, 400]


def test_a_type_that_can_not_be_certified_says_what_it_needs(quick, tmp_path) -> None:
    write_typed(tmp_path / "typed.csv", 1600, 40)
    asked = ("--min-recall", "0.99", "--min-recall", "stem=0.95")
    result = quick("threshold", "typed.csv", *asked)
    assert result.code == 1
    words = " ".join(result.stdout.split())
    assert "not certified" in words
    assert "all defects ≥ 99 % 299 800" in words
    assert "stem ≥ 95 % 59 40 19" in words
    document = json.loads(quick("threshold", "typed.csv", *asked, "--json").stdout)
    assert document["lacking"] == [
        {"kind": "type", "name": "stem", "min_recall": 0.95, "defects": 40, "needed": 59}
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pit="], "--min-recall: must be R or TYPE=R such as 0.99, got 'pit='"),
        (["0.9", "0.8"], "--min-recall: must be given once for all defects, got 2"),
        (
            ["pti=0.9"],
            "min_recall: pti: must be a type of defect in calibration, got pit, stem (did",
        ),
        (["pit=2"], "min_recall: must be in (0, 1), got 2"),
    ],
)
def test_recalls_that_can_not_be_read(quick, tmp_path, words, message) -> None:
    write_typed(tmp_path / "typed.csv", 400, 40)
    options = [part for word in words for part in ("--min-recall", word)]
    result = quick("threshold", "typed.csv", *options)
    assert result.code == 2
    assert message in result.stderr


def test_a_miss_of_a_type_may_cost_less(quick, tmp_path) -> None:
    write_typed(tmp_path / "typed.csv", 1600, 200)
    asked = ("--low", "0.65", "--prevalence", "0.02", "--costs", "40,0.1,0.5")

    def cost(*words: str) -> float:
        result = quick("threshold", "typed.csv", *asked, *words, "--json")
        assert result.code == 0, result.stderr
        return json.loads(result.stdout)["per_thousand"]["cost"]

    # All items missed at 0.65 are stems: the first 267 of 1,600 items in time, of which half.
    missed = 20 * 133 / 800
    assert cost() - cost("--cost", "stem=5") == pytest.approx(missed * 35)
    assert cost("--cost", "pit=5") == cost()
    for words, message in (
        (("--cost", "stm=5"), "costs: stm: must be a type of defect in calibration, got pit, stem"),
        (("--cost", "5"), "--cost: must be TYPE=M such as pit=50, got '5'"),
    ):
        assert message in quick("threshold", "typed.csv", *asked, *words).stderr
    alone = quick("threshold", "typed.csv", "--cost", "stem=5")
    assert "--cost: needs --costs M,F,R" in alone.stderr


def test_a_promise_that_takes_anothers_place_says_so(quick, run) -> None:
    quick("threshold", run, "--min-recall", "0.95")
    again = quick("threshold", run, "--min-recall", "0.95")
    assert "it was for" not in again.stderr
    other = quick("threshold", run, "--min-recall", "0.9", "--json")
    assert (
        "The run's certificate is now for recall ≥ 90 % at 95 %; it was for recall ≥ 95 % at 95 %."
        in " ".join(other.stderr.split())
    )
    json.loads(other.stdout)


def test_a_day_on_the_line_is_counted(quick, run) -> None:
    asked = ("--low", "0.2", "--high", "0.6", "--prevalence", "0.02", "--costs", "40,0.1,0.5")
    day = ("--per-hour", "36000", "--hours", "8")
    document = json.loads(quick("threshold", run, *asked, *day, "--json").stdout)
    lanes, found = document["test"]["lanes"], document["per_day"]
    clean = sum(lanes[name] for name in ("clean_accepted", "clean_reviewed", "clean_rejected"))
    defects = sum(
        lanes[name] for name in ("defects_accepted", "defects_reviewed", "defects_rejected")
    )
    assert found["per"] == 288_000
    assert found["misses"] == pytest.approx(288_000 * 0.02 * lanes["defects_accepted"] / defects)
    wasted = 288_000 * 0.98 * lanes["clean_rejected"] / clean
    assert found["false_rejects"] == pytest.approx(wasted)
    assert found["cost"] == pytest.approx(
        40 * found["misses"] + 0.1 * wasted + 0.5 * found["reviews"]
    )
    said = " ".join(quick("threshold", run, *asked, *day).stdout.split())
    assert f"A day of 288,000 items: {found['misses']:,.0f} misses (at most " in said
    assert f" of which {wasted:,.0f} clean, cost {found['cost']:,.0f}." in said
    assert "A day of" not in quick("threshold", run, *asked).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--per-hour", "36000"), "--per-hour: needs --prevalence P"),
        (("--per-hour", "0", "--prevalence", "0.1"), "--per-hour: must be above 0"),
        (("--per-hour", "nan", "--prevalence", "0.1"), "--per-hour: must be above 0"),
        (("--per-hour", "9", "--hours", "25", "--prevalence", "0.1"), "--hours: must be above 0"),
    ],
)
def test_a_day_that_there_is_not_is_refused(quick, run, words, message) -> None:
    result = quick("threshold", run, *words)
    assert result.code == 2
    assert message in result.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "predictions/calibration.csv"])
def test_nothing_is_certified_with_a_file_of_another_run(quick, run, tmp_path, name) -> None:
    other = write_run(tmp_path / "other", calibration=predictions(1000, 9, prefix="train"))
    (other / "model.safetensors").write_bytes(b"other weights")
    before = (run / "evaluation.json").read_bytes()
    shutil.copy(other / name, run / name)

    result = quick("threshold", run)

    assert result.code == 2
    assert result.stdout == ""
    assert f"{run / name}: must be the file that belongs to this run's" in result.stderr
    assert (run / "evaluation.json").read_bytes() == before


def test_a_run_of_an_earlier_version_is_certified_and_that_said_once(quick, run) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["results"]
    (run / "run.json").write_text(json.dumps(record))

    result = quick("threshold", run, "--json")

    assert result.code == 0
    assert json.loads(result.stdout)["certified"] is True
    assert result.stderr.count("run.json holds no digests (a run of an earlier version)") == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_run_that_can_only_be_read_gets_its_answer(quick, run, monkeypatch, number) -> None:
    expected = quick("threshold", run, "--json")
    before = (run / "evaluation.json").read_bytes()
    refuse_writing(monkeypatch, run, number)

    result = quick("threshold", run, "--json")

    assert (result.code, result.stdout) == (0, expected.stdout)
    assert result.stderr == (
        f"warning: {run}: can only be read ({os.strerror(number)}): the certificate was not kept\n"
    )
    assert (run / "evaluation.json").read_bytes() == before


def test_on_a_full_disk_the_answer_is_printed_and_the_error_said(quick, run, monkeypatch) -> None:
    expected = quick("threshold", run)
    refuse_writing(monkeypatch, run, errno.ENOSPC)

    result = quick("threshold", run)

    assert (result.code, result.stdout) == (2, expected.stdout)
    assert f"error: {run / 'evaluation.json'}: No space left on device" in result.stderr
