"""From wrong labels to what mending them bought: each step by its command, looks in Chromium."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import yaml

from browser import PATIENCE, needs_browser
from drupe.labels.effect import open_state
from drupe.labels.review.queue import read_queue
from labels_whole_way import noisy_set, wrong_labels
from review_page import judge_all, wait_for
from review_process import ReviewProcess
from tiny_recipe import TINY_RECIPE

pytestmark = [pytest.mark.thorough, needs_browser]
TARGET = ("--min-recall", "0.9", "--confidence", "0.8")


def test_from_a_ranking_over_the_page_to_what_it_bought(tmp_path, quick, chromium) -> None:
    one = noisy_set(tmp_path, TINY_RECIPE, images=240, size=48, seed=3, noise=0.12)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({"name": "tiny", "seed": 3, **TINY_RECIPE}))
    places = ("--store", one.store)
    trained = quick("train", recipe, "--data", one.root, "--out", tmp_path / "run", *places)
    assert trained.code == 0, trained.stderr
    ranked = quick("labels", "rank", "--run", tmp_path / "run", "--folds", "2", *places)
    assert ranked.code == 0, ranked.stderr

    everything = ("--suspects", "40", "--controls", "1000", "--repeats", "10")
    words = ("labels", "review", tmp_path / "run/labels.csv", "--out", "review")
    server = ReviewProcess(tmp_path, *words, *everything, *places)
    queue = read_queue(tmp_path / "review")
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.where)
    wait_for(page, 0)
    pressed, slips = judge_all(page, queue, set(one.wrong), np.random.default_rng(3))
    page.close()
    server.process.send_signal(signal.SIGINT)
    said, _ = server.process.communicate(timeout=30)
    assert said == f"{len(pressed)} of {len(pressed)} pictures answered: review\n"

    applied = quick("labels", "apply", "review", "--json", *places)
    assert applied.code == 0, applied.stderr
    document = json.loads(applied.stdout)
    changed = {change["path"] for change in document["changes"]}
    assert {change["cause"] for change in document["changes"]} == {"all"}
    assert changed - slips == set(one.wrong) - slips
    before, after = (
        sum(wrong_labels(one, open_state(one.config, name, one.store)).values())
        for name in ("original", None)
    )
    assert after <= len(slips) < before == len(one.wrong)

    effect = quick(
        "labels", "effect", recipe, "--data", one.root, "--seeds", "2", *TARGET, "--json", *places
    )
    assert effect.code == 0, effect.stderr
    found = json.loads(effect.stdout)
    assert sum(split["relabelled"] for split in found["changed"]) == len(changed)
    assert found["conclusion"] in ("gained", "lost", "not shown")
    assert found["doubts"] == []
    bought = next(one for one in found["figures"] if one["metric"] == "clean_yield")
    assert bought["low"] <= bought["difference"] <= bought["high"]
