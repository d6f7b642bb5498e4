"""From a ranking over a review by people who err to what it bought: with tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.overlay import find_fixes
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.labels.effect import EffectRequest, train_effect
from drupe.study.execution.local import LocalExecutor
from labels_whole_way import NoisySet, in_truth, mend, noisy_set, rank, wrong_labels
from tiny_recipe import TINY_RECIPE

pytestmark = pytest.mark.thorough
REQUEST = EffectRequest(seeds=2, min_recall=0.9, confidence=0.8)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> NoisySet:
    """A set with 24 wrong labels, ranked."""
    folder = tmp_path_factory.mktemp("whole-way")
    one = noisy_set(folder, TINY_RECIPE, images=300, size=48, seed=1, noise=0.08)
    rank(one, 2)
    return one


def test_a_whole_look_leaves_no_doubt_and_is_compared(noisy) -> None:
    states = mend(noisy, "whole", 60, 0.05, "unanimous", seed=1)
    before, after = (wrong_labels(noisy, state) for state in states)
    assert sum(before.values()) == len(noisy.wrong) == 24
    # Three in a row seldom err: nearly all wrong labels of what was looked at as a whole go.
    assert after["calibration"] + after["test"] <= 0.4 * (before["calibration"] + before["test"])
    assert after["fit"] < before["fit"]

    found = train_effect(*states, REQUEST, noisy.store, LocalExecutor())

    effect = found.effect
    assert effect.doubts == ()
    assert effect.conclusion in ("gained", "lost", "not shown")
    assert len(effect.figures) == 4
    assert {one.split: one.relabelled for one in found.changed}["test"] > 0
    # By the labels that people found, what is figured is nearly what is true.
    by_labels = next(one for one in effect.figures if one.metric == "certified_recall")
    true = in_truth(noisy, found.after.runs, REQUEST.min_recall, REQUEST.confidence)
    assert true is not None
    assert by_labels.after.mean == pytest.approx(sum(true["recall"]) / 2, abs=0.05)
    again = train_effect(*states, REQUEST, noisy.store, LocalExecutor())
    assert again == found


def test_correcting_suspects_alone_is_marked(noisy) -> None:
    states = mend(noisy, "naive", 60, 0.05, "majority", seed=1)
    causes = {fix.origin.cause for fix in find_fixes(noisy.root, noisy.store).all if fix.origin}
    assert causes == {"suspect"}
    found = train_effect(*states, EffectRequest(seeds=1), noisy.store, LocalExecutor())
    assert any("changed because a model disagreed" in doubt for doubt in found.effect.doubts)
    assert found.effect.conclusion in ("no certificate", "undecided", "lost", "not shown")
    model = read_run_predictions(found.after.runs[0])
    assert model.test_doubt is not None
    assert Path(found.before.runs[0]).parent.name.startswith("whole-way-original-")
