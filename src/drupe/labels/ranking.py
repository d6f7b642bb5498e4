"""Items ordered by how little the scores agree with their label, for a person to look at.

Letters: n items.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.fixes import is_inside
from drupe.errors import InputError, shortened
from drupe.evaluation.predictions import finite_logits
from drupe.files import write_text
from drupe.labels.confident import confident_labels, normalised_margin, self_confidence
from drupe.labels.neighbours import NearItems
from drupe.printable import from_spreadsheet_cell, spreadsheet_cell

OTHER_CLASS = "other class"
"""The reason of an item whose scores are sure of another label than its own."""

SHOWN = 10
"""Wrong lines named in a message before it only counts."""


@dataclass(frozen=True)
class RankedLabel:
    """An item's place in the ranking, from 1, and what put it there.

    ``score`` is the probability of a defect, ``self_confidence`` that of the item's own label, and
    ``margin`` that less the other class's. ``reason``: the scores are
    confident of the ``other class``, of none (``unsure``), or of the label (``agrees``).
    ``near_own`` and ``near_other``: paths of the items that look most like it to a network, of its
    own label and of the other; empty where they weren't looked for.
    """

    rank: int
    path: str
    split: str
    label: str
    score: float
    self_confidence: float
    margin: float
    reason: str
    near_own: tuple[str, ...] = ()
    near_other: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)

    def to_row(self) -> dict[str, Any]:
        """Return every field as a cell of a table: paths of neighbours as a JSON list."""
        return {name: _cell(value) for name, value in asdict(self).items()}


COLUMNS = tuple(field.name for field in fields(RankedLabel))
NEIGHBOURS = ("near_own", "near_other")
NO_NEIGHBOURS: Mapping[str, NearItems] = MappingProxyType({})


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


def rank_labels(
    items: ScoredLabels, neighbours: Mapping[str, NearItems] = NO_NEIGHBOURS
) -> tuple[RankedLabel, ...]:
    """Return all items, the least self-confident first; ties by margin, then by path.

    ``neighbours``: of those of the items, by path, for which they were looked for.
    """
    own = self_confidence(items.probabilities, items.labels)
    margin = normalised_margin(items.probabilities, items.labels)
    found = confident_labels(items.probabilities, items.labels)
    order = np.lexsort((np.array(items.paths, object), margin, own))
    near = [neighbours.get(path, NearItems()) for path in items.paths]
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
            near_own=near[index].own,
            near_other=near[index].other,
        )
        for rank, index in enumerate(order.tolist(), 1)
    )


def write_ranking(path: Path, ranking: Sequence[RankedLabel]) -> None:
    """Write the ranking as CSV, atomically: a row per item, its columns the fields."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(one.to_row() for one in ranking)
    write_text(path, text.getvalue())


def is_ranking(path: Path) -> bool:
    """Return whether the file at ``path`` is meant as a ranking: by the name of a column."""
    with path.open("rb") as file:
        return b"self_confidence" in file.readline()


def read_ranking(
    path: Path, elsewhere: Container[str] | None = frozenset()
) -> tuple[RankedLabel, ...]:
    """Read a ranking that :func:`write_ranking` wrote.

    ``elsewhere``: paths outside the dataset's folder that a table names; None: any, for whoever
    reads no file by them.

    Raises:
        InputError: a missing or damaged file, with every line that is wrong.
    """
    columns = [name for name in COLUMNS if name not in NEIGHBOURS]  # which earlier versions lack
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be a CSV file in UTF-8, got {error}") from None
    table = csv.DictReader(io.StringIO(text, newline=""), restval="")
    missing = [name for name in columns if name not in (table.fieldnames or [])]
    if missing:
        raise InputError(
            f"{path}: must be a ranking that drupe labels rank wrote, with the columns "
            f"{', '.join(columns)}; {', '.join(missing)} missing"
        )
    ranking, problems = [], []
    try:
        for row in table:
            try:
                ranking.append(_ranked(row, elsewhere))
            except ValueError as error:
                problems.append(f"{path}, line {table.line_num}: {error}")
    except csv.Error as error:
        problems.append(f"{path}, line {table.line_num}: not valid CSV ({error})")
    if problems:
        raise InputError(shortened(problems, SHOWN))
    return tuple(ranking)


def _ranked(row: dict[str, str], elsewhere: Container[str] | None) -> RankedLabel:
    """Return a line of a ranking; ``ValueError`` where a figure is none, or a path leads out."""
    path = from_spreadsheet_cell(row["path"])
    if elsewhere is not None and not is_inside(path) and path not in elsewhere:
        raise ValueError(
            f"path: must be relative to the dataset folder and without '..', got {path!r}"
        )
    score, own, margin = (float(row[name]) for name in ("score", "self_confidence", "margin"))
    if not np.isfinite([score, own, margin]).all():
        raise ValueError(
            f"score, self_confidence, margin: must be finite, got {score, own, margin}"
        )
    return RankedLabel(
        rank=int(row["rank"]),
        path=path,
        split=row["split"],
        label=from_spreadsheet_cell(row["label"]),
        score=score,
        self_confidence=own,
        margin=margin,
        reason=row["reason"],
        near_own=_paths(row, "near_own"),
        near_other=_paths(row, "near_other"),
    )


def _paths(row: dict[str, str], column: str) -> tuple[str, ...]:
    """Return the paths in a cell; none where it is empty or there is no such column."""
    text = row.get(column, "")
    try:
        found = json.loads(text) if text else []
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{column}: must be a JSON list of paths, got {text!r}")
    return tuple(found)


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return spreadsheet_cell(value) if isinstance(value, str) else value


def _reason(found: int, label: int) -> str:
    if found < 0:
        return "unsure"
    return "agrees" if found == label else OTHER_CLASS
