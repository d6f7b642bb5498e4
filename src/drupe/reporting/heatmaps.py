"""Where a run's wrong decisions come from: heatmaps of a few misses and false rejects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from drupe.data.decode import UnreadableImageError
from drupe.deployment.eager import eager_explainer
from drupe.deployment.explain import Explanation
from drupe.deployment.manifest import MANIFEST
from drupe.deployment.runtime import load
from drupe.deployment.timing import until
from drupe.evaluation.metrics import ARGMAX_THRESHOLD
from drupe.reporting.gallery import Gallery, Mistake
from drupe.reporting.pictures import Pictures
from drupe.reporting.run_section import ThresholdHolder
from drupe.reporting.study_files import StudyRun

MOST_OF_A_KIND = 4
"""Misses explained, and false rejects explained: each takes about 900 decisions."""

MOST_HOLDERS = 8
"""Of the crops that hold a threshold, those explained."""

SECONDS = 60.0
"""No further crop is begun after this time: a large network may take half a minute for one."""


@dataclass(frozen=True)
class Heatmap:
    """A crop that is decided wrongly; ``heat`` shows it in grey with what speaks for a defect."""

    path: str
    kind: str
    is_miss: bool
    label: str
    score: float
    picture: str | None
    heat: str


@dataclass(frozen=True)
class Heatmaps:
    """Heatmaps of ``run`` by ``function``, of crops wrong at ``threshold``; ``wrong`` counts all.

    Fewer than could be are shown where time or room ran out, or files can't be read.
    """

    run: str
    function: str
    threshold: float
    is_certified: bool
    wrong: int
    shown: tuple[Heatmap, ...]


@dataclass(frozen=True)
class Explainer:
    """A function, by name, and what says where its score of a file comes from."""

    name: str
    explain: Callable[[Path], Explanation]
    is_bgr: bool = False

    @classmethod
    def of(cls, source: Path) -> Explainer:
        """Take the function that a bundle prefers, or a run's own network.

        Raises:
            InputError: a damaged bundle, or a run without its network.
        """
        if (source / MANIFEST).is_file():
            classifier = load(source, uncertified=True)
            is_bgr = classifier.manifest.input.channels == "bgr"
            return cls(classifier.function.name, classifier.explain, is_bgr)
        return cls("its network in PyTorch", eager_explainer(source))


def find_heatmaps(
    run: StudyRun, place: int, explainer: Explainer, gallery: Gallery, pictures: Pictures
) -> Heatmaps:
    """Explain mistakes of ``run``, whose place among the gallery's runs is ``place``."""
    threshold = run.certificate.threshold if run.certificate else ARGMAX_THRESHOLD
    wrong = [one for one in gallery.mistakes if _is_wrong(one, place, threshold)]
    misses = [one for one in wrong if one.is_defect][:MOST_OF_A_KIND]
    others = [one for one in wrong if not one.is_defect][:MOST_OF_A_KIND]
    # In turns: where time runs out there are some of both.
    chosen = [one for one in chain.from_iterable(zip_longest(misses, others)) if one]
    found = (_heatmap(one, place, explainer, pictures) for one in until(SECONDS, chosen))
    return Heatmaps(
        run=run.name,
        function=explainer.name,
        threshold=threshold,
        is_certified=run.certificate is not None,
        wrong=len(wrong),
        shown=tuple(one for one in found if one),
    )


def explain_holders(
    holders: Sequence[ThresholdHolder], explainer: Explainer, pictures: Pictures
) -> tuple[ThresholdHolder, ...]:
    """Return the ``holders``, the first of them with what speaks for a defect in them."""
    found = [
        replace(one, heat=_heat(one.path, explainer, pictures))
        for one in until(SECONDS, holders[:MOST_HOLDERS])
    ]
    return (*found, *holders[len(found) :])


def _is_wrong(mistake: Mistake, place: int, threshold: float) -> bool:
    is_rejected = np.float32(mistake.scores[place]) >= np.float32(threshold)
    return bool(is_rejected != mistake.is_defect)


def _heatmap(
    mistake: Mistake, place: int, explainer: Explainer, pictures: Pictures
) -> Heatmap | None:
    """Return the heatmap of a mistake, None where its file isn't there or can't be read."""
    heat = _heat(mistake.path, explainer, pictures)
    if heat is None:
        return None
    return Heatmap(
        path=mistake.path,
        kind=mistake.kind,
        is_miss=mistake.is_defect,
        label=mistake.label,
        score=mistake.scores[place],
        picture=mistake.picture,
        heat=heat,
    )


def _heat(path: str, explainer: Explainer, pictures: Pictures) -> str | None:
    """Return the picture of where a crop's score comes from, None where there can be none."""
    file = pictures.file(path)
    if file is None:
        return None
    try:
        found = explainer.explain(file)
    except UnreadableImageError:
        return None
    return pictures.draw(found.overlay(explainer.is_bgr))
