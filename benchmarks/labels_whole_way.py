"""Rank, review, mend, train again: what that buys, by labels and in truth, and what may break.

python benchmarks/labels_whole_way.py --store STORE --seeds 0 1
python benchmarks/labels_whole_way.py --simulations 1000

The first trains: each seed draws its own set with known truth, ranks all labels with one network's
folds, lets three scripted reviewers who err judge pictures in two ways, and
compares by ``drupe labels effect``. *naive*: the suspects of all splits are looked at and nothing
else. *whole*: the suspects of fit, and all of calibration and test. Prints a row (JSON) per set.

The second trains nothing: scores are drawn, and thresholds certified on labels mended in both ways
are held against the recall of the line. Prints a row per kind and rate of noise, which are those of
``labels_trap.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from drupe.data.discover import discover
from drupe.data.label_history import read_history
from drupe.data.overlay import history_folder, restore_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.evaluation.candidates import certified_candidate
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.labels.effect import EffectRequest, LabelState, RepairEffect, open_state, train_effect
from drupe.labels.ranking import write_ranking
from drupe.labels.review.answers import ReviewAnswer, open_log
from drupe.labels.review.application import apply_review
from drupe.labels.review.decisions import Rule
from drupe.labels.review.preparation import open_queue
from drupe.labels.review.queue import ReviewQueue, ReviewRequest, order_for
from drupe.labels.run_ranking import Folds, rank_run
from drupe.runs.layout import RunFolder
from drupe.runs.record import now
from drupe.study.execution.local import LocalExecutor
from drupe.training.config import ExperimentConfig, validate_experiment
from drupe.training.run import train_run
from labels_trap import certified_at, drawn_set, recall_on_the_line
from provenance import circumstances

ALL = 1_000_000
REVIEWERS = ("ann", "bob", "eve")
WAYS = ("naive", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--simulations", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.03], help="wrong labels")
    parser.add_argument("--reviewer-errors", type=float, default=0.05)
    parser.add_argument("--rule", choices=("majority", "unanimous"), default="unanimous")
    parser.add_argument("--suspects", type=int, default=150)
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--trainings", type=int, default=3, help="seeds of each state")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--min-recall", type=float, default=0.99)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--defects", type=float, default=0.45, help="share, of simulated sets")
    parser.add_argument(
        "--quality", type=float, default=2.5, help="of simulated scores, deviations"
    )
    arguments = parser.parse_args()
    if arguments.simulations:
        for kind in ("random", "look-alike", "shared"):
            for noise in arguments.noise:
                print(json.dumps(simulated(kind, noise, arguments), ensure_ascii=False), flush=True)
        return
    if arguments.store is None:
        parser.error("--store: needed to train; or give --simulations")
    for seed in arguments.seeds:
        for noise in arguments.noise:
            print(json.dumps(trained(seed, noise, arguments), ensure_ascii=False), flush=True)


# --- With networks -------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoisySet:
    """A synthetic set with wrong labels, the recipe for it, and where things are kept."""

    config: ExperimentConfig
    wrong: frozenset[str]
    folder: Path

    @property
    def root(self) -> Path:
        """The folder of crops."""
        assert self.config.data.root is not None
        return self.config.data.root

    @property
    def store(self) -> Path:
        """Where packs, fixes and runs are kept."""
        return self.folder / "store"


def trained(seed: int, noise: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one set, which has this seed as its networks have."""
    head = circumstances("labels_whole_way.py", "torch", "timm")
    start = time.perf_counter()
    recipe = {
        "model": {"architecture": arguments.architecture, "pretrained": True},
        "input": {"size": arguments.size, "range": "imagenet"},
        "calibration": {"holdout": 0.45},  # defects enough for 99 %
        "training": {
            "epochs": arguments.epochs,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "threads": arguments.threads,
            "precision": "fp32",  # not by timing: the same everywhere
        },
    }
    one = noisy_set(
        arguments.store / f"whole-way-{seed}-{noise:g}",
        recipe,
        images=arguments.images,
        size=arguments.size,
        seed=seed,
        noise=noise,
    )
    auroc = rank(one, arguments.folds)
    row = {"seed": seed, "noise": noise, "wrong": len(one.wrong), "auroc": round(auroc, 4)}
    request = EffectRequest(
        arguments.trainings, min_recall=arguments.min_recall, confidence=arguments.confidence
    )
    for way in WAYS:
        states = mend(one, way, arguments.suspects, arguments.reviewer_errors, arguments.rule, seed)
        found = train_effect(*states, request, one.store, LocalExecutor())
        row[way] = told(one, states, found)
    return head | row | {"seconds": round(time.perf_counter() - start, 1)}


