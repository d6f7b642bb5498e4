"""Follows runs with the trackers that are asked for; none ever stops or delays a training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from drupe.errors import DrupeError, InputError, MissingExtraError
from drupe.notices import notice
from drupe.runs.epoch_log import EpochResult
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import is_first_process
from drupe.training.tracking.settings import Tracking
from drupe.training.tracking.tracked_run import RunTracker, TrackedRun, first_line

FLUSH_SECONDS = 120.0
"""Time to write what is left when the work is over."""

AGAIN = "the same command writes them down later"
Warn = Callable[[str], None]
Work = tuple[Literal["advance", "finish", "stop", "interrupt"], TrackedRun]


class Courier:
    """Takes runs to one tracker, in a thread: the training never waits for it.

    ``warn`` gets one message if the tracker fails, and then nothing is written any more.
    """

    def __init__(self, tracker: RunTracker, warn: Warn) -> None:
        self.tracker, self.warn = tracker, warn
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._works = True
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Have something written down as soon as what came before is."""
        self._waiting.put(work)

    def close(self) -> None:
        """Wait until all is written, though not for ever."""
        self._waiting.put(None)
        self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive():
            self._works = False
            self.warn(f"{self.tracker.where} is too slow, so a part is missing there: {AGAIN}")

    def _write_all(self) -> None:
        while (work := self._waiting.get()) is not None:
            if not self._works:
                continue
            try:
                self._write(*work)
            except Exception as error:
                self._works = False
                self.warn(unreachable(self.tracker.where, error))

    def _write(self, what: str, run: TrackedRun) -> None:
        if what == "advance":
            self.tracker.advance(run)
        elif what == "finish":
            self.tracker.finish(run)
        else:
            self.tracker.stop(run, interrupted=what == "interrupt")


def open_trackers(tracking: Tracking, warn: Warn) -> list[RunTracker]:
    """Return the trackers that can be used; ``warn`` is told of a server that doesn't answer.

    Raises:
        InputError: of each that never can be, what is missing.
    """
    found: list[RunTracker] = []
    problems: list[str] = []
    for open_one in (_open_mlflow, _open_tensorboard):
        try:
            found += open_one(tracking)
        except ConnectionError as error:
            warn(unreachable(f"tracking.mlflow: {tracking.mlflow}", error))
        except InputError as error:
            problems += error.problems
        except DrupeError as error:
            problems.append(str(error))
    if problems:
        raise InputError(problems)
    return found


def _open_mlflow(tracking: Tracking) -> Iterator[RunTracker]:
    if tracking.mlflow is not None:
        try:
            from drupe.training.tracking.mlflow_runs import MlflowRuns
        except ModuleNotFoundError as error:
            raise MissingExtraError("tracking.mlflow", "mlflow", error.name or "mlflow") from None
        yield MlflowRuns(tracking.mlflow)


def _open_tensorboard(tracking: Tracking) -> Iterator[RunTracker]:
    if tracking.tensorboard is not None:
        try:
            from drupe.training.tracking.tensorboard_runs import TensorBoardRuns
        except ModuleNotFoundError as error:
            module = error.name or "tensorboard"
            raise MissingExtraError("tracking.tensorboard", "tensorboard", module) from None
        yield TensorBoardRuns(tracking.tensorboard)


def unreachable(where: str, error: Exception) -> str:
    """Return the one message about a tracker that fails while the work goes on."""
    said = first_line(error)
    return f"{where} can't be reached, so the runs are kept in the store alone ({AGAIN}): {said}"


@contextmanager
def followed(
    config: ExperimentConfig, folder: Path, warn: Warn = notice
) -> Iterator[tuple[Callable[[EpochResult], None], ...]]:
    """Follow one training in the block with the trackers of ``config``; yield its callbacks.

    Under ``torchrun`` the process that writes the run follows it.

    Raises:
        InputError: a tracker that can't be used, before anything is done.
    """
    wanted = config.tracking if is_first_process() else Tracking()
    couriers = [Courier(tracker, warn) for tracker in open_trackers(wanted, warn)]
    run = TrackedRun(
        folder.absolute(), config.name, config.name, f"{config.name} seed {config.seed}"
    )

    def tell(what: Literal["advance", "finish", "stop", "interrupt"]) -> None:
        for courier in couriers:
            courier.put((what, run))

    try:
        yield (lambda _: tell("advance"),) if couriers else ()
        tell("finish")
    except BaseException as error:
        tell("interrupt" if isinstance(error, KeyboardInterrupt) else "stop")
        raise
    finally:
        for courier in couriers:
            courier.close()
