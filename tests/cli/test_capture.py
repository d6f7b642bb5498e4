from __future__ import annotations

import json

import numpy as np
import pytest

from captured_files import by_lane, captured, reviewed
from drupe.deployment.capture.writer import Capture
from line_stand_in import images, stand_in


def test_the_whole_way_on_the_command_line(tmp_path, quick) -> None:
    classifier = stand_in()
    lanes = [0.1] * 60 + [0.5] * 10 + [0.9] * 30
    with Capture(classifier, tmp_path / "captured", sample=0.5, seed=3, flush_seconds=1000):
        made = images(*lanes)
        made[:, 1, 1, 1] = np.arange(100)
        classifier.decide(made)
    done = quick("capture", "collect", tmp_path / "captured", "--out", tmp_path / "week")
    assert done.code == 0, done.stderr
    assert "random sample of all decisions" in done.stdout
    review = reviewed(tmp_path, tmp_path / "week", by_lane)
    page = tmp_path / "trend.html"
    done = quick("capture", "recheck", review, "--html", page, "--json")
    assert done.code == 0, done.stderr
    (found,) = json.loads(done.stdout)["rechecks"]
    assert (found["verdict"], found["recall"]["estimate"]) == ("undecided", 1.0)
    assert found["promised_recall"] == 0.99
    assert found["wrong_accepted"]["estimate"] == 0.0
    assert "Recall on the line" in page.read_text()
    assert "Defects among what was accepted" in page.read_text()
    done = quick("capture", "recheck", review)
    assert "neither shown nor refuted" in done.stdout
    done = quick("capture", "label", review, "--out", tmp_path / "labelled", "--json")
    assert done.code == 0, done.stderr
    counts = json.loads(done.stdout)
    sample = json.loads((tmp_path / "week/capture.json").read_text())["sample"]
    assert sum(counts["classes"].values()) == len(sample)
    assert len(list((tmp_path / "labelled").glob("*/*.png"))) == len(sample)
    done = quick("capture", "label", review, "--out", tmp_path / "labelled")
    assert done.code == 2
    assert "must be a new or empty folder" in done.stderr


def test_a_broken_promise_is_code_1(tmp_path, quick) -> None:
    week = captured(tmp_path, "a" * 40 + "r" * 60)
    review = reviewed(tmp_path, week, lambda _: "defect")
    done = quick("capture", "recheck", review)
    assert done.code == 1
    assert "is broken" in done.stdout


def test_labels_of_the_sample_as_people_gave_them(tmp_path, quick) -> None:
    week = captured(tmp_path, "a" * 20 + "v" * 10 + "r" * 20)
    said = iter(["unclear", "bad"] + ["defect"] * 4)

    def judge(item) -> str:
        if item.split == "reviewed":
            return "good"
        return next(said, by_lane(item)) if item.split == "rejected" else by_lane(item)

    review = reviewed(tmp_path, week, judge)
    done = quick("capture", "label", review, "--out", tmp_path / "one")
    assert done.code == 0, done.stderr
    assert "30 clean, 19 pit" in done.stdout
    assert "1 that nobody could tell count as defects" in done.stdout
    assert "1 bad pictures are left out" in done.stdout
    done = quick("capture", "label", review, "--out", tmp_path / "two", "--unclear", "leave-out")
    assert "30 clean, 18 pit" in done.stdout


def test_a_sample_that_is_not_judged_whole_does_not_certify(tmp_path, quick) -> None:
    week = captured(tmp_path, "a" * 20 + "r" * 20)
    review = reviewed(tmp_path, week, by_lane, controls=10)
    done = quick("capture", "label", review, "--out", tmp_path / "labelled")
    assert done.code == 2
    assert "30 are not in this review" in " ".join(done.stderr.split())


def test_one_class_alone_does_not_certify(tmp_path, quick) -> None:
    week = captured(tmp_path, "a" * 20 + "r" * 20)
    review = reviewed(tmp_path, week, lambda _: "good")
    done = quick("capture", "label", review, "--out", tmp_path / "labelled")
    assert done.code == 2
    assert "must hold both classes, got clean alone" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--suspects", "5"), "--suspects: must be 0"),
        (("--split", "accepted"), "--split: doesn't go with"),
        (("--defect", "pit"), "--defect: doesn't go with"),
        (("--data", "."), "--data: goes with a ranking"),
    ],
)
def test_options_that_would_spoil_the_sample(tmp_path, quick, options, message) -> None:
    week = captured(tmp_path, "avr")
    done = quick("labels", "review", week, "--out", tmp_path / "review", *options)
    assert done.code == 2
    assert message in " ".join(done.stderr.split())


def test_a_page_for_somebody_else_shows_all_that_was_kept(tmp_path, quick) -> None:
    week = captured(tmp_path, "aavvrr")
    done = quick(
        *("labels", "review", week, "--out", tmp_path / "review", "--reviewer", "bob"),
        *("--html", tmp_path / "bob.html", "--store", tmp_path / "store"),
    )
    assert done.code == 0, done.stderr
    assert "pictures for bob" in done.stdout


def test_an_active_choice_is_recorded_and_estimated(tmp_path, quick) -> None:
    week = captured(tmp_path, "a" * 60 + "v" * 10 + "r" * 30)
    words = ("labels", "review", week, "--out", tmp_path / "review", "--reviewer", "ann")
    page = ("--html", tmp_path / "page.html", "--repeats", "0")
    done = quick(*words, *page, "--choose", "active")
    assert done.code == 2
    assert "--choose active: must go with --controls N" in done.stderr
    options = ("--choose", "active", "--controls", "40")
    done = quick(*words, *page, *options)
    assert done.code == 0, done.stderr
    queue = json.loads((tmp_path / "review/queue.json").read_text())
    assert queue["request"]["choose"] == "active"
    for item in queue["items"]:
        assert (item["probability"] is not None) == (item["split"] == "accepted")
        assert (item["probability"] or 1.0) <= 1
    assert quick(*words, *page, *options).code == 0
    assert json.loads((tmp_path / "review/queue.json").read_text()) == queue
    done = quick(*words, *page, "--controls", "40")
    assert done.code == 2
    assert "choose 'active', got 'alike'" in done.stderr
    (tmp_path / "other").mkdir()
    other = quick("labels", "review", week / "crops", "--out", tmp_path / "other", *options)
    assert other.code == 2
    assert "must be of pictures that the line has kept" in " ".join(other.stderr.split())
