"""Runs from Python: train, evaluate, threshold, export, report. The command line calls the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drupe.configuration import merge, parse_overrides
from drupe.deployment.certify.fresh import calibrate_on_new
from drupe.deployment.export import Exported, export_run
from drupe.deployment.familiarity import UnknownRequest
from drupe.deployment.function_specs import AskedPrecision
from drupe.deployment.unknown import UnknownLane
from drupe.evaluation.model_predictions import ModelPredictions, read_csv, read_run_predictions
from drupe.evaluation.next_steps import NextStep, next_steps
from drupe.evaluation.operating_point import (
    OperatingPoint,
    Request,
    operating_point,
    read_recorded,
)
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import check_replaceable, write_text
from drupe.progress import Progress, silent
from drupe.reporting.report import build_run_report, render
from drupe.runs.evaluation_file import Evaluation, read_evaluation, record_certificate
from drupe.runs.layout import RunFolder, seed_folder
from drupe.runs.record import RunRecord, read_record
from drupe.training.config import ExperimentConfig, load_experiment, validate_experiment
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.own_augmentation import OwnAugmentation
from drupe.training.preparation import with_named_labels
from drupe.training.presets import experiment_file
from drupe.training.run import OnEpoch, train_run
from drupe.training.saved import evaluate_run
from drupe.training.tracking.following import followed
from drupe.workbench.html import bundle_html, run_html, threshold_html, threshold_line
from drupe.workbench.progress_display import progress_on

Drawing = bool | Progress
"""True draws bars (lines where there is no terminal), False says nothing, or draw yourself."""

STORE = Path("drupe-store")
"""Where packed images and runs are kept: beside the work, as the command line does."""


@dataclass(frozen=True)
class Run:
    """A finished run directory; in a notebook it shows its figures."""

    folder: Path

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` says."""
        record = read_record(self.folder)
        assert record is not None  # it was finished
        return record

    @property
    def evaluation(self) -> Evaluation:
        """Counts, rates and the certificate, if there is one."""
        return read_evaluation(self.folder)

    def predictions(self, split: str = "test") -> Predictions:
        """Return the predictions on ``"test"`` or ``"calibration"``."""
        return read_predictions(
            RunFolder(self.folder).predictions(split), self.record.data.classes[1]
        )

    def _repr_html_(self) -> str:
        return run_html(str(self.folder), self.record, self.evaluation)


@dataclass(frozen=True)
class Threshold:
    """A certified threshold, or why there is none; in a notebook a chart of the scores around it.

    ``steps``: what would bring more clean yield, the best first.
    """

    point: OperatingPoint
    steps: tuple[NextStep, ...]

    @property
    def is_certified(self) -> bool:
        """Return whether a certificate stands behind it."""
        return self.point.certificate is not None

    @property
    def low(self) -> float | None:
        """The score below which an item is accepted; None where nothing could be certified."""
        return self.point.thresholds.low if self.point.thresholds else None

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe threshold``."""
        return {**self.point.to_json(), "next_steps": [step.to_json() for step in self.steps]}

    def __repr__(self) -> str:
        return f"<Threshold of {threshold_line(self.point)}>"

    def _repr_html_(self) -> str:
        return threshold_html(self.point, self.steps)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written, and how its functions were found equal to what was tested."""

    folder: Path
    exported: Exported = field(repr=False)

    def _repr_html_(self) -> str:
        return bundle_html(self.exported)


