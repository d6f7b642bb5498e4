"""Checks that a study can run here, and says what it will take and can prove, without training.

A few steps on training crops are timed; no weights are kept, no calibration or test crop is read.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drupe.errors import DrupeError, InputError
from drupe.evaluation.certificate import joint_confidence, misses_allowed, needed_defects
from drupe.models.geometry import Geometry
from drupe.models.network import Network, build_network
from drupe.notices import notice
from drupe.progress import Progress, silent
from drupe.study.definition.baseline import require_checkpoint
from drupe.study.definition.loading import Study
from drupe.study.definition.plan import plan, study_folder
from drupe.study.definition.protocol import read_protocol
from drupe.study.run import open_data
from drupe.training.claim import check_store
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.engine import Trainer
from drupe.training.execution import choose_device, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.precision import Precision
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.seeding import Stream, generator
from drupe.training.tracking.following import open_trackers

TIMED_STEPS = 2
COPIES_WHILE_TRAINING = 4
"""Weights, their average and two optimiser moments: a checkpoint's size in networks."""


@dataclass(frozen=True)
class Provable:
    """The defects that an experiment can be certified with, and those that it takes.

    ``defects`` are distinct (copies count once); ``needed`` is for one model by itself,
    ``needed_to_choose`` for the one chosen of all ``candidates``. ``exact`` is False where folds
    are pooled: their defects are more, their certificate is approximate. ``training_defects``: all
    that could be set aside.
    """

    experiment: str
    recall: float
    confidence: float
    defects: int
    needed: int
    needed_to_choose: int
    candidates: int
    exact: bool
    training_defects: int

    @property
    def shares(self) -> str:
        """The misses that this share of the training items allows, and what others would."""
        joint = joint_confidence(self.confidence, self.candidates)
        sets = (
            ("as it is", self.defects),
            ("calibration.holdout=0.5", self.training_defects // 2),
            ("calibration.crossfit (approximate)", self.training_defects),
        )
        said = []
        for way, defects in sets[: 3 if self.exact else 1]:
            allowed = misses_allowed(defects, self.recall, joint)
            words = "certifies nothing" if allowed is None else f"allows {allowed:,} misses"
            said.append(f"{way}, {defects:,} defects: {words}")
        return "; ".join(said)

    def __str__(self) -> str:
        enough = "enough" if self.defects >= self.needed_to_choose else "not enough"
        kind = "" if self.exact else " (of pooled folds: approximate)"
        text = (
            f"{self.defects:,} defects to certify with{kind}: recall ≥ {100 * self.recall:g} % at "
            f"{100 * self.confidence:g} % takes {self.needed:,} without a miss"
        )
        if self.candidates > 1:
            text += f", {self.needed_to_choose:,} for the one chosen of {self.candidates}"
        return f"{text}: {enough}"


@dataclass(frozen=True)
class Expectation:
    """The cost of one run of an experiment: seconds of training, megabytes it leaves behind.

    ``runs`` counts its seeds and folds; ``weights`` says where its first weights come from (an
    ensemble, which is not trained, has its members'); ``provable`` what calibration can certify, if
    a recall is asked for.
    """

    experiment: str
    architecture: str
    parameters: int
    weights: str
    runs: int
    seconds: float
    megabytes: float
    provable: Provable | None = None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """A study that can run: the data's fingerprint, and what each experiment will take."""

    study: str
    data_fingerprint: str
    images: Mapping[str, int]
    device: str
    expectations: tuple[Expectation, ...]
    free_megabytes: float

    @property
    def seconds(self) -> float:
        """Seconds of all runs, one after another."""
        return sum(one.seconds * one.runs for one in self.expectations)

    @property
    def megabytes(self) -> float:
        """Megabytes that all runs leave behind."""
        return sum(one.megabytes * one.runs for one in self.expectations)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe study check``."""
        experiments = [one.to_json() for one in self.expectations]
        totals = {"seconds": self.seconds, "megabytes": self.megabytes}
        return {**vars(self), "images": dict(self.images), "expectations": experiments, **totals}


def check_study(
    study: Study, store: Path, weights_folder: Path | None = None, progress: Progress = silent
) -> Checked:
    """Check everything that ``drupe study run`` needs; nothing is left behind but the packed data.

    Raises:
        InputError: every problem found: data, weights, networks, disk, another study's folder.
    """
    check_store(store)
    require_checkpoint(study)
    fingerprint = open_data(study, store, progress)
    problems: list[str] = []
    try:
        open_trackers(study.spec.tracking, notice)
    except InputError as error:
        problems += error.problems
    frozen = read_protocol(study_folder(study, store))
    if frozen is not None and frozen.data_fingerprint != fingerprint:
        problems.append(f"{study_folder(study, store)}: was started on other data")
    expectations = []
    runs = [task.experiment for task in plan(study, store) if task.kind in ("train", "fold")]
    first = next(iter(study.configs.values()))
    split = prepare_data(first, store, progress).split
    device = choose_device(first.training.device, World())
    timed: dict[str, float] = {}
    with progress("check", len(study.configs), "networks") as tracker:
        for name, config in study.configs.items():
            try:
                data = prepare_data(config, store)
                found = _expect(config, data, runs.count(name), weights_folder, timed)
                expectations.append(replace(found, provable=provable(study, name, data)))
            except DrupeError as error:
                reasons = error.problems if isinstance(error, InputError) else [str(error)]
                problems += [f"{name}: {reason}" for reason in reasons]
            tracker.advance(note=name)
    if not problems:
        expectations += _of_ensembles(study, store, expectations)
    free = shutil.disk_usage(_existing(store)).free / 1e6
    images = {side: len(getattr(split, side)) for side in ("fit", "calibration", "test")}
    checked = Checked(study.spec.study, fingerprint, images, str(device), tuple(expectations), free)
    if checked.megabytes > free:
        problems.append(
            f"{store}: needs {checked.megabytes:,.0f} MB free for the runs, got {free:,.0f} MB"
        )
    if problems:
        raise InputError(dict.fromkeys(problems))
    return checked


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def _expect(
    config: ExperimentConfig,
    data: PreparedData,
    runs: int,
    weights_folder: Path | None,
    timed: dict[str, float],
) -> Expectation:
    """Build the network as a run would, and time a few of its steps, if ``timed`` lacks them."""
    geometry = data.geometry(config)
    built = build_network(
        config.model.architecture,
        input_range=config.input.range,
        channels=config.contract.shape[2],
        white_level=config.input.white_level,
        geometry=geometry,
        pretrained=config.model.pretrained,
        frozen=config.model.frozen,
        weights_folder=weights_folder,
    )
    parameters = sum(parameter.numel() for parameter in built.network.parameters())
    work = f"{config.model} {geometry.side} {config.input.channels} {config.training.batch_size}"
    if work not in timed:
        timed[work] = _step_seconds(config, built.network, data, geometry)
    steps = -(-len(data.split.fit) // config.training.batch_size) * config.training.epochs
    return Expectation(
        experiment=config.name,
        architecture=config.model.architecture,
        parameters=parameters,
        weights="random" if built.origin is None else built.origin.source,
        runs=runs,
        seconds=timed[work] * steps,
        megabytes=_megabytes(parameters) * (1 + COPIES_WHILE_TRAINING / max(runs, 1)),
    )


def _of_ensembles(
    study: Study, store: Path, trained: Sequence[Expectation]
) -> Iterator[Expectation]:
    """Yield what each ensemble takes; its calibration is that of its members."""
    known = {one.experiment: one for one in trained}
    for item in study.spec.ensembles:
        members = [known[name] for name, _ in study.spec.members(item)]
        parameters = sum(one.parameters for one in members)
        data = prepare_data(study.configs[members[0].experiment], store)
        yield Expectation(
            experiment=item.id,
            architecture=f"ensemble of {len(members)}",
            parameters=parameters,
            weights="of its members",
            runs=1,
            seconds=0.0,
            megabytes=_megabytes(parameters),
            provable=provable(study, item.id, data),
        )


def _megabytes(parameters: int) -> float:
    return 4 * parameters / 1e6


def provable(study: Study, experiment: str, data: PreparedData) -> Provable | None:
    """Return what can be proven of a model; None where no recall is asked for."""
    recall = study.criteria[experiment].recall
    if recall is None:
        return None
    config = study.configs.get(experiment)  # no ensemble is made of cross-fitted runs
    folds = config.calibration.crossfit if config else None
    items = data.split.calibration if folds is None else data.split.fit
    confidence = study.spec.confidence
    return Provable(
        experiment=experiment,
        recall=recall,
        confidence=confidence,
        defects=_distinct_defects(data, items),
        needed=needed_defects(recall, confidence),
        needed_to_choose=needed_defects(recall, joint_confidence(confidence, study.candidates)),
        candidates=study.candidates,
        exact=folds is None,
        training_defects=_distinct_defects(
            data, np.concatenate([data.split.fit, data.split.calibration])
        ),
    )


def _distinct_defects(data: PreparedData, items: NDArray[np.intp]) -> int:
    defects = items[data.dataset.is_defect[items]]
    return len(np.unique(data.groups[defects]))


def _step_seconds(
    config: ExperimentConfig, network: Network, data: PreparedData, geometry: Geometry
) -> float:
    """Return the fastest of a few training steps in fp32, in seconds."""
    world = World()
    device = choose_device(config.training.device, world)
    set_threads(config.training.threads, world)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    trainer = Trainer(
        network.to(device),
        config,
        source,
        data.split.fit,
        geometry,
        Precision("fp32", "channels_last"),
        world,
    )
    trainer.network.train()
    random = generator(0, Stream.AUGMENTATION)
    items = data.split.fit[: config.training.batch_size]
    fastest = float("inf")
    for _ in range(1 + TIMED_STEPS):
        started = time.perf_counter()
        trainer.train_step(0, 0, items, random)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return fastest
