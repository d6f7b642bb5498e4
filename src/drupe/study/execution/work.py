"""The tasks of a study as commands, and what is kept of their answers.

Work that was done before is recognised by what it was made from.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from drupe.derived import read_document, write_document
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import OperatingPoint, Request, operating_point
from drupe.files import file_hash, read_json, write_text
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.layout import RunFolder, bundle_folder, seed_folder
from drupe.runs.record import read_record
from drupe.study.definition.baseline import certified_run, import_words, made_from, read_seen
from drupe.study.definition.ensembles import ensemble_words
from drupe.study.definition.loading import Study
from drupe.study.definition.plan import Runs, Task, plan, study_folder, train_task
from drupe.study.execution.executor import Job
from drupe.study.execution.journal import Outcome
from drupe.training.config import ExperimentConfig
from drupe.training.members import ensemble_identity

THRESHOLD = "threshold.json"
SMOKE_SAMPLES = 20
"""Timed calls of a bench whose figures mean nothing."""
ERROR = "error: "
"""Put by ``drupe`` before each message about an error."""


@dataclass(frozen=True)
class Work:
    """A study's tasks, bound to its data (by fingerprint) and folders.

    ``threads``: CPU threads of a training run; None: all cores.
    """

    study: Study
    store: Path
    fingerprint: str
    weights_folder: Path | None = None
    threads: int | None = None

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return study_folder(self.study, self.store)

    def is_done(self, task: Task) -> bool:
        """Return whether the task's result is there, made from what it would be made from now."""
        if task.kind == "certify":
            return False  # certificates are made anew each time
        if task.kind == "ensemble":
            return self._is_made(task)
        if task.config is None:
            return self.answer(task.experiment, task.kind) is not None
        return is_trained(task, self.fingerprint)

    def _is_made(self, task: Task) -> bool:
        """Return whether an ensemble is there, of its members as they are now."""
        record, members = read_record(task.folder), self._members(task)
        if record is None or record.status != "done" or not all(map(self.is_done, members)):
            return False
        weights = [file_hash(RunFolder(member.folder).weights) for member in members]
        return record.identity == ensemble_identity(weights, self.fingerprint)

    def _members(self, task: Task) -> tuple[Task, ...]:
        """Return the tasks that train the runs which an ensemble averages."""
        spec = self.study.spec
        return tuple(
            train_task(self.study, spec.experiment(name), seed, self.folder)
            for name, seed in spec.members(spec.experiment(task.experiment))
        )

    def finished_runs(self) -> Runs:
        """Return the finished runs that the study asks for now, the baseline's included."""
        found: dict[str, list[tuple[int, Path]]] = {item.id: [] for item in self.study.spec.models}
        for task in plan(self.study, self.store):
            if task.kind in ("train", "ensemble") and self.is_done(task):
                found[task.experiment].append((task.seed, task.folder))
            elif task.kind == "import":
                found[task.experiment] = (
                    [(task.seed, task.folder)] if read_seen(task.folder) else []
                )
        return found

    def outcome_without_job(self, task: Task) -> Outcome | None:
        """Return what becomes of a task that no job has to be run for; None: one has to be."""
        if self.is_done(task):
            return Outcome("done", "done before")
        if task.kind != "certify":
            return None
        try:
            name, why = self._certified(task)
            if why and read_record(self.deployed(name)) is None:
                return Outcome("skipped", f"{why}, but that has no finished run")
        except InputError as error:
            return Outcome("failed", str(error))
        return None

    def _certified(self, task: Task) -> tuple[str, str]:
        """Return whose run is certified, and why where that isn't obvious."""
        experiment = self.study.spec.experiment(task.experiment)
        if experiment.kind != "threshold":
            return experiment.id, ""
        return certified_run(self.study, experiment, self.folder)

    def supersede(self, task: Task) -> Path | None:
        """Move another run out of the way of ``task``; return where it lies now, None if none did.

        A changed experiment is run anew; what it said before the change is kept. ``task`` is not
        done; an import or ensemble that was interrupted starts again in its place.
        """
        record = read_record(task.folder) if task.is_run else None
        if record is None or (task.config is None and record.status != "done"):
            return None
        if task.config and record.identity == task.config.identity(self.fingerprint):
            return None
        place = self.folder / "superseded" / f"{task.name}-{record.identity[:12]}".replace(" ", "-")
        if place.exists():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        task.folder.replace(place)
        return place

    def log(self, task: Task) -> Path:
        """Return where the task's process writes its progress and errors."""
        if task.is_run:
            return RunFolder(task.folder).log
        return self.folder / task.experiment / f"{task.kind}.log"

    def job(self, task: Task) -> Job:
        """Return the command that does the task."""
        log = self.log(task)
        store = ("--store", str(self.store))
        if task.config is not None:
            return training_job(task, self.store, self.weights_folder, self.threads)
        if task.kind == "ensemble":
            return Job(task, (*self._ensemble_words(task), *store), log)
        bundle = bundle_folder(self.folder / task.experiment)
        if task.kind == "import":
            words = (*import_words(self.study, task.folder), *store)
        elif task.kind == "certify":
            words = (*self._certify_words(task), *store)
        elif task.kind == "export":
            shutil.rmtree(bundle, ignore_errors=True)
            words = ("export", str(task.folder), str(bundle), *store, "--json")
        else:
            few = ("--samples", str(SMOKE_SAMPLES)) if self.study.is_smoke else ()
            words = ("bench", str(bundle), *few, "--json")
        return Job(task, words, log, self._raw_answer(task))

    def _ensemble_words(self, task: Task) -> list[str]:
        members = self._members(task)
        root = self.study.configs[members[0].experiment].data.root
        folders = tuple(member.folder for member in members)
        return ensemble_words(task.experiment, folders, root, task.folder)

    def _certify_words(self, task: Task) -> tuple[str, ...]:
        name, _ = self._certified(task)
        experiment = self.study.spec.experiment(task.experiment)
        request = self.request(name, alone=experiment.kind == "threshold")
        words = (
            *("study", "certify", str(self.deployed(name))),
            *("--out", str(self.folder / task.experiment / THRESHOLD)),
            *("--min-recall", repr(request.min_recall), "--confidence", repr(request.confidence)),
            *("--candidates", str(request.candidates)),
        )
        if experiment.kind == "threshold":
            return words
        config = self.study.configs.get(experiment.id)
        folds = config.calibration.crossfit if config else None
        return (*words, "--record", *(("--cross-fit", str(folds)) if folds is not None else ()))

    def accept(self, task: Task) -> Outcome:
        """Return what became of a task whose job succeeded; keep the job's answer.

        Raises:
            InputError: it did something else than was asked for.
        """
        if task.config is not None or task.kind == "ensemble":
            if self.is_done(task):
                return Outcome("done")
            raise InputError(
                f"{task.folder}: holds no finished run of this experiment on the study's data: "
                "have the images, labels or fixes changed since the study was started?"
            )
        raw = self._raw_answer(task)
        answer = read_json(raw)
        raw.unlink()
        if task.kind == "certify":
            return Outcome(**answer)
        made_from = self._made_from(task.experiment, task.kind)
        write_document(self._answer_file(task.experiment, task.kind), made_from, {"answer": answer})
        return Outcome("done")

    def answer(self, experiment: str, kind: str) -> Mapping[str, Any] | None:
        """Return what an import, export or bench said; None: nothing, or of something else.

        Whatever it was made from has been made anew since, if that is another now.
        """
        try:
            made_from = self._made_from(experiment, kind)
        except InputError:  # what it was made from is gone
            return None
        document = read_document(self._answer_file(experiment, kind), made_from)
        answer = document.get("answer") if document else None
        return answer if isinstance(answer, dict) else None

    def point(self, experiment: str, alone: bool = False) -> OperatingPoint:
        """Return where an experiment's run to deploy, or the checkpoint's, would operate.

        ``alone``: it is the only candidate; else one of all models of the study.

        Raises:
            InputError: its files are damaged, or it has no calibration items (yet).
        """
        model = read_run_predictions(self.deployed(experiment))
        return operating_point(model, self.request(experiment, alone))

    def request(self, experiment: str, alone: bool) -> Request:
        """Return what is asked of the threshold of an experiment's run, or the checkpoint's."""
        spec = self.study.spec
        own = spec.baseline.experiment if experiment == spec.baseline.id else experiment
        criteria = self.study.criteria.get(own or "", spec.criteria)
        return Request(
            min_recall=criteria.recall or Request().min_recall,
            confidence=spec.confidence,
            candidates=1 if alone else self.study.candidates,
        )

    def deployed(self, experiment: str) -> Path:
        """Return the run of an experiment that would be deployed: the first seed's."""
        return seed_folder(self.folder / experiment, self.study.spec.seeds[0])

    def _made_from(self, experiment: str, kind: str) -> dict[str, Any]:
        """Return what an answer depends on: another one makes it out of date."""
        if kind == "import":
            return made_from(self.study, self.fingerprint)
        run, bundle = self.deployed(experiment), bundle_folder(self.folder / experiment)
        of_run = {
            "weights": file_hash(RunFolder(run).weights),
            "certificate": read_evaluation(run).to_json().get("certificate"),
        }
        if kind == "export":
            return of_run
        return {**of_run, "bundle": file_hash(bundle / "bundle.json")}

    def _answer_file(self, experiment: str, kind: str) -> Path:
        return self.folder / experiment / f"{kind}.json"

    def _raw_answer(self, task: Task) -> Path:
        return self.folder / task.experiment / f".{task.kind}.answer.json"