def noisy_set(
    folder: Path, recipe: Mapping[str, Any], *, images: int, size: int, seed: int, noise: float
) -> NoisySet:
    """Draw a set in ``folder`` in which a share ``noise`` of the labels is wrong."""
    crops = folder / "crops"
    truth = synthesise(crops, images=images, size=size, seed=seed, label_noise=noise)
    document = {"name": "whole-way", "seed": seed, **recipe, "data": {"root": str(crops)}}
    config = validate_experiment(document, "labels_whole_way.py")
    return NoisySet(config, frozenset(truth.label_noise), folder)


def rank(one: NoisySet, folds: int) -> float:
    """Train a run on the labels as they are and rank them; return the AUROC of its folds."""
    run = one.folder / "run"
    restore_fixes(one.root, one.store, (), "before it is ranked")
    train_run(one.config, run, one.store, resume=True)
    found = rank_run(run, Folds(count=folds), one.store)
    write_ranking(RunFolder(run).label_ranking, found.ranking)
    return found.auroc


def mend(
    one: NoisySet, way: str, suspects: int, errors: float, rule: Rule, seed: int
) -> tuple[LabelState, LabelState]:
    """Let people look, apply what they say, and return the labels before and after."""
    restore_fixes(one.root, one.store, (), "before another review")
    before = open_state(one.config, "original", one.store)
    looks: dict[str, tuple[tuple[str, ...], int, int]] = {
        "suspects": (() if way == "naive" else ("fit",), suspects, 0)
    }
    if way == "whole":
        looks |= {split: ((split,), 0, ALL) for split in ("calibration", "test")}
    folders = [one.folder / f"{way}-{name}" for name in looks]
    # All are drawn from the ranking before any label changes.
    for folder, (splits, count, controls) in zip(folders, looks.values(), strict=True):
        request = ReviewRequest(
            ranking=None,
            splits=splits,
            suspects=count,
            controls=controls,
            repeats=0,
            seed=seed,
            types=(),
        )
        listed = RunFolder(one.folder / "run").label_ranking
        is_new = not folder.exists()
        queue = open_queue(folder, one.root, listed, request, one.store)
        if is_new:
            judge(folder, queue, one.wrong, errors)
    for folder in folders:
        apply_review(folder, rule, one.store)
    newest = read_history(history_folder(one.root, one.store))[-1]
    return before, open_state(one.config, newest.name, one.store)


def judge(folder: Path, queue: ReviewQueue, wrong: frozenset[str], errors: float) -> None:
    """Answer everything as it is in truth, but for a share ``errors`` of each one's answers."""
    for number, reviewer in enumerate(REVIEWERS):
        random = np.random.default_rng([int(queue.id, 16), number])
        with open_log(folder, reviewer) as log:
            for showing in order_for(queue, reviewer):
                item = queue.items[showing.item]
                is_clean = (item.label == queue.classes[0]) != (item.path in wrong)
                is_said = is_clean != (random.random() < errors)
                log.append(
                    ReviewAnswer(
                        review=queue.id,
                        reviewer=reviewer,
                        showing=showing.id,
                        judgement="good" if is_said else "defect",
                        type="",
                        at=now(),
                        seconds=1.0,
                        seen=item.sha256,
                    )
                )


def told(
    one: NoisySet, states: tuple[LabelState, LabelState], found: RepairEffect
) -> dict[str, Any]:
    """Return what the effect says, and what is true."""
    effect = found.effect
    figure = effect.clean_yield
    return {
        "wrong_left": {state.name: wrong_labels(one, state) for state in states},
        "conclusion": effect.conclusion,
        "clean_yield": figure.to_json() if figure else None,
        "by_calibration": round(effect.through_calibration.difference, 4)
        if effect.through_calibration
        else None,
        "in_truth": {
            name: in_truth(one, state.runs, effect.min_recall, effect.confidence)
            for name, state in (("before", found.before), ("after", found.after))
        },
        "notes": [*effect.notes, *effect.doubts],
    }