def experiment(
    given: str | Path | Mapping[str, Any] | None,
    changes: Sequence[str] | Mapping[str, Any] = (),
    **sections: Mapping[str, Any] | Any,
) -> ExperimentConfig:
    """Return an experiment: a preset, a file or a mapping, with changes on top.

    Parameters
    ----------
    given
        ``"fast"``, ``"balanced"`` or ``"best"``, the path of a file, or the document itself.
    changes
        ``["training.epochs=3"]`` as on the command line, or a mapping of dotted keys to values.
    sections
        Whole keys, such as ``data={"root": "crops"}``, on top of all.

    Raises
    ------
    InputError
        With every wrong key and value.
    """
    if isinstance(changes, Mapping):
        tree: dict[str, Any] = {}
        for key, value in changes.items():
            branch = value
            for part in reversed(str(key).split(".")):
                branch = {part: branch}
            tree = merge(tree, branch)
    else:
        tree = parse_overrides(list(changes))
    overrides = merge(tree, sections)
    if isinstance(given, Mapping):
        return validate_experiment(merge(dict(given), overrides), "the experiment")
    return load_experiment(experiment_file(None if given is None else Path(given)), overrides)


def train(
    given: str | Path | Mapping[str, Any],
    data: str | Path,
    *,
    changes: Sequence[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    out: str | Path | None = None,
    store: str | Path = STORE,
    weights: str | Path | None = None,
    callbacks: Sequence[OnEpoch] = (),
    augment: OwnAugmentation | None = None,
    progress: Drawing = True,
) -> Run:
    """Train a network and judge it; a run that is there already is continued, or taken as it is.

    KeyboardInterrupt stops it without loss: the same call goes on from the last checkpoint.

    Parameters
    ----------
    given, changes
        The experiment, see :func:`experiment`.
    data
        The labelled crops.
    seed
        Of weights, order and augmentation; None: the experiment's.
    out
        The run directory; None: ``STORE/runs/train/EXPERIMENT/seed-N``.
    callbacks
        Each is called after every epoch with its :class:`drupe.runs.epoch_log.EpochResult`.
    augment
        Called with every batch after the experiment's own ``augmentation`` (which can be switched
        off): float32 [N, C, height, width] as the network sees it, 0 (black) to
        ``input.white_level`` (255), and returns the same. Torch's random numbers are the run's, and
        an interrupted run gets the same again. Part of the run's identity by a digest of its
        source and of the values that it uses.
    progress
        See :data:`Drawing`.

    Raises
    ------
    InputError
        The data, the experiment, ``augment`` or the folder is wrong.
    """
    sections: dict[str, Any] = {"data": {"root": str(data)}}
    if seed is not None:
        sections["seed"] = seed
    config = with_named_labels(experiment(given, changes, **sections), Path(store))
    folder = Path(out) if out else default_folder(config, Path(store))
    with followed(config, folder) as trackers:
        train_run(
            config,
            folder,
            Path(store),
            resume=True,
            weights_folder=Path(weights) if weights else None,
            progress=drawn(progress),
            callbacks=[*trackers, *callbacks],
            augment=augment,
        )
    return Run(folder)


def default_folder(config: ExperimentConfig, store: Path) -> Path:
    """Return where a run lies that nobody named a folder for."""
    return seed_folder(store / "runs" / "train" / config.name, config.seed)


def evaluate(
    run: Run | str | Path,
    *,
    data: str | Path | None = None,
    store: str | Path = STORE,
    progress: Drawing = True,
) -> Run:
    """Redo a run's predictions and figures from its saved weights; its certificate is gone then.

    ``data``: where the run's data lies now, if it was moved.

    Raises:
        InputError: no finished run, or its data is gone or has changed.
    """
    folder = _folder(run)
    evaluate_run(folder, Path(store), data_root=_path(data), progress=drawn(progress))
    return Run(folder)


def threshold(
    source: Run | str | Path,
    *,
    min_recall: float = 0.99,
    confidence: float = 0.95,
    candidates: int = 1,
    data: str | Path | None = None,
    cross_fit: int | None = None,
    run_data: str | Path | None = None,
    store: str | Path = STORE,
    progress: Drawing = True,
    **request: Any,
) -> Threshold:
    """Find the highest threshold that provably catches enough defects; a run keeps it.

    Parameters
    ----------
    source
        A run, or a CSV ``path,label,score`` of one split.
    min_recall, confidence, candidates
        The promise; ``candidates``: from how many models this one is chosen.
    data
        Certify on these newly collected, labelled crops instead.
    cross_fit
        Train so many folds: scores for every training defect, an approximate guarantee.
    run_data
        Where the run's own data lies now, if it was moved.
    request
        Further fields of :class:`drupe.evaluation.operating_point.Request`: review_budget,
        reject_precision, prevalence, costs, low, high.

    Raises
    ------
    InputError
        Values out of range, no finished run, or crops that can't be used.
    """
    asked = Request(min_recall, confidence, candidates, **request)
    folder = _folder(source)
    model = _model(folder, _path(data), cross_fit, _path(run_data), Path(store), drawn(progress))
    point = operating_point(model, asked)
    if point.certificate and model.seed is not None:
        record_certificate(folder, point.certified_figures())
    return Threshold(point, next_steps(point, str(folder)))


def _model(
    source: Path,
    data: Path | None,
    cross_fit: int | None,
    run_data: Path | None,
    store: Path,
    progress: Progress,
) -> ModelPredictions:
    if not source.is_dir():
        return read_csv(source, None, score_is_logit=False)
    model = read_run_predictions(source)
    if data is not None:
        return calibrate_on_new(model, source, data, store, progress, run_data=run_data)
    if cross_fit is not None:
        return calibrate_on_folds(model, source, cross_fit, store, progress, run_data=run_data)
    return model


def export(
    run: Run | str | Path,
    bundle: str | Path,
    *,
    min_recall: float | None = None,
    confidence: float | None = None,
    precision: AskedPrecision = "fp32",
    backends: Sequence[str] | None = None,
    data: str | Path | None = None,
    run_data: str | Path | None = None,
    unknown_rate: float | None = None,
    unknown_lane: UnknownLane = "review",
    unknown: bool = True,
    threads: int | None = None,
    store: str | Path = STORE,
    progress: Drawing = True,
) -> Bundle:
    """Export a run as a bundle that decides without PyTorch, proven equal to what was tested.

    ``min_recall`` and ``confidence``: None: as the run was certified for. ``unknown_rate``: share
    of good items that may be called unknown, None: 0.005, where calibration is large enough;
    ``unknown`` False: everything is taken for known. The rest is as of
    :func:`drupe.deployment.export.export_run`.

    Raises:
        InputError: no finished run, other data, or a ``bundle`` that exists.
        GateError: a function turned a decision; nothing is written.
    """
    folder = _folder(run)
    asked = {"min_recall": min_recall, "confidence": confidence}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    exported = export_run(
        folder,
        Path(bundle),
        Path(store),
        fresh=_path(data),
        run_data=_path(run_data),
        precision=precision,
        backends=backends,
        request=replace(read_recorded(folder).request, **given) if given else None,
        threads=threads,
        unknown=UnknownRequest(unknown_rate, unknown_lane, unknown),
        progress=drawn(progress),
    )
    return Bundle(Path(bundle), exported)


def report(
    *runs: Run | str | Path,
    out: str | Path = "report.html",
    data: str | Path | None = None,
    store: str | Path = STORE,
    explain: bool = False,
) -> Path:
    """Write the report of one run, or of two to compare, as one HTML file; return its path.

    ``explain``: with heatmaps of a few crops that the last run decides wrongly.

    Raises:
        InputError: no finished run, or two without common test items.
    """
    page = Path(out)
    check_replaceable(page)
    folders = [_folder(run) for run in runs]
    explained = folders[-1] if explain else None
    built = build_run_report(folders, _path(data), Path(store), explain=explained)
    write_text(page, render(built))
    return page


def _folder(run: Run | str | Path) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def drawn(progress: Drawing) -> Progress:
    """Return what draws progress: bars, nothing, or one's own."""
    if callable(progress):
        return progress
    return progress_on() if progress else silent
