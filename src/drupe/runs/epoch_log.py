"""``metrics.jsonl``: one line per epoch, appended while a run trains."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.files import naming, write_text
from drupe.runs.layout import RunFolder


@dataclass(frozen=True)
class EpochResult:
    """The measures of one pass over the fit split: a line of ``metrics.jsonl``."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images: int
    seconds: float

    @classmethod
    def from_json(cls, line: str) -> EpochResult:
        """Read a line; one that is damaged or cut off is a :class:`ValueError`."""
        try:
            document = json.loads(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError("an epoch must be a JSON mapping")
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if not _is_number(document.get(name))]:
            raise ValueError(f"an epoch must have numbers for {', '.join(missing)}")
        return cls(**{name: document[name] for name in names})

    @property
    def images_per_second(self) -> float:
        """Throughput of the whole loop, augmentation included."""
        return self.images / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return the metrics line; ``accuracy`` is on augmented fit images, as they trained."""
        return {**self.__dict__, "images_per_second": self.images_per_second}


def append_epoch(folder: Path, result: EpochResult) -> None:
    """Add the line of one epoch."""
    path = RunFolder(folder).epochs
    with naming(path), path.open("a", encoding="utf-8") as metrics:
        metrics.write(json.dumps(result.to_json()) + "\n")


def keep_epochs(folder: Path, count: int) -> None:
    """Drop the lines after the first ``count``: those epochs are measured again.

    So a torn last line goes too.

    Raises:
        InputError: one of the first ``count`` lines is damaged.
    """
    lines = _lines(folder)[:count]
    _seconds(folder, lines)
    write_text(RunFolder(folder).epochs, b"".join(lines).decode("utf-8"))


def train_seconds(folder: Path) -> float:
    """Return how long all epochs took together; a damaged line is an :class:`InputError`."""
    return _seconds(folder, _lines(folder))


def finished_epochs(folder: Path) -> Iterator[EpochResult]:
    """Yield the epochs so far, up to the first line that isn't whole (yet)."""
    for line in _lines(folder):
        try:
            yield EpochResult.from_json(line.decode("utf-8"))
        except ValueError:
            return


def read_epochs(folder: Path) -> tuple[EpochResult, ...]:
    """Return all epochs of a finished run; none of a network that was trained elsewhere.

    Raises:
        InputError: a line is damaged.
    """
    found = []
    for number, line in enumerate(_lines(folder), start=1):
        try:
            found.append(EpochResult.from_json(line.decode("utf-8")))
        except ValueError as error:
            path = RunFolder(folder).epochs
            raise InputError(f"{path}: line {number}: not a valid epoch ({error})") from None
    return tuple(found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(folder: Path) -> list[bytes]:
    path = RunFolder(folder).epochs
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def _seconds(folder: Path, lines: list[bytes]) -> float:
    total = 0.0
    for number, line in enumerate(lines, start=1):
        try:
            seconds = EpochResult.from_json(line.decode("utf-8")).seconds
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise InputError(
                f"{RunFolder(folder).epochs}: line {number}: must be a JSON mapping with the "
                f"epoch's 'seconds', got {line[:40]!r}; to start the run anew, delete "
                f"{RunFolder(folder).checkpoint.parent}"
            )
        total += seconds
    return total
