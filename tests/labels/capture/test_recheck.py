from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captured_files import by_lane, captured, open_week, request, reviewed
from drupe.deployment.capture.writer import Capture
from drupe.errors import InputError
from drupe.labels.capture.collection import collect
from drupe.labels.capture.recheck import read_judged, recheck
from drupe.labels.review.application import apply_review
from drupe.labels.review.decisions import ReviewDecision
from drupe.labels.review.estimates import estimate_line
from drupe.labels.review.preparation import open_queue
from drupe.labels.review.queue import LaneSize, Nominee, draw_queue
from labels_active import WEEKS, measure
from labels_active import decide as decide_week
from line_stand_in import images, stand_in

AT = "2026-01-02T03:04:05+00:00"
RULE = "majority"


def a_week(random, defects: int, sample: float, shown: int, high: float = 0.4):
    """Return queue, decisions and true recall of 2,000 items that a network decides by chance."""
    is_defect = np.arange(2000) < defects
    score = np.clip(np.where(is_defect, random.beta(5, 2, 2000), random.beta(2, 5, 2000)), 0, 1)
    lane = np.where(score < 0.3, "accepted", np.where(score < high, "reviewed", "rejected"))
    kept = (random.random(2000) < sample) | (lane == "reviewed")
    nominees = [
        Nominee(str(i), str(lane[i]), "clean" if lane[i] == "accepted" else "pit", "", score[i])
        for i in np.flatnonzero(kept).tolist()
    ]
    lanes = {
        (name, "clean" if name == "accepted" else "pit"): LaneSize(int((lane == name).sum()), 0)
        for name in ("accepted", "reviewed", "rejected")
    }
    wanted = request(shown).model_copy(update={"seed": int(random.integers(1 << 30))})
    queue = draw_queue(nominees, "crops", ("clean", "pit"), wanted, lanes=lanes)
    decisions = [
        ReviewDecision(one, "defect" if is_defect[int(one.path)] else "good", "", ("ann",), AT)
        for one in queue.items
    ]
    stopped = lane != "accepted"
    return queue, decisions, float(stopped[is_defect].mean()), float((~stopped)[~is_defect].mean())


@pytest.mark.thorough
@pytest.mark.parametrize(("sample", "shown"), [(0.1, 10_000), (0.3, 200)])
def test_the_bounds_hold_the_true_rates_of_the_line(sample, shown) -> None:
    random = np.random.default_rng(5)
    held = np.zeros(2)
    for _ in range(150):
        queue, decisions, *true = a_week(random, 300, sample, shown)
        rates = estimate_line(queue, decisions)
        held += [rate.low <= value <= rate.high for rate, value in zip(rates, true, strict=True)]
    assert (held >= 142).all()


def test_counting_the_pictures_alone_would_be_wrong() -> None:
    """All reviews are kept and few others: without weights recall looks far too good."""
    random = np.random.default_rng(6)
    naive, weighted, truth = [], [], []
    for _ in range(40):
        queue, decisions, recall, _ = a_week(random, 300, 0.1, 10_000, high=0.8)
        defects = [one for one in decisions if one.outcome == "defect"]
        naive.append(np.mean([one.item.split != "accepted" for one in defects]))
        weighted.append(estimate_line(queue, decisions)[0].estimate)
        truth.append(recall)
    assert abs(np.mean(weighted) - np.mean(truth)) < 0.01
    assert 1 - np.mean(naive) < (1 - np.mean(truth)) / 3