def wrong_labels(one: NoisySet, state: LabelState) -> dict[str, int]:
    """Count the labels of each split that are wrong in truth."""
    dataset, split = state.prepared.dataset, state.prepared.split
    truth = true_labels(one)
    is_wrong = dataset.is_defect != np.array([truth[path] for path in dataset.paths])
    sides = ("fit", "calibration", "test")
    return {side: int(is_wrong[getattr(split, side)].sum()) for side in sides}


def true_labels(one: NoisySet) -> dict[str, bool]:
    """Return by path whether an item is a defect in truth."""
    listing = discover(one.root)
    labels = zip(listing.paths, listing.is_defect.tolist(), strict=True)
    return {path: label != (path in one.wrong) for path, label in labels}


def in_truth(
    one: NoisySet, runs: tuple[Path, ...], min_recall: float, confidence: float
) -> dict[str, Any] | None:
    """Return recall and clean yield of the test by true labels, at each run's certified threshold.

    None where there is no certificate.
    """
    models = [read_run_predictions(run) for run in runs]
    thresholds = certified_candidate(models, min_recall, confidence, []).thresholds
    if thresholds is None:
        return None
    truth = true_labels(one)
    recalls, yields = [], []
    for model, threshold in zip(models, thresholds, strict=True):
        assert model.test is not None
        table = model.test.distinct
        is_defect = np.array([truth[path] for path in table.paths])
        rejected = table.scores >= np.float32(threshold)
        recalls.append(round(float(rejected[is_defect].mean()), 4))
        yields.append(round(float((~rejected[~is_defect]).mean()), 4))
    return {"recall": recalls, "clean_yield": yields}


# --- With drawn scores ---------------------------------------------------------------------------


def simulated(kind: str, noise: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one kind and rate of noise: certificates on labels of four kinds."""
    head = circumstances("labels_whole_way.py", "scipy")
    random = np.random.default_rng(17)
    ways: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.simulations):
        for name, found in one_simulation(random, kind, noise, arguments).items():
            ways.setdefault(name, []).append(found)
    row: dict[str, Any] = {"noise": kind, "rate": noise, "simulations": arguments.simulations}
    row |= {"images": arguments.images, "reviewer_errors": arguments.reviewer_errors}
    for name, values in ways.items():
        recalls, yields = np.array(values).T
        broken = recalls < arguments.min_recall
        row[name] = {
            "broken": round(float(broken.mean()), 3),
            "recall": round(float(recalls.mean()), 4),
            "lowest_recall_of_20": round(float(np.quantile(recalls, 0.05)), 4),
            "clean_yield": round(float(yields.mean()), 4),
        }
    return head | row


def one_simulation(
    random: np.random.Generator, kind: str, noise: float, arguments: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Return recall and clean yield on the line of the threshold that each way certifies."""
    drawn = drawn_set(random, kind, noise, arguments)
    labels = drawn.truth ^ drawn.wrong
    votes = drawn.truth ^ (random.random((3, len(labels))) < arguments.reviewer_errors)
    majority = votes.sum(axis=0) > 1
    unanimous = np.where(votes.all(axis=0) | ~votes.any(axis=0), votes[0], labels)
    suspects = np.zeros(len(labels), np.bool_)
    suspects[np.argsort(np.where(labels, drawn.logits, -drawn.logits))[: arguments.suspects]] = True
    ways = {
        "labels": labels,
        "naive": np.where(suspects, majority, labels),
        "whole, majority": majority,
        "whole, unanimous": unanimous,
        "truth": drawn.truth,
    }
    points = {}
    for name, way in ways.items():
        at = certified_at(drawn.logits, way, arguments.min_recall)
        assert at is not None  # there are defects enough
        clean_yield = float(norm.cdf(at + arguments.quality))
        points[name] = (recall_on_the_line(at, drawn.share_hidden, arguments.quality), clean_yield)
    return points


if __name__ == "__main__":
    main()
