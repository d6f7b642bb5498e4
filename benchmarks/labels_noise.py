"""Whether the interval for the number of wrong labels holds the truth, on simulated scores.

python benchmarks/labels_noise.py --sets 200

Every set has items of two classes whose scores are those of the best network that there can be:
the probability of the label, given one normal measure of which the class means lie
``--separations`` deviations apart. Labels are turned round at random. The interval is held against
the number of labels turned in the set, and against that to be expected in such sets. Prints one row
(JSON) per separation and rate; ``auroc`` is against the truth.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from drupe.labels.noise import estimate_wrong_labels
from provenance import circumstances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--defects", type=float, default=0.45, help="share of the items")
    parser.add_argument("--rates", type=float, nargs="*", default=[0.01, 0.03, 0.06])
    parser.add_argument("--separations", type=float, nargs="*", default=[6, 4, 3, 2])
    parser.add_argument("--resamples", type=int, default=200)
    arguments = parser.parse_args()
    for separation in arguments.separations:
        for rate in arguments.rates:
            row = measure(separation, rate, arguments)
            print(json.dumps(row, ensure_ascii=False), flush=True)


def measure(separation: float, rate: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one separation and rate: means over the sets and both classes."""
    head = circumstances("labels_noise.py", "scipy")
    start = time.perf_counter()
    random = np.random.default_rng(16)
    held, held_expected, estimates, turned = [], [], [], []
    for _ in range(arguments.sets):
        probabilities, labels, wrong = simulate(random, separation, rate, arguments)
        found = estimate_wrong_labels(
            probabilities,
            labels,
            np.arange(len(labels)),
            ("clean", "defect"),
            resamples=arguments.resamples,
        )
        estimates.append(sum(one.wrong for one in found))
        turned.append(int(wrong.sum()))
        for label, one in enumerate(found):
            true = int(np.count_nonzero(wrong & (labels == label)))
            share = (1 - arguments.defects, arguments.defects)[1 - label]  # of the other class
            held.append(one.low <= true <= one.high)
            held_expected.append(one.low <= share * rate * len(labels) <= one.high)
    return head | {
        "auroc": round(float(norm.cdf(separation / np.sqrt(2))), 4),
        "separation": separation,
        "rate": rate,
        "sets": arguments.sets,
        "wrong": round(float(np.mean(turned)), 1),
        "estimate": round(float(np.mean(estimates)), 1),
        "holds_the_set": round(float(np.mean(held)), 3),
        "holds_what_is_expected": round(float(np.mean(held_expected)), 3),
        "seconds": round(time.perf_counter() - start, 1),
    }


def simulate(
    random: np.random.Generator, separation: float, rate: float, arguments: argparse.Namespace
) -> tuple[Any, Any, Any]:
    """Return the probabilities of the labels [n, 2], the labels and which of them are turned."""
    defects = arguments.defects
    truth = random.random(arguments.items) < defects
    measure = random.normal(np.where(truth, separation / 2, -separation / 2), 1.0)
    of_defect = expit(separation * measure + np.log(defects / (1 - defects)))
    wrong = random.random(arguments.items) < rate
    labelled = (1 - rate) * of_defect + rate * (1 - of_defect)
    return np.column_stack([1 - labelled, labelled]), (truth ^ wrong).astype(np.int64), wrong


if __name__ == "__main__":
    main()
