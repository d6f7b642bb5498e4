"""A run on a node of a Ray cluster: its data is unpacked, it is trained and sent back.

A run on a node is the same process as on one machine. Everything lies below the node's folder for
temporary files: data is unpacked once per node and kept, what a run wrote goes when it ends.
"""

from __future__ import annotations

import getpass
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from drupe import __version__
from drupe.data.overlay import write_overlay
from drupe.errors import InputError
from drupe.files import write_text
from drupe.locks import HeldError, acquire, locked
from drupe.runs.layout import RunFolder
from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.ray.file_chunks import files_below, pack, receive, unpack
from drupe.study.execution.ray.messages import Data, Order, Report

LOG_BYTES = 64 << 10
"""Of a log, per report: the rest is skipped."""


class NodeRun:
    """One run on this node: an actor, called by one driver, one call at a time."""

    def __init__(self) -> None:
        self.local = LocalExecutor(devices=())  # Ray has chosen the GPUs that can be seen
        self.sent: dict[str, bytes] = {}
        self.log_sent = 0
        self.live: tuple[str, ...] = ()
        self.folder = Path()
        self.lock: BaseFileLock | None = None

    def begin(self, order: Order) -> Report:
        """Unpack what is missing here and start the run."""
        if order.version != __version__:
            said = f"drupe {__version__} is installed on this node, the study runs {order.version}"
            return Report(log=said.encode() + b"\n", exit_code=2)
        cache = node_cache()
        self.folder, self.lock = _own_folder(cache / "runs")
        root, store = receive_data(order.data, cache)
        if order.so_far is not None:
            unpack(order.so_far, self.run, _get)
        self.live = order.live
        file = self.folder / "experiment.yaml"
        write_text(file, order.experiment)
        words = ["train", str(file), "--data", str(root), "--resume", "--out", str(self.run)]
        words += ["--store", str(store)]
        if order.weights is not None:
            words += ["--weights", str(receive(order.weights, cache, _get))]
        self.local.start(Job(order.task, tuple(words), self.log))
        return Report()

    def poll(self, seconds: float) -> Report:
        """Return what is new, at once if the run has ended, else after ``seconds``."""
        ended = self.local.ended(seconds)
        return self._report(ended[0] if ended else None)

    def stop(self, task: Task) -> Report:
        """Interrupt the run, wait for it to write its record, and return what it has."""
        self.local.stop()
        return self._report(Ended(task, -2))

    @property
    def run(self) -> Path:
        """The run directory on this node."""
        return self.folder / "run"

    @property
    def log(self) -> Path:
        """The file that receives the run's stderr."""
        return self.folder / "log"

    def _report(self, ended: Ended | None) -> Report:
        log = self._new_log()
        if ended is None:
            return Report(self._new_files(), log)
        artefacts = pack(files_below(self.run), _put)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Report({}, log, ended.exit_code, artefacts)

    def _new_log(self) -> bytes:
        if not self.log.exists():
            return b""
        with self.log.open("rb") as log:
            log.seek(max(self.log_sent, self.log.stat().st_size - LOG_BYTES))
            said = log.read()
            self.log_sent = log.tell()
        return said

    def _new_files(self) -> dict[str, bytes]:
        found = {name: self.run / name for name in self.live if (self.run / name).exists()}
        if len(found) < len(self.live):
            return {}
        now = {name: path.read_bytes() for name, path in found.items()}
        new = {name: content for name, content in now.items() if self.sent.get(name) != content}
        self.sent = now
        return new


def node_cache() -> Path:
    """Return this user's folder on this node, below that for temporary files."""
    cache = Path(tempfile.gettempdir()) / f"drupe-{getpass.getuser()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    if cache.owner() != getpass.getuser():
        raise InputError(f"{cache}: must belong to {getpass.getuser()}, got {cache.owner()}")
    return cache


def receive_data(data: Data, cache: Path) -> tuple[Path, Path]:
    """Return (dataset, store) on this node, with the pack there: nothing is decoded."""
    root = receive(data.files, cache, _get) / data.table
    receive(data.pack, cache, _get)
    store = cache / data.key / "store"
    write_overlay(root, store, data.fixes)
    return root, store


def _own_folder(runs: Path) -> tuple[Path, BaseFileLock]:
    """Make a folder for one run, held until this process ends; remove those of dead ones."""
    runs.mkdir(parents=True, exist_ok=True)
    with locked(runs.with_name(".runs.lock")):
        for other in runs.iterdir():
            try:
                with locked(RunFolder(other).lock, timeout=0):
                    shutil.rmtree(other, ignore_errors=True)
            except HeldError:
                continue
        folder = Path(tempfile.mkdtemp(dir=runs))
        lock = acquire(RunFolder(folder).lock, timeout=0)
    return folder, lock


def _get(reference: Any) -> bytes:
    import ray

    chunk: bytes = ray.get(reference)
    return chunk


def _put(chunk: bytes) -> Any:
    import ray

    return ray.put(chunk)
