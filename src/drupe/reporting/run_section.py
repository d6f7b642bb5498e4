"""What a report of one run, or of two, answers: the promise, its price, ways on, what changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from drupe.deployment.manifest import Manifest
from drupe.errors import InputError
from drupe.evaluation.certificate import Certificate
from drupe.evaluation.lanes import LaneCounts, Thresholds
from drupe.evaluation.next_steps import NextStep, next_steps
from drupe.evaluation.operating_point import Request, operating_point, request_for
from drupe.reporting.pictures import Pictures
from drupe.reporting.study_files import CommonItems, StudyFiles, StudyRun

SHOWN_CHANGES = 60
"""Crops shown of those that two runs decide otherwise: misses first."""


SHOWN_HOLDERS = 24
"""Calibration defects shown of those that hold a threshold, the lowest scores."""


@dataclass(frozen=True)
class ThresholdHolder:
    """A calibration defect that a threshold rests on; picture: None where there is none.

    heat: where its score comes from, where that was asked for.
    """

    path: str
    score: float
    picture: str | None
    heat: str | None = None


@dataclass(frozen=True)
class RunAnswer:
    """The promise of one run, and what it costs.

    ``certificate``: what the run records, or the bundle; None: nothing was certified, and
    ``refusal`` says why nothing can be, if it can't. ``test``: decisions on its distinct test items
    there. ``holders``: the calibration defects that the threshold rests on, the lowest score first,
    at most :data:`SHOWN_HOLDERS`.
    ``bundle``: the manifest of the bundle that the report was asked for.
    """

    name: str
    folder: str
    certificate: Certificate | None
    refusal: str | None
    test: LaneCounts | None
    confidence: float
    holders: tuple[ThresholdHolder, ...]
    steps: tuple[NextStep, ...]
    bundle: Manifest | None = None


@dataclass(frozen=True)
class Change:
    """A test crop that the two runs decide otherwise at their thresholds."""

    path: str
    label: str
    is_defect: bool
    before: str
    after: str
    scores: tuple[float, float]
    picture: str | None


@dataclass(frozen=True)
class BeforeAfter:
    """Two runs on the test items that both have: ``lanes`` of each, on distinct items.

    ``thresholds``: each run's certified one, or 0.5 where it has none (``certified`` says so).
    ``changes`` holds the first of ``changed``.
    """

    common: CommonItems
    thresholds: tuple[float, float]
    certified: tuple[bool, bool]
    lanes: tuple[LaneCounts, LaneCounts]
    changed: int
    changes: tuple[Change, ...]


def bundle_certificate(bundle: Manifest) -> Certificate | None:
    """Return the certificate of the function that a bundle prefers, None where it has none."""
    found = bundle.functions[0].certificate
    return TypeAdapter(Certificate).validate_python(found) if found else None


def run_answer(
    run: StudyRun, folder: Path, bundle: Manifest | None, pictures: Pictures
) -> RunAnswer:
    """Collect the answer of a run, with whatever certificate it has."""
    model, certificate = run.model, run.certificate
    refusal: str | None = None
    steps: tuple[NextStep, ...] = ()
    holders: tuple[ThresholdHolder, ...] = ()
    request = request_for(certificate) if certificate else Request()
    if model.calibration is None:
        refusal = "it has no calibration items: it learnt from all training items"
    else:
        try:
            point = operating_point(model, request)
        except InputError as error:
            refusal = str(error)
        else:
            refusal = str(point.refusal) if point.refusal else None
            steps = next_steps(point, str(folder))
            holders = _holders(run, pictures)
    counts = None
    if certificate:
        low = Thresholds(certificate.threshold, certificate.threshold)
        table = run.test.distinct
        counts = LaneCounts.of(table.scores, table.is_defect, low)
    return RunAnswer(
        run.name,
        str(folder),
        certificate,
        refusal,
        counts,
        certificate.confidence if certificate else request.confidence,
        holders,
        steps,
        bundle,
    )


def _holders(run: StudyRun, pictures: Pictures) -> tuple[ThresholdHolder, ...]:
    certificate, split = run.certificate, run.model.calibration
    if certificate is None or split is None:
        return ()
    table = split.distinct
    defects = np.flatnonzero(table.is_defect)
    lowest = defects[np.argsort(table.scores[defects], kind="stable")]
    held = lowest[: min(certificate.misses_allowed + 1, SHOWN_HOLDERS)].tolist()
    return tuple(
        ThresholdHolder(
            table.paths[place], float(table.scores[place]), pictures.whole(table.paths[place])
        )
        for place in held
    )


def before_after(study: StudyFiles, common: CommonItems, pictures: Pictures) -> BeforeAfter:
    """Compare the two runs of ``study``, each at the threshold that it is certified for."""
    before, after = study.runs
    limits = [run.certificate.threshold if run.certificate else 0.5 for run in study.runs]
    first, second = (_decided(run, limit) for run, limit in zip(study.runs, limits, strict=True))
    lanes = tuple(
        LaneCounts.of(
            run.test.distinct.scores, run.test.distinct.is_defect, Thresholds(limit, limit)
        )
        for run, limit in zip(study.runs, limits, strict=True)
    )
    changed = np.flatnonzero(first != second)
    is_defect = study.items.is_defect
    order = changed[np.argsort(~is_defect[changed], kind="stable")]
    clean, defect = study.classes
    changes = tuple(
        Change(
            path=study.items.paths[place],
            label=defect if is_defect[place] else clean,
            is_defect=bool(is_defect[place]),
            before=str(first[place]),
            after=str(second[place]),
            scores=(
                float(before.test.table.scores[place]),
                float(after.test.table.scores[place]),
            ),
            picture=pictures.of(study.items.paths[place]),
        )
        for place in order[:SHOWN_CHANGES].tolist()
    )
    return BeforeAfter(
        common=common,
        thresholds=(limits[0], limits[1]),
        certified=(before.certificate is not None, after.certificate is not None),
        lanes=(lanes[0], lanes[1]),
        changed=len(changed),
        changes=changes,
    )


def _decided(run: StudyRun, limit: float) -> NDArray[np.str_]:
    return Thresholds(limit, limit).decide(run.test.table.scores)
