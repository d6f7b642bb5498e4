from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.labels.review.decisions import decide
from drupe.labels.review.quality import review_quality
from drupe.labels.review.queue import ReviewQueue, draw_queue
from drupe.labels.review.votes import disagreements, third_look, votes_by_item
from review_files import CLASSES, answer, nominees, request

PATHS = [f"{'clean' if i % 2 else 'pit'}/{i}.png" for i in range(40)]


@pytest.fixture
def queue() -> ReviewQueue:
    return draw_queue(nominees(None, PATHS), "crops", CLASSES, request(10, 20, 6))


def by_label(queue: ReviewQueue, reviewer: str, changes=None, second=None):
    """Return answers that agree with the labels, save at the items ``changes`` (item → answer).

    ``second``: answers at the second look alone.
    """
    given = {}
    for showing in queue.showings:
        label = queue.items[showing.item].label
        judgement = {"clean": "good", "pit": "defect"}[label]
        judgement = (changes or {}).get(showing.item, judgement)
        if showing.is_repeat:
            judgement = (second or {}).get(showing.item, judgement)
        given[showing.id] = answer(queue, showing.id, judgement, reviewer)
    return given


def test_consistency_on_repeats(queue) -> None:
    again = [one.item for one in queue.showings if one.is_repeat]
    answers = {"ann": by_label(queue, "ann", second={again[0]: "bad", again[1]: "unclear"})}
    (ann,) = review_quality(queue, answers).reviewers
    assert (ann.repeated.successes, ann.repeated.trials) == (4, 6)
    assert (ann.answers, ann.showings, ann.seconds) == (36, 36, 1.5)
    votes = votes_by_item(queue, answers)
    assert votes[again[0]][0].judgement == "unclear"
    assert not votes[again[0]][0].is_consistent
    assert votes[again[2]][0].is_consistent


def test_bias_is_measured_on_controls_alone(queue) -> None:
    clean = [i for i, one in enumerate(queue.items) if one.label == "clean"]
    controls = [i for i in clean if queue.items[i].role == "control"]
    suspects = [i for i in clean if queue.items[i].role == "suspect"]
    changes = dict.fromkeys([*controls[:7], *suspects[:3]], "defect")
    (ann,) = review_quality(queue, {"ann": by_label(queue, "ann", changes)}).reviewers
    assert (ann.clean_as_defect.successes, ann.clean_as_defect.trials) == (7, len(controls))
    assert ann.defect_as_good.successes == 0
    assert ann.tilt == pytest.approx(2 * 0.5**7)  # sign test: 7 one way, none the other
    (even,) = review_quality(queue, {"ann": by_label(queue, "ann")}).reviewers
    assert even.tilt == 1.0


def test_agreement_of_two_and_of_three(queue) -> None:
    answers = {name: by_label(queue, name) for name in ("ann", "bob", "eve")}
    answers["bob"] = by_label(queue, "bob", {0: "bad", 1: "unclear"})
    quality = review_quality(queue, answers)
    assert [one.reviewers for one in quality.pairs] == [
        ("ann", "bob"),
        ("ann", "eve"),
        ("bob", "eve"),
    ]
    assert [one.observed for one in quality.pairs] == pytest.approx([28 / 30, 1.0, 28 / 30])
    assert quality.together is not None
    assert quality.together.items == 30
    assert quality.together.observed == pytest.approx((28 + 2 / 3) / 30)
    two = review_quality(queue, {name: answers[name] for name in ("ann", "bob")})
    assert two.together is None
    again = {one.item for one in queue.showings if one.is_repeat}
    once = next(one for one in queue.showings if one.item not in again)
    del answers["bob"][once.id]
    assert review_quality(queue, answers).pairs[0].items == 29


def test_disagreements_go_to_a_third_look(queue) -> None:
    answers = {
        "ann": by_label(queue, "ann"),
        "bob": by_label(queue, "bob", {3: "bad", 8: "unclear"}),
    }
    assert disagreements(queue, answers) == [3, 8]
    order = third_look(queue, answers, "eve")
    assert {one.item for one in order} == {3, 8}
    assert not any(one.is_repeat for one in order)
    answers["eve"] = {order[0].id: answer(queue, order[0].id, "good", "eve")}
    assert third_look(queue, answers, "eve") == order
    third = answer(queue, order[0].id, "good", "eve").model_copy(update={"is_third": True})
    answers["eve"] = {order[0].id: third}
    quality = review_quality(queue, answers)
    assert [one.reviewer for one in quality.reviewers] == ["ann", "bob"]
    assert len(quality.pairs) == 1
    assert decide(queue, answers, "unanimous")[order[0].item].outcome == "undecided"
    assert "eve" in [vote.reviewer for vote in votes_by_item(queue, answers)[order[0].item]]
    with pytest.raises(InputError, match="needs the answers of two reviewers beside bob, got 1"):
        third_look(queue, {"ann": answers["ann"]}, "bob")
    agreeing = {"ann": answers["ann"], "bob": by_label(queue, "bob")}
    with pytest.raises(InputError, match="agree on all"):
        third_look(queue, agreeing, "eve")
