"""The estimates of whole reviews, drawn again and again from a set with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drupe.labels.review.decisions import ReviewDecision
from drupe.labels.review.estimates import estimate_noise, estimate_rates
from drupe.labels.review.queue import draw_queue
from review_files import CLASSES, nominees, request

DRAWS = 1000


def population(count: int):
    """Return ranked nominees in three splits, and the true class of each path.

    Wrong labels come early in the ranking, but not all of them.
    """
    random = np.random.default_rng(7)
    paths = [f"{CLASSES[int(random.random() < 0.4)]}/{i}.png" for i in range(count)]
    wrong = set(random.choice(count, count // 12, replace=False).tolist())
    found = nominees(None, paths, splits=3)
    of_class = dict(zip(CLASSES, reversed(CLASSES), strict=True))
    truth = {
        one.path: of_class[one.label] if index in wrong else one.label
        for index, one in enumerate(found)
    }
    is_pit = np.array([truth[path] == "pit" for path in paths])
    scores = np.clip(0.25 + 0.5 * is_pit + random.normal(0, 0.2, count), 0, 1)
    scored = [replace(one, score=float(score)) for one, score in zip(found, scores, strict=True)]
    doubt = [one.score if one.label == "clean" else 1 - one.score for one in scored]
    order = np.argsort(-np.array(doubt), kind="stable")
    return [scored[index] for index in order], truth


@pytest.mark.thorough
@pytest.mark.parametrize("controls", [25, 60])
def test_estimates_of_a_thousand_reviews(controls: int) -> None:
    ranked, truth = population(180)
    outcome = {"clean": "good", "pit": "defect"}
    test = [one for one in ranked if one.split == "test"]
    pits = [one for one in test if truth[one.path] == "pit"]
    recall = np.mean([one.score >= 0.5 for one in pits])
    clean = [one for one in test if truth[one.path] == "clean"]
    clean_yield = np.mean([one.score < 0.5 for one in clean])
    held: dict[object, list[bool]] = {}
    totals: dict[object, list[float]] = {}
    for seed in range(DRAWS):
        queue = draw_queue(ranked, "crops", CLASSES, request(15, controls, 0, seed))
        decisions = [
            ReviewDecision(item, outcome[truth[item.path]], "", ("ann",), "")
            for item in queue.items
        ]
        for one in estimate_noise(queue, decisions):
            key = (one.split, one.label)
            wrong = sum(
                truth[n.path] != n.label
                for n in ranked
                if one.split in (None, n.split) and one.label in (None, n.label)
            )
            held.setdefault(key, []).append(one.wrong.low <= wrong <= one.wrong.high)
            totals.setdefault((*key, wrong), []).append(one.wrong.estimate)
        rates = estimate_rates(queue, decisions, 0.5)
        held.setdefault("recall", []).append(rates.recall.low <= recall <= rates.recall.high)
        found = rates.clean_yield
        held.setdefault("yield", []).append(found.low <= clean_yield <= found.high)
    assert {key: np.mean(kept) for key, kept in held.items() if np.mean(kept) < 0.95} == {}
    for (split, label, wrong), estimates in totals.items():
        error = np.std(estimates) / np.sqrt(DRAWS)
        assert abs(np.mean(estimates) - wrong) <= 4 * error + 1e-9, (split, label)
