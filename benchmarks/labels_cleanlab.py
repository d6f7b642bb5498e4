"""cleanlab's orders of given scores; ``labels_rank.py`` runs this where cleanlab is installed.

python benchmarks/labels_cleanlab.py SCORES.npz

Prints JSON: the name of each order, and the places of the items in it, the most doubtful first.
Nothing of Drupe is imported here.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def main() -> None:
    with np.load(sys.argv[1]) as file:
        labels, probabilities = file["labels"], file["probabilities"]
    orders = {}
    for method in METHODS:
        quality = get_label_quality_scores(labels, probabilities, method=method)
        orders[method] = np.argsort(quality, kind="stable").tolist()
    issues = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    ).tolist()
    rest = [item for item in orders["self_confidence"] if item not in set(issues)]
    orders["find_label_issues"] = issues + rest
    print(json.dumps(orders))


if __name__ == "__main__":
    main()
