"""Items ordered by how little the scores agree with their label, for a person to look at.

Letters: n items.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.predictions import finite_logits
from drupe.files import write_text
from drupe.labels.confident import confident_labels, normalised_margin, self_confidence
from drupe.printable import spreadsheet_cell


@dataclass(frozen=True)
class RankedLabel:
    """An item's place in the ranking, from 1, and what put it there.

    ``score`` is the probability of a defect, ``self_confidence`` that of the item's own label, and
    ``margin`` that less the other class's. ``reason``: the scores are
    confident of the ``other class``, of none (``unsure``), or of the label (``agrees``).
    """

    rank: int
    path: str
    split: str
    label: str
    score: float
    self_confidence: float
    margin: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ScoredLabels:
    """n items with out-of-sample scores.

    ``labels`` (int64 [n]) index ``classes``, (clean, defect); ``splits`` name the split of each;
    ``groups`` (int [n]) have equal numbers for copies; ``probabilities`` are float64 [n, 2].
    """

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.integer]
    probabilities: NDArray[np.float64]
    classes: tuple[str, str]


def class_probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return P(clean) and P(defect), float64 [n, 2], of ``logits`` z at ``temperature`` T.

    Both from z / T itself: 1 − sigmoid(z / T) would lose the order of the surest items.
    """
    scaled = finite_logits(logits) / temperature
    return np.exp(-np.logaddexp(0.0, np.column_stack([scaled, -scaled])))


def rank_labels(items: ScoredLabels) -> tuple[RankedLabel, ...]:
    """Return all items, the least self-confident first; ties by margin, then by path."""
    own = self_confidence(items.probabilities, items.labels)
    margin = normalised_margin(items.probabilities, items.labels)
    found = confident_labels(items.probabilities, items.labels)
    order = np.lexsort((np.array(items.paths, object), margin, own))
    return tuple(
        RankedLabel(
            rank=rank,
            path=items.paths[index],
            split=items.splits[index],
            label=items.classes[items.labels[index]],
            score=float(items.probabilities[index, 1]),
            self_confidence=float(own[index]),
            margin=float(margin[index]),
            reason=_reason(int(found[index]), int(items.labels[index])),
        )
        for rank, index in enumerate(order.tolist(), 1)
    )


def write_ranking(path: Path, ranking: Sequence[RankedLabel]) -> None:
    """Write the ranking as CSV, atomically: a row per item, its columns the fields."""
    columns = [field.name for field in fields(RankedLabel)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {
            name: spreadsheet_cell(value) if isinstance(value, str) else value
            for name, value in one.to_json().items()
        }
        for one in ranking
    )
    write_text(path, text.getvalue())


def _reason(found: int, label: int) -> str:
    if found < 0:
        return "unsure"
    return "agrees" if found == label else "other class"
