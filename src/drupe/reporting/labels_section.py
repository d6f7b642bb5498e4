"""The report's section about labels that may be wrong, of all splits, where a run ranked them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drupe.labels.ranking import OTHER_CLASS, RankedLabel, read_ranking
from drupe.reporting.pictures import Pictures
from drupe.runs.layout import RunFolder

SHOWN = 48
"""Doubtful labels shown, the most doubtful first; the rest is counted."""

SPLITS = ("fit", "calibration", "test")
COLUMNS = ("split", "items", "sure of the other class", "unsure")


@dataclass(frozen=True)
class DoubtfulLabel:
    """A ranked item whose scores are sure of the other class.

    ``picture``, and ``beside``, that of the item with the other label which looks most like it:
    None where there is none.
    """

    item: RankedLabel
    picture: str | None
    beside: str | None

    @property
    def near(self) -> str:
        """Path of the item with the other label that looks most like it, '' where none is known."""
        return self.item.near_other[0] if self.item.near_other else ""


@dataclass(frozen=True)
class LabelsSection:
    """What ``drupe labels rank`` found of a run: counts by split, and the first doubtful labels.

    ``rows``: see :data:`COLUMNS`; ``doubtful`` counts all, shown or not.
    """

    run: str
    rows: tuple[tuple[str, str, str, str], ...]
    doubtful: int
    shown: tuple[DoubtfulLabel, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of ``rows``."""
        return COLUMNS

    @property
    def ranking(self) -> str:
        """The file that holds the whole ranking."""
        return str(RunFolder(Path(self.run)).label_ranking)


def labels_section(runs: Sequence[Path], pictures: Pictures) -> LabelsSection | None:
    """Return the section for the first of ``runs`` that has a ranking.

    Raises:
        InputError: a damaged ranking.
    """
    for run in runs:
        file = RunFolder(run).label_ranking
        if file.exists():  # which files may be read is for the pictures to say
            return _section(run, read_ranking(file, elsewhere=None), pictures)
    return None


def _section(run: Path, ranking: Sequence[RankedLabel], pictures: Pictures) -> LabelsSection:
    counts = Counter((one.split, one.reason) for one in ranking)
    items = Counter(one.split for one in ranking)
    doubtful = [one for one in ranking if one.reason == OTHER_CLASS]
    return LabelsSection(
        run=str(run),
        rows=tuple(
            (
                split,
                f"{items[split]:,}",
                f"{counts[split, OTHER_CLASS]:,}",
                f"{counts[split, 'unsure']:,}",
            )
            for split in SPLITS
            if items[split]
        ),
        doubtful=len(doubtful),
        shown=tuple(
            DoubtfulLabel(
                one,
                pictures.of(one.path),
                pictures.of(one.near_other[0]) if one.near_other else None,
            )
            for one in doubtful[:SHOWN]
        ),
    )
