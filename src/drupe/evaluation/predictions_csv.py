"""A predictions CSV, Drupe's own or anyone's: ``path,label,score`` and, if known, ``logit``.

Columns ``type`` (of a defect) and ``group`` (what the item comes from) may tell more.

Comma, semicolon or tab; with or without a byte-order mark; any line ends; columns in any order,
further ones ignored; decimal commas where semicolons separate.

Reading takes two roads to one result. The fast one (Polars) reads five million rows in seconds and
accepts only what is flawless. Where it meets anything odd, the careful one reads the file
again, line by line, and says what stands where.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError, shortened
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.files import write_text

if TYPE_CHECKING:  # starts threads where it is imported, which a process that forks must not have
    import polars

COLUMNS = ("path", "label", "score", "logit", "type", "group")
REQUIRED = COLUMNS[:3]
TOLD = COLUMNS[4:]
"""Columns that may be missing or have empty fields."""
SHOWN_PROBLEMS = 20
SEPARATORS = ",;\t"
HEADER_BYTES = 1 << 16
LARGEST_LOGIT = float(np.finfo(np.float32).max)


def write_predictions(path: Path, table: Predictions) -> None:
    """Write the columns of ``table`` atomically; numbers read back to the same float32."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # str() of a numpy float32 is its shortest text that round-trips.
    columns: dict[str, Sequence[str] | None] = {
        "path": table.paths,
        "label": [table.classes[int(defect)] for defect in table.is_defect],
        "score": [str(score) for score in table.scores],
        "logit": None if table.logits is None else [str(logit) for logit in table.logits],
        "type": table.types,
        "group": table.groups,
    }
    known = {name: values for name, values in columns.items() if values is not None}
    writer.writerow(known)
    writer.writerows(zip(*known.values(), strict=True))
    write_text(path, text.getvalue())


def read_predictions(
    path: Path | str, defect: str | None = None, *, score_is_logit: bool = False
) -> Predictions:
    """Read the predictions in ``path``.

    ``defect`` names the defect class; without it the usual rule finds it. ``score_is_logit`` takes
    the column ``score`` as logits z, of which sigmoid(z) is the score.

    Raises:
        InputError: every mistake of the file, the first 20 with their lines, the rest counted.
    """
    path = Path(path)
    content = _content(path)
    layout = _layout(path, content, score_is_logit)
    columns = _read_fast(content, layout) or _read_carefully(path, content, layout)
    classes = _classes(path, columns.class_names, defect)
    if score_is_logit and columns.scores.size and _are_probabilities(columns.scores):
        raise InputError(
            f"{path}: score: with --logits must hold logits, got values in [0, 1] only: leave "
            "--logits out if they are probabilities"
        )
    values = columns.scores.astype(np.float32)
    logits = None if columns.logits is None else columns.logits.astype(np.float32)
    return Predictions(
        paths=columns.paths,
        is_defect=columns.labels == columns.class_names.index(classes[1]),
        logits=values if score_is_logit else logits,
        scores=scores_from_logits(values, 1.0) if score_is_logit else values,
        classes=classes,
        types=columns.told.get("type"),
        groups=columns.told.get("group"),
    )


@dataclass(frozen=True)
class _Layout:
    """Form of the file: its header, what separates fields, and what ``score`` means."""

    header: tuple[str, ...]
    separator: str
    score_is_logit: bool

    def number(self, text: str) -> float:
        try:
            return float(text.replace(",", ".") if self.separator == ";" else text)
        except ValueError:
            return math.nan

    def bounds(self, column: str) -> tuple[float, float]:
        free = column == "logit" or self.score_is_logit
        return (-LARGEST_LOGIT, LARGEST_LOGIT) if free else (0.0, 1.0)


@dataclass(frozen=True)
class _Columns:
    """Flawless content; ``labels`` (int [n]) index ``class_names``, which are sorted.

    told: the columns of :data:`TOLD` that are there.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.integer]
    class_names: list[str]
    scores: NDArray[np.float64]
    logits: NDArray[np.float64] | None
    told: Mapping[str, tuple[str, ...]]


def _are_probabilities(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _content(path: Path) -> bytes:
    """Return the file's bytes, read once: it may be a pipe."""
    try:
        if path.is_char_device() or path.is_block_device():
            raise InputError(f"{path}: must be a file or a pipe, got a device")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    if b"\0" in content:
        raise InputError(f"{path}: not a CSV file in UTF-8 (it holds NUL bytes)")
    return content


def _layout(path: Path, content: bytes, score_is_logit: bool) -> _Layout:
    first = next(_lines(path, content[:HEADER_BYTES]), "")
    separator = max(SEPARATORS, key=first.count)
    fields = next(csv.reader([first], delimiter=separator), [])
    header = tuple(name.strip() for name in fields)
    _check_header(path, header)
    return _Layout(header, separator, score_is_logit)


def _lines(path: Path, content: bytes) -> Iterator[str]:
    try:
        yield from io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
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