@pytest.mark.thorough
@pytest.mark.parametrize("week", WEEKS, ids=lambda one: one.name)
def test_bounds_of_an_active_choice_hold_whatever_the_scores_are_worth(week) -> None:
    small = replace(week, decisions=week.decisions // 4)
    random = np.random.default_rng(7)
    row = measure(random, decide_week(random, small), small, "active", 400, 60)
    assert row["looks"] == pytest.approx(400, rel=0.03)
    assert min(row["recall"]["held"], row["clean_yield"]["held"]) >= 0.95


@pytest.mark.thorough
def test_an_active_choice_tells_more_of_misses_and_is_right_on_average() -> None:
    week, random = WEEKS[3], np.random.default_rng(8)  # recall 90 %, 30 % kept
    decided = decide_week(random, week)
    alike, active = (
        measure(random, decided, week, choice, 1000, 40) for choice in ("alike", "active")
    )
    assert active["recall"]["width"] < 0.8 * alike["recall"]["width"]
    assert active["clean_yield"]["width"] < alike["clean_yield"]["width"]
    assert active["recall"]["estimate"] == pytest.approx(decided.recall, abs=0.01)
    assert active["clean_yield"]["estimate"] == pytest.approx(decided.clean_yield, abs=0.002)


def test_an_active_choice_of_everything_counts_everything(tmp_path) -> None:
    week = captured(tmp_path, "a" * 40 + "v" * 7 + "r" * 60)
    judged = read_judged(reviewed(tmp_path, week, by_lane, 107, "active"), RULE)
    found = recheck(judged)
    assert (found.recall.low, found.recall.high, found.judged) == (1.0, 1.0, 107)
    assert (found.clean_yield.low, found.clean_yield.high) == (1.0, 1.0)


def test_what_a_score_had_looked_at_is_marked_when_it_becomes_a_label(tmp_path) -> None:
    week = captured(tmp_path, "a" * 60 + "v" * 20 + "r" * 20)
    said = {"accepted": "defect", "reviewed": "good", "rejected": "good"}
    review = reviewed(tmp_path, week, lambda item: said[item.split], 40, "active")
    done = apply_review(review, RULE, tmp_path / "store", dry_run=True)
    causes = {(fix.origin.split, fix.origin.cause) for fix in done.changes.fixes if fix.origin}
    assert causes == {("accepted", "suspect"), ("reviewed", "control"), ("rejected", "control")}
    accepted = next(one for one in done.noise if one.split == "accepted").wrong
    assert 30 < accepted.low <= accepted.estimate <= accepted.high == 60


def test_lanes_that_nobody_looked_into_are_open(tmp_path) -> None:
    week = captured(tmp_path, "a" * 40 + "r" * 60)
    judged = read_judged(reviewed(tmp_path, week, by_lane, 1, "active"), RULE)
    assert all(one.item.split == "accepted" for one in judged.decisions)
    found = recheck(judged)
    assert (found.recall.low, found.recall.high) == (0.0, 1.0)
    assert found.recall.estimate is None


def test_equal_pictures_are_that_many_decisions(tmp_path) -> None:
    classifier = stand_in()
    with Capture(classifier, tmp_path / "captured", sample=1, flush_seconds=1000):
        classifier.decide(images(*[0.1] * 7, 0.9))
    collect(tmp_path / "captured", tmp_path / "week")
    queue = open_week(tmp_path, tmp_path / "week")
    assert len(queue.items) == 8
    assert queue.is_captured


def test_a_promise_that_holds_and_one_that_is_broken(tmp_path) -> None:
    good = captured(tmp_path / "good", "a" * 40 + "r" * 900)
    holds = recheck(read_judged(reviewed(tmp_path / "good", good, by_lane), RULE))
    assert (holds.verdict, holds.recall.estimate, holds.decisions) == ("holds", 1.0, 940)
    assert (holds.wrong_accepted.low, holds.wrong_accepted.high) == (0.0, 0.0)
    bad = captured(tmp_path / "bad", "a" * 40 + "r" * 60)
    review = reviewed(tmp_path / "bad", bad, lambda _: "defect")
    broken = recheck(read_judged(review, RULE))
    assert (broken.verdict, broken.recall.estimate) == ("broken", 0.6)
    assert (broken.judged, broken.open) == (100, 0)
    assert (broken.wrong_accepted.low, broken.wrong_accepted.estimate) == (1.0, 1.0)


def test_what_nobody_could_tell_widens_the_bounds(tmp_path) -> None:
    week = captured(tmp_path, "a" * 40 + "r" * 60)
    review = reviewed(
        tmp_path, week, lambda item: "unclear" if item.split == "accepted" else "defect"
    )
    found = recheck(read_judged(review, RULE))
    assert (found.verdict, found.open) == ("undecided", 40)
    assert found.recall.low == pytest.approx(0.6)
    assert found.recall.high == 1
    assert (found.wrong_accepted.low, found.wrong_accepted.high) == (0.0, 1.0)


def test_a_lost_picture_may_be_either(tmp_path) -> None:
    week = captured(tmp_path, "a" * 40 + "r" * 60)
    counts = json.loads((week / "capture.json").read_text())
    counts["lanes"]["accept"] |= {"kept": 39, "lost": 1}
    (week / "capture.json").write_text(json.dumps(counts))
    ranking = (week / "labels.csv").read_text().splitlines(keepends=True)
    gone = next(i for i, line in enumerate(ranking) if "accepted" in line)
    (week / "labels.csv").write_text("".join(ranking[:gone] + ranking[gone + 1 :]))
    found = recheck(read_judged(reviewed(tmp_path, week, by_lane), RULE))
    assert found.recall.high == 1
    assert found.recall.low == pytest.approx(60 / 61)
    assert found.wrong_accepted.high == pytest.approx(1 / 39)


def test_reviews_of_something_else(tmp_path) -> None:
    for label in ("clean", "pit"):
        (tmp_path / "crops" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "crops" / label / "a.png")
        noise = np.random.default_rng(len(label)).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "crops" / label / "b.png")
    queue = open_queue(
        tmp_path / "review", tmp_path / "crops", None, request(9), tmp_path / "store"
    )
    with pytest.raises(InputError, match="must be a review of pictures that the line has kept"):
        read_judged(tmp_path / "review", RULE)
    with pytest.raises(InputError, match="must be of pictures that the line has kept"):
        estimate_line(queue, [])
    week = captured(tmp_path / "line", "aavr")
    with pytest.raises(InputError, match="must hold answers, got none"):
        read_judged(reviewed(tmp_path / "line", week, lambda _: None), RULE)
