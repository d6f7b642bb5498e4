"""Runs a study's trainings on a Ray cluster; what needs the driver's store happens beside it.

Trainings and folds travel: their data goes into the object store once, what they write comes back
into the driver's store. No folder is shared. Imports, certificates, exports and benches are short
and read what lies in the store (and a latency is only worth anything on a machine that is named),
so they run here. A run that dies with its node starts again elsewhere, from the last state that
came back.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from drupe import __version__
from drupe.errors import InputError
from drupe.files import naming
from drupe.study.definition.plan import Lane, Task
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.local import STOP_SECONDS, LocalExecutor
from drupe.study.execution.ray import cluster as ray_cluster
from drupe.study.execution.ray.data import Sender
from drupe.study.execution.ray.file_chunks import pack
from drupe.study.execution.ray.messages import Order, Report
from drupe.study.execution.ray.node import NodeRun
from drupe.study.execution.ray.returned_run import LIVE_FILES, install, show_progress, state_so_far

TRAVELLING = ("train", "fold")
REPORT_SECONDS = 1.0
"""Time between two reports of a run; its end is reported at once."""
SEND_SECONDS = 30.0
"""Time for a run that was stopped to send what it has."""
LOCAL_POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
"""Time that a study waits for a node when there is none left that could take a run."""
NOT_STARTED = 2
"""Exit code of a run that could not even be tried."""


@dataclass
class _Remote:
    """A run on a node: its actor, the report that is awaited, and what data it must see."""

    job: Job
    actor: Any
    report: Any
    fingerprint: str


class RayExecutor:
    """Jobs on the Ray cluster at ``address``; ``local`` takes those that stay here.

    ``runs``: training runs at once on the smallest node, where there are no GPUs.

    Raises:
        InputError: the cluster can't be reached, or a node lacks this version of Drupe.
    """

    def __init__(
        self,
        address: str,
        store: Path,
        *,
        runs: int = 1,
        local: LocalExecutor | None = None,
        weights_folder: Path | None = None,
    ) -> None:
        ray_cluster.connect(address)
        self.share = ray_cluster.measure(runs)
        self.local = local or LocalExecutor()
        self._nodes = ray_cluster.nodes()
        self._without_node = 0.0
        self._sender = Sender(store, ray.put, weights_folder)
        self._remote: dict[str, _Remote] = {}
        self._here: set[str] = set()
        self._queue: deque[Job] = deque()

    @property
    def threads(self) -> int:
        """CPU threads of a run: the processors that Ray gives it."""
        return self.share.cpus

    def slots(self, lane: Lane) -> int:
        """Return how many jobs of ``lane`` may run at once, on the nodes that are alive now."""
        if lane == "exclusive":
            return 1
        # At least one waits for a node, so that the study waits and doesn't spin.
        return max(1, ray_cluster.total_runs(self.share, self._nodes, with_gpu=lane == "gpu"))

    def start(self, job: Job) -> None:
        """Send a run to the cluster; what stays here waits its turn if something runs already."""
        if job.task.kind not in TRAVELLING:
            self._queue.append(job)
            self._start_local()
            return
        gpus = self.share.gpus if job.task.lane == "gpu" else 0.0
        job.log.parent.mkdir(parents=True, exist_ok=True)
        order = self._order(job)
        actor = ray.remote(NodeRun).options(num_cpus=self.share.cpus, num_gpus=gpus).remote()
        self._remote[job.task.name] = _Remote(
            job, actor, actor.begin.remote(order), order.data.fingerprint
        )

    def _order(self, job: Job) -> Order:
        config = job.task.config
        assert config is not None
        so_far = state_so_far(job.task)
        return Order(
            task=_without_config(job.task),
            version=__version__,
            experiment=Path(job.words[1]).read_text(encoding="utf-8"),
            data=self._sender.data(config),
            live=LIVE_FILES,
            so_far=pack(so_far, ray.put) if so_far else None,
            weights=self._sender.weights(config),
        )

    def _start_local(self) -> None:
        while self._queue and len(self._here) < self.local.slots(self._queue[0].task.lane):
            job = self._queue.popleft()
            self._here.add(job.task.name)
            self.local.start(job)

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that have ended since the last call, waiting ``seconds`` at most.

        Raises:
            InputError: for a minute no node that could take a run has been alive.
        """
        waiting = {run.report: run for run in self._remote.values()}
        patience = min(seconds, LOCAL_POLL_SECONDS) if self._here else seconds
        if waiting:
            references = list(waiting)
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
            if not ready:
                ready, _ = ray.wait(references, num_returns=1, timeout=patience)
        else:
            ready = []
            time.sleep(patience)
        found = [end for one in ready if (end := self._take_report(waiting[one])) is not None]
        found += self._ended_here()
        self._look_at_nodes(seconds)
        return found

    def _ended_here(self) -> list[Ended]:
        found = self.local.ended(0.0)
        self._here -= {end.task.name for end in found}
        self._start_local()
        return found

    def _look_at_nodes(self, seconds: float) -> None:
        self._nodes = ray_cluster.nodes()
        missing = self._remote and not ray_cluster.total_runs(self.share, self._nodes, False)
        self._without_node = self._without_node + seconds if missing else 0.0
        if self._without_node >= PATIENCE_SECONDS:
            raise InputError(
                f"the Ray cluster has no node left with {self.share.cpus} processors for a run: "
                "start one and run the same command again"
            )

    def _take_report(self, run: _Remote) -> Ended | None:
        """Take a report in; return how the run ended, None if it goes on."""
        task = run.job.task
        try:
            report: Report = ray.get(run.report)
            if report.exit_code is None:
                self._show_progress(run, report)
                run.report = run.actor.poll.remote(REPORT_SECONDS)
                return None
            code = self._finish(run, report)
        except ray.exceptions.RayTaskError as error:
            _append_line(run.job.log, f"on its node: {str(error).splitlines()[-1]}")
            code = NOT_STARTED
        except ray.exceptions.RayError as error:
            _append_line(run.job.log, f"lost: {str(error).splitlines()[0]}")
            self._forget(run)
            return Ended(task, -9, lost=True)
        self._forget(run)
        return Ended(task, code)

    def _show_progress(self, run: _Remote, report: Report) -> None:
        _append(run.job.log, report.log)
        show_progress(run.job.task, report.files)

    def _finish(self, run: _Remote, report: Report) -> int:
        """Bring home what an ended run wrote; return its exit code."""
        assert report.exit_code is not None
        _append(run.job.log, report.log)
        if report.artefacts is None:
            return report.exit_code
        try:
            install(run.job.task, report.artefacts, ray.get, run.fingerprint)
        except InputError as error:
            _append_line(run.job.log, str(error))
            return report.exit_code or NOT_STARTED
        return report.exit_code

    def _forget(self, run: _Remote) -> None:
        del self._remote[run.job.task.name]
        ray.kill(run.actor)  # frees what it holds of its node at once

    def stop(self) -> None:
        """Interrupt all runs, keep what they have come to, and leave the cluster."""
        self._queue.clear()
        stopping = {
            run.actor.stop.remote(_without_config(run.job.task)): run
            for run in self._remote.values()
        }
        self.local.stop()
        self._here.clear()
        if stopping:
            patience = STOP_SECONDS + SEND_SECONDS
            ready, _ = ray.wait(list(stopping), num_returns=len(stopping), timeout=patience)
            for reference in ready:
                stopping[reference].report = reference
                self._take_report(stopping[reference])
        for run in list(self._remote.values()):
            self._forget(run)
        ray.shutdown()


def _without_config(task: Task) -> Task:
    """Return ``task`` without what would load PyTorch where it is only read."""
    return replace(task, config=None, condition=None)


def _append(log: Path, said: bytes) -> None:
    if said:
        with naming(log), log.open("ab") as stream:
            stream.write(said)


def _append_line(log: Path, text: str) -> None:
    _append(log, text.encode() + b"\n")
