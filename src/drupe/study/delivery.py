"""The model that a study recommends, as a bundle that decides, and a few of its decisions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.table import folder_of
from drupe.deployment.export import export_run
from drupe.deployment.manifest import Function, read_manifest
from drupe.deployment.predict import Decision, predict
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import OperatingPoint, operating_point
from drupe.files import file_hash
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.study.definition.loading import Study
from drupe.study.definition.plan import study_folder
from drupe.study.definition.protocol import read_protocol
from drupe.study.execution.work import Work
from drupe.study.verdict.document import StudyVerdict
from drupe.training.preparation import recorded_config

SHOWN = 10
"""Test crops of each class that the bundle decides for a person to see."""


@dataclass(frozen=True)
class ShownDecision:
    """What the bundle says of one test crop; ``path`` is relative to the dataset's folder."""

    path: str
    is_defect: bool
    decision: str
    score: float | None

    @property
    def is_right(self) -> bool:
        """Return whether a defect is kept out, or a clean item accepted."""
        return (self.decision == "accept") != self.is_defect


@dataclass(frozen=True)
class Delivery:
    """A bundle of the recommended run, where it operates, and what it says of ``shown`` crops.

    ``folder``: that of the shown crops. ``is_new``: the bundle was written now; else it was there,
    of the same weights and for the same promise.
    """

    experiment: str
    point: OperatingPoint = field(repr=False)
    bundle: Path
    is_new: bool
    function: Function = field(repr=False)
    folder: Path
    shown: tuple[ShownDecision, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe study deliver``."""
        return {
            "experiment": self.experiment,
            "bundle": str(self.bundle),
            "is_new": self.is_new,
            "function": self.function.name,
            "p50_ms": self.function.p50_ms,
            "operating_point": self.point.to_json(),
            "shown": [
                {**vars(one), "path": str(self.folder / one.path), "is_right": one.is_right}
                for one in self.shown
            ],
        }


def deliver(
    study: Study,
    verdict: StudyVerdict,
    store: Path,
    bundle: Path | None = None,
    *,
    data: Path | None = None,
    progress: Progress = silent,
) -> Delivery | None:
    """Export the recommended model for the promise that it was chosen by; None: there is none.

    The certificate is made for the choice among all models of the study. A ``bundle`` that is there
    already, of the same weights and for the same promise, is taken as it is. None: the study's own,
    ``STORE/runs/STUDY/STUDY.bundle``, which is made anew where it is another. ``data``: where the
    study's data lies now, if it was moved.

    Raises:
        InputError: ``bundle`` is something else, or the run's data is gone or has changed.
        GateError: a function turned a decision; nothing is written.
    """
    name, key = verdict.recommendation.experiment, verdict.recommendation.run
    if name is None or key is None:
        return None
    folder = study_folder(study, store)
    protocol = read_protocol(folder)
    assert protocol is not None  # there is a verdict
    run = Path(os.path.normpath(folder / key))
    request = Work(study, store, protocol.data_fingerprint).request(name, alone=False)
    point = operating_point(read_run_predictions(run), request)
    own = folder / f"{study.spec.study}.bundle"
    is_new = not _is_there(bundle or own, run, point, is_own=bundle is None)
    bundle = bundle or own
    if is_new:
        export_run(run, bundle, store, run_data=data, request=request, progress=progress)
    manifest = read_manifest(bundle)
    root = recorded_config(run, data).data.root
    assert root is not None
    return Delivery(
        experiment=name,
        point=point,
        bundle=bundle,
        is_new=is_new,
        function=manifest.functions[0],
        folder=folder_of(root),
        shown=_shown(bundle, point, folder_of(root)),
    )


def _is_there(bundle: Path, run: Path, point: OperatingPoint, *, is_own: bool) -> bool:
    """Return whether ``bundle`` is there, of the run's weights and for what is asked of it.

    The study's own is removed where it is another; any other folder is refused.
    """
    if not os.path.lexists(bundle):
        return False
    asked = {
        "min_recall": point.request.min_recall,
        "confidence": point.certificate.confidence if point.certificate else None,
        "candidates": point.request.candidates,
    }
    try:
        manifest = read_manifest(bundle)
    except InputError:
        is_same = False
    else:
        made_for = manifest.functions[0].certificate or {}
        is_same = all(made_for.get(key) == value for key, value in asked.items())
        is_same &= manifest.provenance.get("weights_sha256") == file_hash(RunFolder(run).weights)
    if not is_same and not is_own:
        raise InputError(
            f"{bundle}: must be a new folder, or the bundle of this model and promise; got another"
        )
    if not is_same:
        shutil.rmtree(bundle)
    return is_same


def _shown(bundle: Path, point: OperatingPoint, root: Path) -> tuple[ShownDecision, ...]:
    """Decide test crops of each class, drawn with a fixed seed, with the bundle alone."""
    assert point.model.test is not None
    table = point.model.test.distinct
    random = np.random.default_rng(0)
    places = [*_drawn(~table.is_defect, random), *_drawn(table.is_defect, random)]
    # Approximate certificates, those of a cross-fit, are refused by a line unless it says so.
    is_exact = point.certificate is not None and point.certificate.is_exact
    classifier = load(bundle, threads=1, uncertified=not is_exact)
    files = [str(root / table.paths[place]) for place in places]
    decided: Sequence[Decision] = list(predict(classifier, files, workers=1))
    return tuple(
        ShownDecision(table.paths[place], bool(table.is_defect[place]), one.decision, one.score)
        for place, one in zip(places, decided, strict=True)
    )


def _drawn(members: NDArray[np.bool_], random: np.random.Generator) -> list[int]:
    items = np.flatnonzero(members)
    drawn: list[int] = np.sort(random.choice(items, min(SHOWN, items.size), replace=False)).tolist()
    return drawn
