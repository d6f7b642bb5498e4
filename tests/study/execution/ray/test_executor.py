"""The jobs that a Ray executor keeps here; a study on a real cluster, a node of which is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drupe.errors import InputError
from drupe.study import run as study_run
from drupe.study.definition.loading import Study, load_study
from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.status import finished_epochs
from drupe.study.run import Selection, StudyStart, run_study
from study_files import FakeExecutor

pytest.importorskip("ray", reason="needs drupe[ray]")

import ray

from drupe.study.execution.ray import cluster as ray_cluster
from drupe.study.execution.ray.executor import PATIENCE_SECONDS, RayExecutor, _Remote
from ray_nodes import TwoNodes, start_two_nodes

pytestmark = pytest.mark.thorough

STUDY: dict[str, Any] = {
    "study": "cluster",
    "criteria": {"recall": 0.8, "accuracy": 0.6},
    "seeds": [1, 2],
    "defaults": {
        "model": {"architecture": "test_resnet", "pretrained": False},
        "input": {"size": 64},
        "training": {
            "epochs": 8,
            "batch_size": 16,
            "threads": 1,
            "precision": "fp32",
            "layout": "contiguous",
        },
    },
    "experiments": [
        {"id": "PLAIN"},
        {"id": "FOLDED", "config": {"calibration": {"crossfit": 2}}},
    ],
    "comparisons": [{"a": "FOLDED", "b": "PLAIN"}],
}


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TwoNodes]:
    yield from start_two_nodes(monkeypatch, tmp_path)


@pytest.fixture
def study(tmp_path: Path, small_synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study without exports and benches, which never leave the driver."""
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    plan = study_run.plan
    monkeypatch.setattr(
        study_run,
        "plan",
        lambda *given: tuple(
            task for task in plan(*given) if task.kind in ("train", "fold", "certify")
        ),
    )
    return load_study(file, {"data": {"root": str(small_synthetic)}})