def is_trained(task: Task, fingerprint: str) -> bool:
    """Return whether a training task's run is done, as it is configured now and on these data."""
    assert task.config is not None
    record = read_record(task.folder)
    if record is None or record.status != "done":
        return False
    return record.identity == task.config.identity(fingerprint)


def training_job(task: Task, store: Path, weights_folder: Path | None, threads: int | None) -> Job:
    """Write the experiment file of a run beside its directory; return the command that trains it.

    ``threads``: of a configuration that leaves them open; None: all cores.
    """
    assert task.config is not None
    files = RunFolder(task.folder)
    # Beside the run directories: a run directory holds nothing that its own run did not write.
    document = _with_threads(task.config, threads).model_dump(mode="json")
    write_text(files.order, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    words = ("train", str(files.order), "--resume", "--out", str(task.folder))
    weights = ("--weights", str(weights_folder)) if weights_folder else ()
    return Job(task, (*words, "--store", str(store), *weights), files.log)


def _with_threads(config: ExperimentConfig, threads: int | None) -> ExperimentConfig:
    if config.training.threads is not None or threads is None:
        return config
    training = config.training.model_copy(update={"threads": threads})
    return config.model_copy(update={"training": training})


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last lines of a job's log in one: why it failed, in its own words.

    What stands before its last error message, if there is one, is progress.
    """
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.rstrip().split("\n")[-count:] if line.strip()]
    errors = [place for place, line in enumerate(lines) if line.startswith(ERROR)]
    return " / ".join(lines[errors[-1] :] if errors else lines).removeprefix(ERROR)