def _read_fast(content: bytes, layout: _Layout) -> _Columns | None:
    """Return the columns, or None where anything is odd."""
    import polars

    if content.count(b"\r") != content.count(b"\r\n"):
        return None
    names = [f"{index} {name}" for index, name in enumerate(layout.header)]  # polars wants unique
    wanted = {name: names[layout.header.index(name)] for name in COLUMNS if name in layout.header}
    try:
        table = polars.read_csv(
            content,
            separator=layout.separator,
            infer_schema=False,
            new_columns=names,
        ).select(
            **{
                name: polars.col(column).fill_null("") if name in TOLD else polars.col(column)
                for name, column in wanted.items()
            }
        )
    except (polars.exceptions.PolarsError, OSError, ValueError):
        return None  # OSError: content that looks compressed to Polars
    if any(column.null_count() for column in table):  # so an empty field is read
        return None
    numbers = {
        name: _fast_numbers(table[name], name, layout)
        for name in ("score", "logit")
        if name in wanted
    }
    names_found = sorted(table["label"].unique().to_list())
    scores = numbers["score"]
    if (
        scores is None
        or ("logit" in numbers and numbers["logit"] is None)
        or len(names_found) != 2
        or "" in names_found
        or (table["path"] == "").any()
        or table["path"].n_unique() < len(table)
    ):
        return None
    labels = (table["label"] == names_found[1]).to_numpy().astype(np.intp)
    paths = tuple(table["path"].to_list())
    told = {name: tuple(table[name].to_list()) for name in TOLD if name in wanted}
    return _Columns(paths, labels, names_found, scores, numbers.get("logit"), told)


def _fast_numbers(column: polars.Series, name: str, layout: _Layout) -> NDArray[np.float64] | None:
    import polars

    text = column.str.replace(",", ".", literal=True) if layout.separator == ";" else column
    values = text.cast(polars.Float64, strict=False)
    low, high = layout.bounds(name)
    if values.null_count():
        return None
    array = values.to_numpy()
    fine = np.isfinite(array) & (array >= low) & (array <= high)
    return array if fine.all() else None


@dataclass
class _Rows:
    """The rows read so far and what was found wrong with them."""

    source: Path
    layout: _Layout
    lines: dict[str, int] = field(default_factory=dict)  # path -> line of its first occurrence
    labels: list[str] = field(default_factory=list)
    numbers: dict[str, list[float]] = field(default_factory=lambda: {"score": [], "logit": []})
    told: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in TOLD})
    problems: list[str] = field(default_factory=list)
    outside: int = 0  # finite scores that are no probabilities

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
        for name, values in self.numbers.items():
            if name in row:
                values.append(self._number(where, name, row[name]))
        for name, texts in self.told.items():
            if name in row:
                texts.append(row[name])

    def _number(self, where: str, name: str, text: str) -> float:
        value = self.layout.number(text)
        low, high = self.layout.bounds(name)
        if not (math.isfinite(value) and low <= value <= high):
            self.outside += name == "score" and math.isfinite(value)
            allowed = "a finite number" if low < 0 else "in [0, 1]"
            self.problems.append(f"{where}: {name}: must be {allowed}, got {text!r}")
        return value

    def shown_problems(self) -> list[str]:
        """Return the first problems, the number of the rest, and a way out if there is one."""
        shown = shortened(self.problems, SHOWN_PROBLEMS)
        if self.outside > len(self.labels) / 2:
            shown.append(f"{self.source}: score: if these are logits, say so with --logits")
        return shown


def _read_carefully(path: Path, content: bytes, layout: _Layout) -> _Columns:
    rows = _Rows(path, layout)
    try:
        reader = csv.reader(_lines(path, content), strict=True, delimiter=layout.separator)
        next(reader)  # the header
        for fields in reader:
            if len(fields) == len(layout.header):
                row = dict(zip(layout.header, fields, strict=True))
                named = {name: row[name] for name in COLUMNS if name in row}
                rows.add(reader.line_num, named)
            elif fields:
                wanted, got = len(layout.header), len(fields)
                rows.problems.append(
                    f"{path}, line {reader.line_num}: must have {wanted} fields, got {got}"
                )
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if rows.problems:
        raise InputError(rows.shown_problems())
    names, labels = np.unique(rows.labels, return_inverse=True)
    logits = rows.numbers["logit"]
    return _Columns(
        paths=tuple(rows.lines),
        labels=labels,
        class_names=names.tolist(),
        scores=np.array(rows.numbers["score"], np.float64),
        logits=np.array(logits, np.float64) if logits else None,
        told={name: tuple(texts) for name, texts in rows.told.items() if name in layout.header},
    )


def _classes(path: Path, names: Sequence[str], defect: str | None) -> tuple[str, str]:
    # Imported here: the rule belongs to the data layer, and only reading needs it.
    from drupe.data.discover import find_defect_class

    if len(names) != 2:
        found = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
        raise InputError(
            f"{path}: label: must hold two classes, got {len(names)}" + (f": {found}" * bool(names))
        )
    try:
        return find_defect_class((names[0], names[1]), defect)
    except InputError as error:
        raise InputError(f"{path}: {problem}" for problem in error.problems) from None
