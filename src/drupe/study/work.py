"""How each task of a study is done, and how work that was done before is recognised."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from drupe.errors import DrupeError, InputError
from drupe.evaluation.operating_point import (
    OperatingPoint,
    Request,
    operating_point,
    record_certificate,
)
from drupe.evaluation.source import file_hash, read_run_predictions
from drupe.files import read_json, write_json, write_text
from drupe.study.executor import Job
from drupe.study.journal import Outcome
from drupe.study.loading import Study
from drupe.study.plan import Task, study_folder
from drupe.training.config import ExperimentConfig
from drupe.training.crossfit import certify_on_folds
from drupe.training.record import read_record
from drupe.training.saved import MODEL_FILE

BUNDLE, THRESHOLD = "bundle", "threshold.json"


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
        if task.config is not None:
            record = read_record(task.folder)
            same = record is not None and record.identity == task.config.identity(self.fingerprint)
            return same and record is not None and record.status == "done"
        if task.kind in ("export", "bench"):
            return _answer(self._answer_file(task), self._made_from(task)) is not None
        return False

    def supersede(self, task: Task) -> Path | None:
        """Move another run out of the way of ``task``; return where it lies now, None if none did.

        A changed experiment is run anew; what it said before the change is kept.
        """
        record = read_record(task.folder) if task.config else None
        if record is None or task.config is None:
            return None
        if record.identity == task.config.identity(self.fingerprint):
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
            return task.folder.parent / f"{task.folder.name}.log"
        return self.folder / task.experiment / f"{task.kind}.log"

    def job(self, task: Task) -> Job:
        """Return the command that does the task."""
        log = self.log(task)
        store = ("--store", str(self.store))
        if task.config is not None:
            file = task.folder.parent / f"{task.folder.name}.yaml"
            _write_config(file, self._with_threads(task.config))
            weights = ("--weights", str(self.weights_folder)) if self.weights_folder else ()
            words = ("train", str(file), "--resume", "--out", str(task.folder), *store, *weights)
            return Job(task, words, log)
        bundle = self.folder / task.experiment / BUNDLE
        if task.kind == "import":
            return Job(task, ("import", *self._import_words(task), *store), log)
        if task.kind == "export":
            shutil.rmtree(bundle, ignore_errors=True)
            words = ("export", str(task.folder), str(bundle), *store, "--json")
        else:
            words = ("bench", str(bundle), "--uncertified", "--json")
        return Job(task, words, log, self._raw_answer(task))

    def accept(self, task: Task) -> None:
        """Keep a job's answer with what it was made from."""
        if task.kind in ("export", "bench"):
            raw = self._raw_answer(task)
            answer = {"made_from": self._made_from(task), "answer": read_json(raw)}
            write_json(self._answer_file(task), answer)
            raw.unlink()

    def answer(self, experiment: str, kind: str) -> Mapping[str, Any] | None:
        """Return what the last export or bench of an experiment said, None without one."""
        path = self.folder / experiment / f"{kind}.json"
        document = read_json(path) if path.exists() else None
        answer = document.get("answer") if isinstance(document, dict) else None
        return answer if isinstance(answer, dict) else None

    def certify(self, task: Task) -> Outcome:
        """Certify the run of ``task`` for what is asked of it; nothing is trained here."""
        experiment = self.study.spec.experiment(task.experiment)
        try:
            point = self.point(experiment.of or experiment.id, alone=experiment.of is not None)
        except DrupeError as error:
            return Outcome("failed", str(error))
        if point.certificate and not experiment.of:
            record_certificate(task.folder, point)
        write_json(self.folder / experiment.id / THRESHOLD, point.to_json())
        if point.refusal:
            return Outcome("done", f"not certified: {point.refusal}")
        assert point.certificate is not None
        kind = "certified" if point.certificate.is_exact else "certified approximately"
        return Outcome("done", f"{kind} at {point.certificate.threshold:.4g}")

    def point(self, experiment: str, alone: bool = False) -> OperatingPoint:
        """Return where the run to deploy of a training experiment would operate.

        ``alone``: it is the only candidate; else one of all that the study trains.
        """
        spec, run = self.study.spec, self.deployed(experiment)
        criteria = self.study.criteria[experiment]
        model = read_run_predictions(run)
        folds = self.study.configs[experiment].calibration.crossfit
        if folds is not None and model.calibration is None:
            model = certify_on_folds(model, run, folds, self.store)
        request = Request(
            min_recall=criteria.recall or Request().min_recall,
            confidence=spec.confidence,
            candidates=1 if alone else self.study.candidates,
        )
        return operating_point(model, request)

    def deployed(self, experiment: str) -> Path:
        """Return the run of an experiment that would be deployed: the first seed's."""
        return self.folder / experiment / f"seed-{self.study.spec.seeds[0]}"

    def _made_from(self, task: Task) -> dict[str, Any]:
        """Return what an answer depends on: another one makes it out of date."""
        if task.kind == "export":
            evaluation = read_json(task.folder / "evaluation.json")
            return {
                "weights": file_hash(task.folder / MODEL_FILE),
                "certificate": evaluation.get("certificate"),
            }
        return {"bundle": file_hash(self.folder / task.experiment / BUNDLE / "bundle.json")}

    def _answer_file(self, task: Task) -> Path:
        return self.folder / task.experiment / f"{task.kind}.json"

    def _raw_answer(self, task: Task) -> Path:
        return self.folder / task.experiment / f".{task.kind}.answer.json"

    def _with_threads(self, config: ExperimentConfig) -> ExperimentConfig:
        if config.training.threads is not None or self.threads is None:
            return config
        training = config.training.model_copy(update={"threads": self.threads})
        return config.model_copy(update={"training": training})

    def _import_words(self, task: Task) -> tuple[str, ...]:
        checkpoint = self.study.spec.baseline.checkpoint
        assert checkpoint is not None
        config = next(iter(self.study.configs.values()))
        picked = ("--picked-on-test",) if checkpoint.picked_on_test else ()
        data = ("--data", str(config.data.root), "--trained-on", checkpoint.trained_on)
        words = (str(checkpoint.file), "--architecture", checkpoint.architecture, *data)
        return (*words, "--out", str(task.folder), *picked)


def _answer(path: Path, made_from: Mapping[str, Any]) -> Any:
    try:
        document = read_json(path)
    except InputError:
        return None
    fresh = isinstance(document, dict) and document.get("made_from") == made_from
    return document.get("answer") if fresh else None


def _write_config(file: Path, config: ExperimentConfig) -> None:
    # Beside the run directories: a run directory holds nothing that its own run did not write.
    document = config.model_dump(mode="json")
    write_text(file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last lines of a job's log in one: why it failed, in its own words."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return " / ".join(line.strip() for line in text.splitlines()[-count:] if line.strip())
