"""The crops that some run decides wrongly, and those of them whose label may be the mistake.

Letters: R runs, N test items. All test items are looked at, copies too: a fix names files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.metrics import ARGMAX_THRESHOLD
from drupe.reporting.pictures import Pictures
from drupe.reporting.study_files import StudyFiles

CONFIDENT = 0.9
"""A label is suspected where every run's score of the *other* class is at least this."""

MOST_OF_A_KIND = 300
"""Misses shown, and false rejects shown: the page stays usable, the rest is counted."""


@dataclass(frozen=True)
class SeedAgreement:
    """The seeds of one model on an item: how many decide it wrongly, and their scores."""

    model: str
    wrong: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Mistake:
    """An item that at least one run decides wrongly at 0.5, or at its certified threshold.

    ``sha256`` (hex): of the file that ``picture`` shows, empty where there is none.
    ``scores`` and ``wrong`` follow the order of the runs; ``missed_when_certified`` are the runs
    (by place) whose certified threshold accepts this defect.
    """

    path: str
    is_defect: bool
    label: str
    other: str
    scores: tuple[float, ...]
    wrong: tuple[int, ...]
    missed_when_certified: tuple[int, ...]
    suspected: bool
    agreement: tuple[SeedAgreement, ...]
    picture: str | None
    sha256: str

    @property
    def kind(self) -> str:
        """A ``miss``, or a ``false reject``."""
        return "miss" if self.is_defect else "false reject"

    @property
    def median(self) -> float:
        """The median score of the runs."""
        return float(np.median(self.scores))

    @property
    def reason(self) -> str:
        """The reason that a fix list gives."""
        runs = len(self.scores)
        return (
            f"labelled {self.label}; {len(self.wrong)} of {runs} "
            f"{'run' if runs == 1 else 'runs'} wrong at 0.5, median score {self.median:.3g}"
        )


@dataclass(frozen=True)
class Gallery:
    """The mistakes, misses first; ``misses`` and ``false_rejects`` count all, shown or not.

    ``run_names`` stand in the order of each mistake's scores.
    """

    run_names: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    misses: int
    false_rejects: int

    @property
    def suspected(self) -> int:
        """The number of those shown that have a suspected label."""
        return sum(item.suspected for item in self.mistakes)

    @property
    def left_out(self) -> int:
        """The number of mistakes that are counted but not shown."""
        return self.misses + self.false_rejects - len(self.mistakes)

    @property
    def has_pictures(self) -> bool:
        """True where any crop could be shown."""
        return any(item.picture for item in self.mistakes)


def find_mistakes(study: StudyFiles, pictures: Pictures) -> Gallery:
    """Collect the mistakes: suspected labels first within a kind, then by how many runs agree."""
    scores, is_defect = study.scores, study.items.is_defect
    wrong = (scores >= np.float32(ARGMAX_THRESHOLD)) != is_defect
    below = _below_certified(study, scores)
    missed = below & is_defect
    certified = np.array([run.certificate is not None for run in study.runs])
    wasted = ~below & ~is_defect & certified[:, None]
    confident = np.where(is_defect, 1 - scores, scores).min(axis=0) >= CONFIDENT
    involved = (wrong | missed | wasted).any(axis=0)
    # How far the runs stand on the wrong side, on average.
    distance = np.where(is_defect, 0.5 - scores, scores - 0.5).mean(axis=0)
    order = np.lexsort((-distance, -wrong.sum(axis=0), ~confident))
    order = order[involved[order]]
    misses, false_rejects = order[is_defect[order]], order[~is_defect[order]]
    shown = [*misses[:MOST_OF_A_KIND], *false_rejects[:MOST_OF_A_KIND]]
    return Gallery(
        run_names=tuple(run.name for run in study.runs),
        mistakes=tuple(
            _mistake(study, int(item), scores, wrong, missed, bool(confident[item]), pictures)
            for item in shown
        ),
        misses=len(misses),
        false_rejects=len(false_rejects),
    )


def _below_certified(study: StudyFiles, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return bool [R, N]: below the run's certified threshold; nothing where it has none."""
    limits = [run.certificate.threshold if run.certificate else -1.0 for run in study.runs]
    return scores < np.array(limits, np.float32)[:, None]


def _mistake(
    study: StudyFiles,
    item: int,
    scores: NDArray[np.float32],
    wrong: NDArray[np.bool_],
    missed: NDArray[np.bool_],
    suspected: bool,
    pictures: Pictures,
) -> Mistake:
    place = {run.key: index for index, run in enumerate(study.runs)}
    agreement = []
    for model in study.models:
        rows = [place[run.key] for run in model.runs]
        agreement.append(
            SeedAgreement(
                model.name, int(wrong[rows, item].sum()), tuple(scores[rows, item].tolist())
            )
        )
    is_defect = bool(study.items.is_defect[item])
    clean, defect = study.classes
    path = study.items.paths[item]
    return Mistake(
        path=path,
        is_defect=is_defect,
        label=defect if is_defect else clean,
        other=clean if is_defect else defect,
        scores=tuple(scores[:, item].tolist()),
        wrong=tuple(np.flatnonzero(wrong[:, item]).tolist()),
        missed_when_certified=tuple(np.flatnonzero(missed[:, item]).tolist()),
        suspected=suspected,
        agreement=tuple(agreement),
        picture=pictures.of(path),
        sha256=pictures.digest(path),
    )
