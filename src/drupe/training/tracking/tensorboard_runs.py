"""Runs as event files for TensorBoard: epochs while they train, figures, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from torch.utils.tensorboard import SummaryWriter

from drupe.errors import InputError
from drupe.files import write_text
from drupe.runs.layout import CONFIG_FILE
from drupe.runs.record import RunRecord
from drupe.training.config import written_settings
from drupe.training.tracking.tracked_run import (
    TrackedRun,
    epoch_measures,
    figures,
    seconds_of,
    series,
)

WHOLE = "written.txt"
"""Beside the events of a run that they tell to its end: its identity."""


class _Events:
    """The event file of a run that is being written, and the epochs in it."""

    def __init__(self, folder: Path, run: TrackedRun) -> None:
        # What an interruption left is hidden, from the first epoch on: all is written again.
        self.writer: Any = SummaryWriter(str(folder), purge_step=1)
        self.epochs = 0
        settings = yaml.safe_dump(written_settings(run.folder), sort_keys=False)
        self.writer.add_text(CONFIG_FILE, f"```yaml\n{settings}```", 0)

    def write_epochs(self, run: TrackedRun, record: RunRecord) -> None:
        """Write every number of every new epoch, at the time when the epoch was over."""
        for result, at in list(series(run.folder, record))[self.epochs :]:
            for key, value in epoch_measures(result):
                self.writer.add_scalar(f"epoch/{key}", value, result.epoch + 1, walltime=at)
            self.epochs = result.epoch + 1
        self.writer.flush()


class TensorBoardRuns:
    """A folder that TensorBoard shows: ``FOLDER/[STUDY/]EXPERIMENT-seed-N-IDENTITY``.

    Raises:
        InputError: ``folder`` can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.where = f"tracking.tensorboard: {folder}"
        self._open: dict[Path, _Events] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.where} can't be used: {error.strerror}") from None

    def advance(self, run: TrackedRun) -> None:
        """Write down the epochs of a run that trains."""
        record = run.record()
        self._events(run, record).write_epochs(run, record)

    def finish(self, run: TrackedRun) -> None:
        """Write a finished run down whole, unless it already is."""
        record = run.record()
        whole = self._place(run, record) / WHOLE
        if run.folder not in self._open and whole.exists():
            return
        events = self._events(run, record)
        events.write_epochs(run, record)
        at = seconds_of(record.finished)
        for key, value in figures(run.folder, record):
            events.writer.add_scalar(f"final/{key}", value, events.epochs, walltime=at)
        self._close(run)
        write_text(whole, record.identity + "\n")

    def stop(self, run: TrackedRun, interrupted: bool) -> None:
        """Close the events of a run that ended early; going on, it writes them anew."""
        if run.folder in self._open:
            self._close(run)

    def _place(self, run: TrackedRun, record: RunRecord) -> Path:
        study = () if run.project == run.experiment else (run.project,)
        name = f"{run.name} {record.identity[:8]}".replace(" ", "-")
        return self.root.joinpath(*study, name)

    def _events(self, run: TrackedRun, record: RunRecord) -> _Events:
        if run.folder not in self._open:
            self._open[run.folder] = _Events(self._place(run, record), run)
        return self._open[run.folder]

    def _close(self, run: TrackedRun) -> None:
        self._open.pop(run.folder).writer.close()
