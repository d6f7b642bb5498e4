"""Heatmaps of a bundle's model card: where it looks where it is wrong, on a few test crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from drupe.deployment.backends import open_session
from drupe.deployment.explain import explain
from drupe.deployment.functions import EvaluatedFunction
from drupe.deployment.gate import Crops
from drupe.deployment.timing import until

MOST_OF_A_KIND = 2
"""Misses shown in the card, and false rejects."""

SECONDS = 60.0
"""No further crop is begun after this time."""


@dataclass(frozen=True)
class CardHeatmap:
    """A test crop that the bundle decides wrongly; ``file``: the picture's name in the bundle."""

    file: str
    path: str
    kind: str
    score: float


def explain_mistakes(
    evaluated: EvaluatedFunction,
    graphs: Mapping[str, bytes],
    test: Crops,
    threads: int | None,
    is_bgr: bool,
) -> dict[CardHeatmap, bytes]:
    """Return PNG files of the test crops that a function decides most wrongly, in turns.

    ``graphs``: the content of each graph file; ``is_bgr``: the order of the channels in ``test``.
    """
    function, split = evaluated.function, evaluated.model.test
    assert split is not None
    scores, is_defect = split.table.scores, split.table.is_defect
    accepted = scores < np.float32(function.low)
    order = np.argsort(scores, kind="stable")
    misses = order[(accepted & is_defect)[order]][:MOST_OF_A_KIND].tolist()
    wasted = order[(~accepted & ~is_defect)[order]][::-1][:MOST_OF_A_KIND].tolist()
    chosen = [one for one in chain.from_iterable(zip_longest(misses, wasted)) if one is not None]
    session = open_session(graphs[function.graph], function.backend, function.precision, threads)
    found = {}
    for number, place in enumerate(until(SECONDS, chosen), start=1):
        shown = CardHeatmap(
            file=f"heatmap-{number}.png",
            path=split.table.paths[place],
            kind="miss" if is_defect[place] else "false reject",
            score=float(scores[place]),
        )
        found[shown] = explain(session, test.images[place]).png(is_bgr)
    return found
