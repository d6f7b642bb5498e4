"""What "correct only where the model disagrees" does to test figures, and what honest figures say.

python benchmarks/labels_trap.py --simulations 1000

Every simulation draws a set with known truth and one classifier's scores, turns some labels round,
and judges the classifier at 0.5 four ways: by the labels as they are, by labels corrected among the
suspects alone, by the design-weighted estimate from suspects and random controls, and by the truth.
A threshold is certified by three of these, and held against the recall of the line. Reviewers make
no mistakes here: the trap is in what is looked at. Prints one row (JSON) per kind and rate.

Noise: ``random`` turns anybody's label, ``look-alike`` rather those near the classifier's border;
``shared`` is defects that look clean to the people who labelled as to the classifier.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from drupe.evaluation.certificate import NotCertifiableError, certify_threshold
from drupe.evaluation.predictions import scores_from_logits
from drupe.labels.design import DrawnStratum, design_rate
from provenance import circumstances

Bools = NDArray[np.bool_]
Scores = NDArray[np.float64]
RECALLS = ("labels", "naive", "design", "low", "high", "truth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--defects", type=float, default=0.45, help="share of the images")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.03, 0.06])
    parser.add_argument("--suspects", type=int, default=100)
    parser.add_argument("--controls", type=int, default=200)
    parser.add_argument("--min-recall", type=float, default=0.98)
    parser.add_argument("--quality", type=float, default=1.65, help="of scores, in deviations")
    arguments = parser.parse_args()
    for kind in ("random", "look-alike", "shared"):
        for noise in arguments.noise:
            print(json.dumps(measure(kind, noise, arguments), ensure_ascii=False), flush=True)


def measure(kind: str, noise: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one kind and rate of noise: means over the simulations."""
    head = circumstances("labels_trap.py", "scipy")
    random = np.random.default_rng(16)
    start = time.perf_counter()
    found = [simulate(random, kind, noise, arguments) for _ in range(arguments.simulations)]
    columns = {name: np.array([one[name] for one in found]) for name in found[0]}
    truth = columns["truth"]
    return head | {
        "noise": kind,
        "rate": noise,
        "simulations": arguments.simulations,
        "images": arguments.images,
        "suspects": arguments.suspects,
        "controls": arguments.controls,
        "recall": {name: round(float(columns[name].mean()), 4) for name in RECALLS},
        "naive_above_truth": round(float(np.mean(columns["naive"] > truth)), 3),
        "interval_holds_truth": round(
            float(np.mean((columns["low"] <= truth) & (truth <= columns["high"]))), 3
        ),
        "certificates_broken": {
            name: round(float(columns[f"broken {name}"].mean()), 3)
            for name in ("labels", "naive", "truth")
        },
        "seconds": round(time.perf_counter() - start, 1),
    }


def simulate(
    random: np.random.Generator, kind: str, noise: float, arguments: argparse.Namespace
) -> dict[str, float]:
    """Return recall at 0.5 by each way, and whether each way's certificate breaks its promise."""
    one = drawn_set(random, kind, noise, arguments)
    count, truth, logits = len(one.truth), one.truth, one.logits
    labels, rejected = truth ^ one.wrong, logits >= 0
    own = np.where(labels, logits, -logits)  # the logit of the item's own label
    suspects = np.zeros(count, np.bool_)
    suspects[np.argsort(own)[: arguments.suspects]] = True
    naive = np.where(suspects, truth, labels)
    drawn = np.zeros(count, np.bool_)
    drawn[random.choice(np.flatnonzero(~suspects), arguments.controls, replace=False)] = True
    caught = [stratum(truth & rejected, suspects, drawn)]
    missed = [stratum(truth & ~rejected, suspects, drawn)]
    rate = design_rate(caught, missed)
    assert rate.estimate is not None
    ways = {"labels": labels, "naive": naive, "truth": truth}
    return {
        **{name: recall(way, rejected) for name, way in ways.items()},
        "design": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        **{f"broken {name}": is_broken(one, way, arguments) for name, way in ways.items()},
    }


@dataclass(frozen=True)
class DrawnSet:
    """A set with known truth: bool [N], a classifier's logits, which labels are wrong.

    ``share_hidden``: of the defects, on the line too, that look clean.
    """

    truth: Bools
    logits: Scores
    wrong: Bools
    share_hidden: float


def drawn_set(
    random: np.random.Generator, kind: str, noise: float, arguments: argparse.Namespace
) -> DrawnSet:
    count = arguments.images
    truth = random.random(count) < arguments.defects
    hidden = np.zeros(count, np.bool_)
    share_hidden = noise / arguments.defects if kind == "shared" else 0.0
    if kind == "shared":
        hidden = truth & (random.random(count) < share_hidden)
    looks = np.where(truth & ~hidden, arguments.quality, -arguments.quality)
    logits = random.normal(looks, 1.0)
    wrong = hidden if kind == "shared" else turned(random, kind, noise, logits)
    return DrawnSet(truth, logits, wrong, share_hidden)


def is_broken(one: DrawnSet, labels: Bools, arguments: argparse.Namespace) -> float:
    """Return 1 where the threshold certified on these labels misses its recall on the line."""
    at = certified_at(one.logits, labels, arguments.min_recall)
    if at is None:
        return 0.0
    true = recall_on_the_line(at, one.share_hidden, arguments.quality)
    return float(true < arguments.min_recall)


def certified_at(logits: Scores, labels: Bools, min_recall: float) -> float | None:
    """Return the logit of the threshold that is certified on these labels, if there is one."""
    scores = scores_from_logits(logits.astype(np.float32), 1.0)
    try:
        certificate = certify_threshold(scores, labels, min_recall=min_recall, confidence=0.95)
    except NotCertifiableError:
        return None
    return float(np.log(certificate.threshold / (1 - certificate.threshold)))


def recall_on_the_line(at: float, share_hidden: float, quality: float) -> float:
    """Return the recall of the logit ``at`` as a threshold, where some defects look clean."""
    seen, unseen = norm.sf(at - quality), norm.sf(at + quality)
    return float((1 - share_hidden) * seen + share_hidden * unseen)


def turned(random: np.random.Generator, kind: str, noise: float, logits: Scores) -> Bools:
    """Return whose label is turned round: anyone's, or that of what lies near the border."""
    if kind == "random":
        return random.random(len(logits)) < noise
    nearness = np.exp(-np.abs(logits))
    return random.random(len(logits)) < np.minimum(1.0, noise * nearness / nearness.mean())


def stratum(is_yes: Bools, suspects: Bools, drawn: Bools) -> DrawnStratum:
    return DrawnStratum(
        certain_yes=int(np.count_nonzero(is_yes & suspects)),
        certain_open=0,
        others=int(np.count_nonzero(~suspects)),
        drawn=int(np.count_nonzero(drawn)),
        yes=int(np.count_nonzero(is_yes & drawn)),
        open=0,
    )


def recall(is_defect: Bools, rejected: Bools) -> float:
    return float(np.mean(rejected[is_defect]))


if __name__ == "__main__":
    main()
