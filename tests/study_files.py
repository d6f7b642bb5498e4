"""Studies for tests: real plans and files, runs that are written instead of trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from drupe.cli.app import app
from drupe.evaluation.predictions import Predictions
from drupe.files import file_hash
from drupe.runs.training_overlap import Seen
from drupe.study.definition.loading import Study, load_study
from drupe.study.definition.plan import Lane, Task, plan
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.scheduler import Scheduler
from drupe.study.execution.work import Work
from drupe.training.members import ensemble_identity
from run_files import decided, seal, write_run

FINGERPRINT = "f" * 64
STUDY: dict[str, Any] = {
    "study": "small",
    "question": "Is B better?",
    "seeds": [1, 2],
    "defaults": {"model": {"architecture": "test_resnet", "pretrained": False}},
    "experiments": [{"id": "A"}, {"id": "B"}],
}


def exported(size_bytes: int = 10_000_000) -> dict[str, Any]:
    """Return what ``drupe export --json`` says of one graph of this size."""
    function = {"graph": "fp32.onnx", "backend": "onnxruntime", "precision": "fp32"}
    return {"bundle": "bundle", "functions": [{**function, "size_bytes": size_bytes}]}


def timed(milliseconds: float) -> dict[str, Any]:
    """Return what ``drupe bench --json`` says of a model that always takes as long."""
    quantiles = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms"), milliseconds)
    function = {"name": "bundle", "backend": "onnxruntime", "precision": "fp32", "threads": 1}
    samples = {"samples": 500, "samples_ms": [milliseconds] * 500}
    return {"results": [{**function, "batch": 1, **quantiles, **samples}]}


def small_study(folder: Path, **changes: Any) -> Study:
    """Return the study A, B (seeds 1 and 2) with other keys."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}))
    return load_study(file)


def checkpoint_in(folder: Path, **keys: Any) -> dict[str, Any]:
    """Return a study's ``baseline.checkpoint``, whose file is there and holds nothing."""
    (folder / "model_best.pt").write_bytes(b"weights")
    return {"file": str(folder / "model_best.pt"), "architecture": "test_resnet", **keys}


def import_run(
    task: Task, seen: Seen, test: Predictions, calibration: Predictions | None = None
) -> int:
    """Do the job of an import: the run of a network that has ``seen`` so much of the data."""
    write_run(
        task.folder, experiment="BASELINE", seed=0, test=test, calibration=calibration, seen=seen
    )
    answer = task.folder.parent / ".import.answer.json"
    answer.write_text("{}")
    return 0


def work_on(study: Study, store: Path) -> Work:
    """Return the study's work on data with the fingerprint of :func:`finish`'s runs."""
    return Work(study, store, FINGERPRINT)


def task_of(work: Work, name: str) -> Task:
    """Return the task ``name`` of the study."""
    return next(task for task in plan(work.study, work.store) if task.name == name)


def finish(
    task: Task,
    test: Predictions | None = None,
    calibration: Predictions | None = None,
    fingerprint: str = FINGERPRINT,
    **others: Any,
) -> Path:
    """Write the run that ``task`` would train; ``others`` as for :func:`write_run`."""
    assert task.config is not None
    return write_run(
        task.folder,
        experiment=task.experiment,
        seed=task.seed,
        test=test or decided(100),
        calibration=calibration,
        identity=task.config.identity(fingerprint),
        fingerprint=fingerprint,
        **others,
    )


def average(
    job: Job, test: Predictions | None = None, calibration: Predictions | None = None
) -> int:
    """Do the job of an ensemble: its run, of members as they are."""
    members = [Path(word) for word in job.words[1 : job.words.index("--name")]]
    weights = [file_hash(member / "model.safetensors") for member in members]
    write_run(
        job.task.folder,
        experiment=job.task.experiment,
        seed=0,
        test=test or decided(100),
        calibration=calibration,
        identity=ensemble_identity(weights, FINGERPRINT),
        members=[f"{member.parent.name} {member.name}" for member in members],
    )
    (job.task.folder / "model.safetensors").write_bytes(b"all of them")
    seal(job.task.folder)
    return 0


class FakeExecutor:
    """Runs ``does(job)`` in place of each job, in the order of their starts.

    ``does`` returns an exit code or an :class:`Ended`; by default every run succeeds.
    ``certifies`` does the same for certificates, which a study makes anew each time: ``certified``
    names them, ``started`` the other jobs. ``slots`` gives the lanes' sizes (2 where left out);
    ``at_once`` keeps which jobs ever ran side by side.
    """

    threads = 1

    def __init__(
        self,
        does: Callable[[Job], int | Ended] | None = None,
        slots: Mapping[Lane, int] | None = None,
        certifies: Callable[[Job], int | Ended] | None = None,
    ) -> None:
        self.does, self.sizes = does or succeed, slots or {}
        self.certifies = certifies or succeed
        self.started: list[str] = []
        self.certified: list[str] = []
        self.at_once: list[frozenset[str]] = []
        self.running: list[Job] = []
        self.stopped = False

    def slots(self, lane: Lane) -> int:
        return self.sizes.get(lane, 2)

    def start(self, job: Job) -> None:
        self.running.append(job)
        names = self.certified if job.task.kind == "certify" else self.started
        names.append(job.task.name)
        self.at_once.append(frozenset(one.task.name for one in self.running))
        per_lane = Counter(one.task.lane for one in self.running)
        assert all(count <= self.slots(lane) for lane, count in per_lane.items())

    def ended(self, seconds: float) -> Sequence[Ended]:
        if not self.running:
            return []
        job = self.running.pop(0)
        done = (self.certifies if job.task.kind == "certify" else self.does)(job)
        return [done if isinstance(done, Ended) else Ended(job.task, done)]

    def stop(self) -> None:
        self.stopped = True
        self.running.clear()


def succeed(job: Job) -> int:
    """Do a job as it should be done."""
    if job.task.kind in ("train", "fold"):
        finish(job.task)
    elif job.task.kind == "ensemble":
        average(job)
    elif job.task.kind == "certify":
        assert job.answer is not None
        job.answer.parent.mkdir(parents=True, exist_ok=True)
        with job.answer.open("w") as answer, redirect_stdout(answer):
            app(job.words, standalone_mode=False)
    elif job.answer is not None:
        job.answer.parent.mkdir(parents=True, exist_ok=True)
        job.answer.write_text(json.dumps(exported() if job.task.kind == "export" else timed(1.0)))
        if job.task.kind == "export":
            (job.answer.parent / "bundle").mkdir()
            (job.answer.parent / "bundle" / "bundle.json").write_text("{}")
    return 0


def schedule(
    work: Work, executor: FakeExecutor, tasks: Sequence[Task] | None = None
) -> dict[str, Outcome]:
    """Run all tasks of a study to their end and return what became of them."""
    tasks = plan(work.study, work.store) if tasks is None else tasks
    scheduler = Scheduler(tasks, work, executor, Journal(work.folder), lambda outcomes: None)
    return scheduler.run()
