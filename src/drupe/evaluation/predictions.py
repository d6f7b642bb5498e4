"""What a model said about each item: in memory, and as the CSV that all later steps read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from drupe.errors import InputError
from drupe.files import write_text

COLUMNS = ("path", "label", "score", "logit")
REQUIRED = COLUMNS[:3]
SHOWN_PROBLEMS = 20


@dataclass(frozen=True, eq=False)
class Predictions:
    """The labels and scores of n items.

    ``paths`` are POSIX and relative to the dataset root; ``classes`` is (clean, defect);
    ``is_defect`` (bool [n]) is the label; ``scores`` (float32 [n]) are sigmoid(z / T) in [0, 1];
    ``logits`` (float32 [n]) are z before temperature, ``None`` where a foreign CSV has none.
    Arrays are converted to those types; unequal lengths raise ``ValueError``.
    """

    paths: tuple[str, ...]
    is_defect: NDArray[np.bool_]
    logits: NDArray[np.float32] | None
    scores: NDArray[np.float32]
    classes: tuple[str, str]

    def __post_init__(self) -> None:
        shape = (len(self.paths),)
        for name, dtype in (
            ("is_defect", np.bool_),
            ("logits", np.float32),
            ("scores", np.float32),
        ):
            values = getattr(self, name)
            if name == "logits" and values is None:
                continue
            array = np.asarray(values, dtype)
            if array.shape != shape:
                raise ValueError(f"{name}: must have shape {shape}, got {array.shape}")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, items: NDArray[np.intp]) -> Predictions:
        """Return the predictions of ``items`` (indices), in that order."""
        return Predictions(
            paths=tuple(self.paths[index] for index in items),
            is_defect=self.is_defect[items],
            logits=None if self.logits is None else self.logits[items],
            scores=self.scores[items],
            classes=self.classes,
        )


def scores_from_logits(logits: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Return sigmoid(z / T) as float32 [n]; a score is ≥ 0.5 exactly where z ≥ 0.

    A logit that is NaN or infinite is an :class:`InputError`.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature: must be in (0, ∞), got {temperature!r}")
    z = finite_logits(logits)
    scores: NDArray[np.float32] = np.asarray(expit(z / temperature), np.float32)
    # float32 rounds the sigmoid of a tiny negative z up to 0.5, which would turn the argmax.
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    np.minimum(scores, below_half, out=scores, where=z < 0)
    return scores


def finite_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """Return ``logits`` as float64 [n]; NaN or infinity among them is an :class:`InputError`."""
    z = np.asarray(logits, np.float64)
    broken = int(np.count_nonzero(~np.isfinite(z)))
    if broken:
        raise InputError(f"logits: must be finite, got NaN or infinity for {broken} of {z.size}")
    return z


def write_predictions(path: Path, table: Predictions) -> None:
    """Write ``path,label,score,logit`` atomically; numbers read back to the same float32."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [table.paths, [table.classes[int(defect)] for defect in table.is_defect]]
    # str() of a numpy float32 is its shortest text that round-trips.
    columns.append([str(score) for score in table.scores])
    if table.logits is not None:
        columns.append([str(logit) for logit in table.logits])
    writer.writerow(COLUMNS[: len(columns)])
    writer.writerows(zip(*columns, strict=True))
    write_text(path, text.getvalue())


@dataclass
class _Rows:
    """The rows read so far and everything found wrong with them."""

    source: Path
    lines: dict[str, int] = field(default_factory=dict)  # path -> line of its first occurrence
    labels: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, line: int, row: Mapping[str, str]) -> None:
        path, label = row["path"], row["label"]
        where = f"{self.source}, line {line}"
        if not path or not label:
            empty = "label" if path else "path"
            self.problems.append(f"{where}: {empty}: must not be empty")
        if path in self.lines:
            self.problems.append(
                f"{where}: path: must be unique, got {path!r} again (line {self.lines[path]})"
            )
        self.lines.setdefault(path, line)
        self.labels.append(label)
        self.scores.append(self._number(where, "score", row["score"], 0.0, 1.0))
        if "logit" in row:
            self.logits.append(self._number(where, "logit", row["logit"], -math.inf, math.inf))

    def _number(self, where: str, name: str, text: str, low: float, high: float) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            allowed = "in [0, 1]" if name == "score" else "a finite number"
            self.problems.append(f"{where}: {name}: must be {allowed}, got {text!r}")
        return value


def read_predictions(path: Path, defect: str | None = None) -> Predictions:
    """Read a predictions CSV; columns in any order, ``logit`` and further ones optional.

    ``defect`` names the defect class; without it the usual rule finds it. All mistakes in the
    file come in one :class:`InputError`, the first 20 with their lines, the rest counted.
    """
    rows = _Rows(path)
    for line, row in _records(path, rows.problems):
        rows.add(line, row)
    if rows.problems:
        raise InputError(_shortened(path, rows.problems))
    classes = _classes(path, rows.labels, defect)
    return Predictions(
        paths=tuple(rows.lines),
        is_defect=np.array([label == classes[1] for label in rows.labels], np.bool_),
        logits=np.array(rows.logits, np.float32) if rows.logits else None,
        scores=np.array(rows.scores, np.float32),
        classes=classes,
    )


def _records(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column -> text); rows of a wrong length become problems."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    problems.append(
                        f"{path}, line {reader.line_num}: must have {len(header)} fields, "
                        f"got {len(fields)}"
                    )
                    continue
                row = dict(zip(header, fields, strict=True))
                yield reader.line_num, {name: row[name] for name in COLUMNS if name in row}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    problems = [
        f"{path}: must have the columns {','.join(REQUIRED)} (and logit if known), "
        f"got no column {name!r}"
        for name in REQUIRED
        if name not in header
    ]
    problems += [
        f"{path}: column {name!r} must appear once, got {header.count(name)}"
        for name in COLUMNS
        if header.count(name) > 1
    ]
    if problems:
        raise InputError(problems)


def _classes(path: Path, labels: Sequence[str], defect: str | None) -> tuple[str, str]:
    # Imported here: the rule belongs to the data layer, and only reading needs it.
    from drupe.data.discover import find_defect_class

    names = sorted(set(labels))
    if len(names) != 2:
        found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InputError(
            f"{path}: label: must hold two classes, got {len(names)}" + (f": {found}" * bool(names))
        )
    try:
        return find_defect_class((names[0], names[1]), defect)
    except InputError as error:
        raise InputError(f"{path}: {problem}" for problem in error.problems) from None


def _shortened(path: Path, problems: Sequence[str]) -> list[str]:
    more = len(problems) - SHOWN_PROBLEMS
    rest = [f"{path}: and {more} more problems"] if more > 0 else []
    return [*problems[:SHOWN_PROBLEMS], *rest]