@pytest.fixture
def far_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of which only the sizes are known: three processors, one for each run."""
    resources = [{"Resources": {"CPU": 2.0}}, {"Resources": {"CPU": 1.0}}]
    monkeypatch.setattr(ray_cluster, "connect", lambda address: None)
    monkeypatch.setattr(ray_cluster, "measure", lambda runs: ray_cluster.Share(1, 0.0))
    monkeypatch.setattr(ray_cluster, "nodes", lambda: resources)


@pytest.mark.parametrize("kind", ["certify", "import", "export", "bench"])
def test_what_needs_the_store_runs_beside_it_in_turn(far_cluster, tmp_path, kind) -> None:
    local = FakeExecutor(lambda job: 3, slots={"cpu": 1}, certifies=lambda job: 3)
    executor = RayExecutor("auto", tmp_path, local=local)
    tasks = [Task(name, kind, "A", "cpu", tmp_path / "run", 1) for name in ("first", "second")]
    assert (executor.slots("cpu"), executor.slots("exclusive"), executor.threads) == (3, 1, 1)

    for task in tasks:
        executor.start(Job(task, ("--version",), tmp_path / "log"))
    assert [job.task.name for job in local.running] == ["first"]

    assert executor.ended(0.0) == [Ended(tasks[0], 3)]
    assert [job.task.name for job in local.running] == ["second"]
    assert executor.ended(0.0) == [Ended(tasks[1], 3)]
    assert local.at_once == [{"first"}, {"second"}]


def test_stopping_ends_what_runs_here_and_forgets_what_waits(far_cluster, tmp_path) -> None:
    local = FakeExecutor(slots={"cpu": 1})
    executor = RayExecutor("auto", tmp_path, local=local)
    for name in ("first", "second"):
        task = Task(name, "certify", "A", "cpu", tmp_path / "run", 1)
        executor.start(Job(task, ("--version",), tmp_path / "log"))

    executor.stop()

    assert local.stopped
    assert executor.ended(0.0) == []


def test_a_study_without_a_node_for_its_runs_gives_up(far_cluster, tmp_path, monkeypatch) -> None:
    executor = RayExecutor("auto", tmp_path)
    task = Task("far", "train", "A", "gpu", tmp_path / "run", 1)
    executor._remote["far"] = _Remote(Job(task, (), tmp_path / "log"), None, "report", "")
    monkeypatch.setattr(ray, "wait", lambda *references, **options: ([], []))
    monkeypatch.setattr(ray_cluster, "nodes", lambda: [])

    for _ in range(2):
        assert executor.ended(PATIENCE_SECONDS / 2 - 1) == []
    with pytest.raises(InputError, match="no node left with 1 processors for a run"):
        executor.ended(PATIENCE_SECONDS / 2)


@pytest.mark.slow
def test_a_node_dies_and_the_study_ends_as_on_one_machine(study, two_nodes, tmp_path) -> None:
    killed: list[dict[str, Outcome]] = []

    def on_start(start: StudyStart) -> Any:
        def watch(outcomes: dict[str, Outcome]) -> None:
            at_work = [
                task
                for task in start.tasks
                if outcomes[task.name].state == "running" and list(finished_epochs(task.folder))
            ]
            done = [name for name, outcome in outcomes.items() if outcome.is_done]
            if done and len(at_work) == 2 and not killed:
                killed.append(dict(outcomes))
                two_nodes.kill_one()

        return watch

    store = tmp_path / "store"
    executor = RayExecutor(two_nodes.address, store)
    assert (executor.slots("gpu"), executor.threads) == (2, 1)
    verdict = run_study(study, store, executor, on_start=on_start).verdict
    executor.stop()

    assert killed, "no node was killed"
    assert not verdict.failed
    events = list(Journal(store / "runs" / "cluster").events())
    lost = [event.task for event in events if "its machine was lost" in event.reason]
    assert len(set(lost)) == 1  # perhaps twice, if it was sent to the dead node again
    done = Counter(event.task for event in events if event.state == "done")
    assert set(done.values()) == {1}
    started = Counter(event.task for event in events if event.state == "running")
    assert {name for name, count in started.items() if count > 1} == set(lost)
    local = LocalExecutor(2, devices=())
    on_one_machine = run_study(study, tmp_path / "other", local).verdict
    assert verdict.to_json() == on_one_machine.to_json()
    for there in (tmp_path / "other" / "runs").rglob("predictions/*.csv"):
        here = store / there.relative_to(tmp_path / "other")
        assert here.read_bytes() == there.read_bytes()
    assert not list((store / "runs").rglob("*.tmp"))
    for name in ("one", "two"):
        packs = list((tmp_path / name).rglob("images.npy"))
        assert len(packs) == 1, "the data is unpacked once per node"


@pytest.mark.slow
def test_a_stopped_study_keeps_its_epochs_and_goes_on(study, two_nodes, tmp_path) -> None:
    training = {"epochs": 40, "checkpoint_every": 1}
    data = {"root": str(study.configs["PLAIN"].data.root)}
    longer = load_study(study.source, {"training": training, "data": data, "seeds": [1]})
    only = Selection(frozenset({"PLAIN"}))
    store = tmp_path / "store"
    folder = store / "runs" / "cluster" / "PLAIN" / "seed-1"

    def stop_half_way(_: StudyStart) -> Any:
        def watch(_: dict[str, Outcome]) -> None:
            if len(list(finished_epochs(folder))) >= 2:
                raise KeyboardInterrupt

        return watch

    executor = RayExecutor(two_nodes.address, store)
    with pytest.raises(KeyboardInterrupt):
        run_study(longer, store, executor, selection=only, on_start=stop_half_way)
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert (folder / "checkpoint" / "state.safetensors").exists()
    epochs = (folder / "metrics.jsonl").read_text().splitlines()

    run_study(longer, store, LocalExecutor(1, devices=()), selection=only)

    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    assert (folder / "metrics.jsonl").read_text().splitlines()[: len(epochs) - 1] == epochs[:-1]
