"""``metrics.jsonl``: one line per epoch, appended while a run trains."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.files import write_text

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the fit split measured: a line of ``metrics.jsonl``."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of the whole loop, augmentation included."""
        return self.images / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return the metrics line; ``accuracy`` is on augmented fit images, as they trained."""
        return {**self.__dict__, "images_per_second": self.images_per_second}


def append_epoch(folder: Path, result: EpochResult) -> None:
    """Add the line of one epoch."""
    with (folder / METRICS_FILE).open("a", encoding="utf-8") as metrics:
        metrics.write(json.dumps(result.to_json()) + "\n")


def keep_epochs(folder: Path, count: int) -> None:
    """Drop the lines after the first ``count``: those epochs are measured again.

    So a torn last line goes too.

    Raises:
        InputError: one of the first ``count`` lines is damaged.
    """
    lines = _lines(folder)[:count]
    _seconds(folder, lines)
    write_text(folder / METRICS_FILE, b"".join(lines).decode("utf-8"))


def train_seconds(folder: Path) -> float:
    """Return how long all epochs took together; a damaged line is an :class:`InputError`."""
    return _seconds(folder, _lines(folder))


def _lines(folder: Path) -> list[bytes]:
    path = folder / METRICS_FILE
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _seconds(folder: Path, lines: list[bytes]) -> float:
    total = 0.0
    for number, line in enumerate(lines, start=1):
        try:
            seconds = float(json.loads(line.decode("utf-8"))["seconds"])
        except (ValueError, TypeError, KeyError, RecursionError):
            seconds = math.nan
        if not math.isfinite(seconds):
            raise InputError(
                f"{folder / METRICS_FILE}: line {number}: must be a JSON mapping with the epoch's "
                f"'seconds', got {line[:40]!r}; to start the run anew, delete "
                f"{folder / 'checkpoint'}"
            )
        total += seconds
    return total
