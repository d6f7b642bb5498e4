"""One experiment with one seed becomes a run directory, and survives being killed on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from drupe.errors import InputError
from drupe.models.network import build_network
from drupe.models.weights import WeightsOrigin
from drupe.progress import Progress, silent
from drupe.runs.epoch_log import EpochResult, append_epoch, keep_epochs, train_seconds
from drupe.runs.evaluation_file import Evaluation, read_evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import (
    AugmentRecord,
    RunRecord,
    discard_checkpoint,
    now,
)
from drupe.runs.results import digest_results
from drupe.training.checkpoint import (
    require_finite_weights,
    restore_checkpoint,
    save_checkpoint,
)
from drupe.training.claim import check_store, claim, exclusive
from drupe.training.config import ExperimentConfig, read_config, write_config
from drupe.training.distributed import World, join_world
from drupe.training.engine import Trainer
from drupe.training.execution import (
    choose_device,
    choose_precision,
    resolved,
    set_threads,
    with_recorded,
)
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import judge
from drupe.training.learnt import read_digests, write_digests
from drupe.training.lineage import changes_since, keep_items
from drupe.training.own_augmentation import OwnAugmentation, identified, source_of
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.saved import save_network, start_from
from drupe.training.seeding import Stream, seed_torch
from drupe.training.teachers import soft_targets, train_teachers
from drupe.training.type_fitting import fit_types, write_types

OnEpoch = Callable[[EpochResult], object]
"""Is given the measures of each epoch when it is done; what it returns is ignored."""


@dataclass(frozen=True)
class _Code:
    """What was given as code and not as configuration: callbacks, and an own augmentation."""

    callbacks: tuple[OnEpoch, ...] = ()
    augment: OwnAugmentation | None = None


@dataclass(frozen=True)
class RunOutcome:
    """A run's folder and evaluation document, and whether it had been finished before.

    ``skipped`` are the unreadable files left out, with their reasons. ``is_main`` is false on
    every rank but 0: one process speaks for all.
    """

    folder: Path
    evaluation: Evaluation
    already_done: bool
    skipped: tuple[tuple[str, str], ...] = ()
    is_main: bool = True


def train_run(
    config: ExperimentConfig,
    folder: Path,
    store: Path,
    *,
    resume: bool = False,
    weights_folder: Path | None = None,
    progress: Progress = silent,
    callbacks: Sequence[OnEpoch] = (),
    augment: OwnAugmentation | None = None,
) -> RunOutcome:
    """Train, judge and save ``config`` in ``folder``.

    ``resume`` starts, continues or (when the run is done) does nothing. A run that fails says so
    in ``run.json`` and keeps its last checkpoint. Under ``torchrun``, rank 0 writes. Each of
    ``callbacks`` is given every epoch's measures, in the process that writes. ``augment`` comes
    after the augmentation of ``config`` and becomes part of it.

    Raises:
        InputError: the data, the configuration or the folder is wrong.
        TrainingDivergedError: the loss, the weights or their answers became NaN or infinite.
    """
    check_store(store)
    config = _with_own(config, augment)
    code = _Code(tuple(callbacks), augment)
    with join_world() as world:
        _teach(config, folder, store, resume, weights_folder, progress)
        if not world.is_main:
            return _follow(config, folder, store, world, weights_folder, augment)
        with exclusive(folder):
            return _lead(config, folder, store, world, resume, weights_folder, progress, code)


def _with_own(config: ExperimentConfig, augment: OwnAugmentation | None) -> ExperimentConfig:
    """Return ``config`` with what identifies ``augment``.

    Raises:
        InputError: ``config`` names one that isn't given, or ``augment`` is another.
    """
    named = config.augmentation.own
    found = None if augment is None else identified(augment)
    if named is not None and named != found:
        got = "none" if found is None else f"{found.name} ({found.sha256[:12]})"
        raise InputError(
            f"augmentation.own: must be given as drupe.train(..., augment={named.name}), the "
            f"function of digest {named.sha256[:12]}, got {got}"
        )
    augmentation = config.augmentation.model_copy(update={"own": found})
    return config.model_copy(update={"augmentation": augmentation})


def _teach(
    config: ExperimentConfig,
    folder: Path,
    store: Path,
    resume: bool,
    weights_folder: Path | None,
    progress: Progress,
) -> None:
    """Train the networks that the run learns from, unless it is done or may not be begun."""
    if config.training.teacher is None:
        return
    if folder.is_dir():
        fingerprint = prepare_data(config, store, progress).dataset.fingerprint
        found = claim(folder, config, fingerprint, resume)
        if found is not None and found.status == "done":
            return

    def train(taught: ExperimentConfig, beside: Path) -> RunOutcome:
        return train_run(
            taught, beside, store, resume=True, weights_folder=weights_folder, progress=progress
        )

    train_teachers(config, folder, train, progress)


def _lead(
    config: ExperimentConfig,
    folder: Path,
    store: Path,
    world: World,
    resume: bool,
    weights_folder: Path | None,
    progress: Progress,
    code: _Code,
) -> RunOutcome:
    data = prepare_data(config, store, progress)
    found = claim(folder, config, data.dataset.fingerprint, resume)
    done = found is not None and found.status == "done"
    recorded = world.from_main(read_config(folder) if found else None)
    if world.from_main(done):
        return RunOutcome(folder, read_evaluation(folder), True, data.dataset.skipped)
    session = _Session(
        config, recorded, data, store, folder, world, weights_folder, progress, code.augment
    )
    record = _new_record(session, found)
    record.augment = _augment_record(session)
    write_config(folder, session.config)
    record.write(folder)
    try:
        _train(session, progress, code.callbacks)
        evaluation = _finish(session, record, progress)
    except BaseException as error:
        record.stop(folder, error)
        raise
    return RunOutcome(folder, evaluation, False, data.dataset.skipped)


def _follow(
    config: ExperimentConfig,
    folder: Path,
    store: Path,
    world: World,
    weights_folder: Path | None,
    augment: OwnAugmentation | None,
) -> RunOutcome:
    """Train as a rank other than 0: the same steps, in step with rank 0, writing nothing."""
    recorded = world.from_main(None)
    if world.from_main(None):
        return RunOutcome(folder, read_evaluation(folder), already_done=True, is_main=False)
    data = prepare_data(config, store)  # rank 0 has packed it
    session = _Session(
        config, recorded, data, store, folder, world, weights_folder, silent, augment
    )
    _train(session, silent)
    world.wait()
    return RunOutcome(folder, read_evaluation(folder), already_done=False, is_main=False)


class _Session:
    """The objects that one process holds while a run trains."""

    def __init__(
        self,
        config: ExperimentConfig,
        recorded: ExperimentConfig | None,
        data: PreparedData,
        store: Path,
        folder: Path,
        world: World,
        weights_folder: Path | None,
        progress: Progress,
        augment: OwnAugmentation | None,
    ) -> None:
        config = with_recorded(config, recorded)
        self.augment = augment
        self.data, self.store, self.folder, self.world = data, store, folder, world
        self.checkpoint = RunFolder(folder).checkpoint
        self.geometry = data.geometry(config)
        device = choose_device(config.training.device, world)
        threads = set_threads(config.training.threads, world)
        self.source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
        self.has_checkpoint = world.from_main(self.checkpoint.exists())
        ancestor = config.training.init
        seed_torch(config.seed, Stream.WEIGHTS)
        built = build_network(
            config.model.architecture,
            input_range=config.input.range,
            channels=config.contract.shape[2],
            white_level=config.input.white_level,
            geometry=self.geometry,
            pretrained=config.model.pretrained and not (self.has_checkpoint or ancestor),
            frozen=config.model.frozen,
            weights_folder=weights_folder,
        )
        self.origin: WeightsOrigin | None = built.origin
        if ancestor and not self.has_checkpoint:
            self.origin = start_from(built.network, config.input, ancestor)
        precision = choose_precision(
            built.network, config, data, self.source, store, threads, world, progress
        )
        self.config = resolved(config, device, threads, precision)
        targets = soft_targets(config, folder, data)
        self.teacher = None if targets is None else targets.record
        self.trainer = Trainer(
            built.network,
            self.config,
            self.source,
            data.split.fit,
            self.geometry,
            precision,
            world,
            None if targets is None else targets.defect,
            weights=data.dataset.weights,
            own_augmentation=augment,
        )


def _new_record(session: _Session, found: RunRecord | None) -> RunRecord:
    config, data = session.config, session.data
    return RunRecord.begin(
        config.name,
        config.seed,
        identity=config.identity(data.dataset.fingerprint),
        data=data.record,
        crop=session.geometry.crop,
        resolution=session.geometry.resolution,
        weights=asdict(session.origin) if session.origin else found.weights if found else None,
        device=str(session.source.device),
        processes=session.world.size,
        started=found.started if found else None,
        teacher=session.teacher,
        ancestor=data.ancestor,
        changes=found.changes
        if found
        else changes_since(config, data, session.store, session.folder),
    )


def _augment_record(session: _Session) -> AugmentRecord | None:
    own = session.config.augmentation.own
    if own is None or session.augment is None:
        return None
    return AugmentRecord(name=own.name, sha256=own.sha256, source=source_of(session.augment))


def _train(session: _Session, progress: Progress, callbacks: Sequence[OnEpoch] = ()) -> None:
    """Train the epochs that are left, with a metrics line each and checkpoints in between."""
    trainer, training = session.trainer, session.config.training
    first = _restore(session)
    left = training.epochs - first
    per_epoch = trainer.steps_per_epoch * min(training.batch_size, len(trainer.fit))
    with progress("train", left * per_epoch, "images") as tracker:
        for epoch in range(first, training.epochs):
            result = trainer.train_epoch(epoch, tracker)
            done = epoch + 1
            if session.world.is_main:
                append_epoch(session.folder, result)
                for call in callbacks:
                    call(result)
            if done % training.checkpoint_every == 0 or done == training.epochs:
                require_finite_weights(trainer, done)
                if session.world.is_main:
                    save_checkpoint(session.checkpoint, trainer, done)


def _restore(session: _Session) -> int:
    """Take up the last checkpoint, if any; return the number of epochs done."""
    checkpoint = session.checkpoint
    done = restore_checkpoint(checkpoint, session.trainer) if session.has_checkpoint else 0
    if session.world.is_main:
        keep_epochs(session.folder, done)
    session.world.wait()
    return done


def _finish(session: _Session, record: RunRecord, progress: Progress) -> Evaluation:
    """Judge the averaged weights, save them, close the record and drop the checkpoint."""
    folder, network = session.folder, session.trainer.average.module
    started = time.perf_counter()
    types = fit_types(network, session.data, session.source, progress)
    evaluation = judge(network, session.data, session.source, folder, progress, types=types.head)
    write_types(folder, types.head)
    record.data.notes += types.notes
    fit = session.data.split.fit
    digests = {session.data.dataset.digests[item] for item in fit}
    if ancestor := session.config.training.init:
        digests |= read_digests(ancestor.run)
    write_digests(folder, digests)
    save_network(
        folder,
        network,
        session.config,
        session.geometry,
        session.data.dataset.classes,
        evaluation.temperature,
    )
    keep_items(session.config, session.data, session.store, folder)
    record.judge_seconds = time.perf_counter() - started
    record.train_seconds = train_seconds(folder)
    record.finished = now()
    record.results = digest_results(folder)
    record.status = "done"
    record.write(folder)
    discard_checkpoint(folder)
    session.world.wait()
    return evaluation
