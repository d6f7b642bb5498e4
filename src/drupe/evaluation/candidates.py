"""Models to compare, from what lies on disk: runs, experiments of several seeds, CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError
from drupe.evaluation.certificate import NotCertifiableError, certify_threshold
from drupe.evaluation.comparison import Candidate, align_candidates
from drupe.evaluation.model_predictions import ModelPredictions, read_csv, read_run_predictions
from drupe.evaluation.predictions import Predictions
from drupe.runs.layout import RunFolder, runs_below

COMMON_SHARE = 0.5
"""Runs that share fewer of their test items are of different data, and are not compared."""

LOGITS_OF_RUNS = "--logits: is for CSV files; a run's scores are never logits"


@dataclass(frozen=True)
class Lineup:
    """Candidates and the duplicate group (int [N]) of each test item, as the first lists them.

    ``notes`` says for whom there is no certified threshold, and why; ``caveats`` whose figures are
    optimistic.
    """

    candidates: tuple[Candidate, ...]
    groups: NDArray[np.integer]
    notes: tuple[str, ...]
    caveats: tuple[str, ...] = ()


def read_lineup(
    paths: Sequence[Path],
    defect: str | None = None,
    *,
    min_recall: float = 0.99,
    confidence: float = 0.95,
    score_is_logit: bool = False,
) -> Lineup:
    """Read one candidate per path: a run, a folder of ``seed-*`` runs, or a CSV.

    Runs bring a threshold certified on their own calibration; a CSV brings none.

    Raises:
        InputError: everything wrong with any of them.
    """
    models: list[list[ModelPredictions]] = []
    problems: list[str] = []
    for path in paths:
        try:
            models.append(read_seeds(path, defect, score_is_logit))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    models, left_out = _on_common_items(models)
    notes: list[str] = []
    candidates = [certified_candidate(seeds, min_recall, confidence, notes) for seeds in models]
    named = [
        replace(one, name=name)
        for one, name in zip(candidates, _distinct_names(candidates, paths), strict=True)
    ]
    caveats = [
        f"{one.name}: {text}"
        for seeds in models
        for one in seeds
        for text in (*one.caveats, one.doubt)
        if text
    ]
    caveats += [left_out] if left_out else []
    return Lineup(
        tuple(align_candidates(named)),
        _groups(models),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys(caveats)),
    )


def _on_common_items(
    models: list[list[ModelPredictions]],
) -> tuple[list[list[ModelPredictions]], str]:
    """Return the models on the test items that all have with the same label, and what was left out.

    That is for runs before and after a fix list. Items that differ by more than half, and those of
    CSV files, are left to the comparison, which refuses them.
    """
    splits = [one.test for seeds in models for one in seeds]
    if any(split is None for split in splits) or any(one.seed is None for (one, *_) in models):
        return models, ""
    labelled = [
        dict(zip(split.table.paths, split.table.is_defect.tolist(), strict=True))
        for split in splits
        if split is not None
    ]
    everywhere = set.intersection(*(set(labels) for labels in labelled))
    common = {path for path in everywhere if len({labels[path] for labels in labelled}) == 1}
    most = max(map(len, labelled))
    if len(common) == most or len(common) < COMMON_SHARE * most:
        return models, ""
    kept = [
        [replace(one, test=one.test.of_paths(common)) for one in seeds if one.test is not None]
        for seeds in models
    ]
    return kept, (
        f"compared on the {len(common):,} test images that all have with the same label; left out: "
        f"{most - len(everywhere):,} that not all have, {len(everywhere) - len(common):,} whose "
        "label differs"
    )


def _distinct_names(candidates: Sequence[Candidate], paths: Sequence[Path]) -> list[str]:
    """Return each name, the path where two share one, with a number where that is the same too."""
    names = [one.name for one in candidates]
    told = [
        str(path) if names.count(name) > 1 else name
        for name, path in zip(names, paths, strict=True)
    ]
    return [
        f"{name} ({told[: index + 1].count(name)})" if told.count(name) > 1 else name
        for index, name in enumerate(told)
    ]


def read_seeds(
    path: Path, defect: str | None = None, score_is_logit: bool = False
) -> list[ModelPredictions]:
    """Return a model's seeds, in their order: of a run, a folder of ``seed-*`` runs or a CSV.

    Raises:
        InputError: none of them, or a damaged one.
    """
    if not path.is_dir():
        return [read_csv(path, defect, score_is_logit=score_is_logit)]
    if RunFolder(path).record.is_file():
        if score_is_logit:
            raise InputError(LOGITS_OF_RUNS)
        return [read_run_predictions(path, defect)]
    runs = runs_below(path)
    if not runs:
        raise InputError(
            f"{path}: must be a run, a folder of seed-N runs or a CSV file, but holds no run.json"
        )
    if score_is_logit:
        raise InputError(LOGITS_OF_RUNS)
    seeds = [read_run_predictions(run, defect) for run in runs]
    numbers = sorted(one.seed or 0 for one in seeds)
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{path}: seeds must differ, got {', '.join(map(str, numbers))}")
    return sorted(seeds, key=lambda one: one.seed or 0)


def certified_candidate(
    seeds: Sequence[ModelPredictions], min_recall: float, confidence: float, notes: list[str]
) -> Candidate:
    """Return the seeds of a model as a candidate, each certified on its own calibration.

    Where one can't be, the candidate has no thresholds, and ``notes`` gets the reason.
    """
    first = seeds[0]
    thresholds: list[float] = []
    calibrations: list[Predictions] = []
    for model in seeds:
        if model.seed is None or model.calibration is None:
            notes.append(f"{model.name}: a CSV brings no threshold certified on calibration items")
            break
        if model.in_sample:
            notes.append(f"{model.name}: {model.in_sample}")
            break
        table = model.calibration.distinct
        try:
            certificate = certify_threshold(
                table.scores, table.is_defect, min_recall=min_recall, confidence=confidence
            )
        except NotCertifiableError as refusal:
            notes.append(f"{model.name}: {refusal}")
            break
        thresholds.append(certificate.threshold)
        calibrations.append(table)
    numbers = tuple(model.seed for model in seeds if model.seed is not None)
    return Candidate(
        name=first.experiment if len(seeds) > 1 and first.experiment else first.name,
        tables=tuple(model.test.table for model in seeds if model.test is not None),
        seeds=numbers or None,
        thresholds=tuple(thresholds) if len(thresholds) == len(seeds) else None,
        calibrations=tuple(calibrations) if len(thresholds) == len(seeds) else None,
    )


def _groups(models: Sequence[Sequence[ModelPredictions]]) -> NDArray[np.integer]:
    """Take the groups from the first run among the models; without one, all items are distinct."""
    first = models[0][0].test
    assert first is not None
    for seeds in models:
        test = seeds[0].test
        if seeds[0].seed is not None and test is not None:
            known = dict(zip(test.table.paths, test.groups.tolist(), strict=True))
            own = len(known)  # paths that the run lacks are an error of the comparison
            return np.array(
                [known.get(path, own + place) for place, path in enumerate(first.table.paths)]
            )
    return first.groups
