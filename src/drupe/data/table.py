"""A table that names labelled images: ``path,label[,split,group,type,weight]``, CSV or Parquet.

A CSV file is UTF-8 (with or without a byte-order mark) and separated by comma, semicolon or tab,
whichever the header has most of; weights have a decimal point, or a comma where semicolons
separate. Columns come in any order.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from drupe.data.discover import SPLIT_OF
from drupe.errors import InputError, shortened, suggest

Content = TypeVar("Content")

NAMES = ("label", "group", "type")
"""Columns of names, which are the same to the letter or another."""

SUFFIXES = (".csv", ".parquet")
REQUIRED = ("path", "label")
COLUMNS = (*REQUIRED, "split", "group", "type", "weight")
SEPARATORS = ",;\t"

SHOWN = 20
"""Mistakes named in a message before it only counts."""


def is_table(path: Path) -> bool:
    """Return whether ``path`` is meant as a table, by its suffix; a folder of such a name isn't."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def folder_of(dataset: Path) -> Path:
    """Return the folder to which the paths of a dataset are relative: itself, or the table's."""
    return dataset.parent if is_table(dataset) else dataset


@dataclass(frozen=True, slots=True)
class Row:
    """One image as a table names it; ``place`` is where, such as ``line 7``.

    split: train, val or test, None where the table has no such column; likewise group, type and
    weight (above 0).
    """

    place: str
    path: str
    label: str
    split: str | None = None
    group: str | None = None
    type: str | None = None
    weight: float | None = None


def read_table(source: Path, *, is_labelled: bool = True) -> list[Row]:
    """Read the rows of the table ``source``, in its order.

    Where it needn't be labelled, a row without a label has an empty one.

    Raises
    ------
    InputError
        With every mistake: no such file, another encoding, missing, doubled or unknown columns,
        rows with more or fewer fields than the header, empty paths, labels and groups, control
        characters, unknown splits, weights that aren't above 0; a table without rows.
    """
    is_parquet = source.suffix.lower() == ".parquet"
    required = REQUIRED if is_labelled else REQUIRED[:1]
    rows = _Rows(source, required)
    lines = _parquet_lines(source) if is_parquet else _csv_lines(source, rows.problems)
    _, header = next(lines)
    names = [name.strip() for name in header]
    _check_columns(source, names, required)
    for place, fields in lines:
        rows.add(place, names, fields)
    if rows.problems:
        raise InputError(shortened(rows.problems, SHOWN))
    if not rows.found:
        raise InputError(f"{source}: must name images, got a header alone")
    return rows.found


def _check_columns(source: Path, names: Sequence[str], required: Sequence[str]) -> None:
    problems = []
    missing = [name for name in required if name not in names]
    if missing:
        got = ", ".join(names) or "an empty file"
        problems.append(
            f"{source}: must have the columns {', '.join(required)}; {', '.join(missing)} missing, "
            f"got {got}"
        )
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.append(f"{source}: column {name!r} must appear once, got {names.count(name)}")
        if name not in COLUMNS:
            problems.append(
                f"{source}: columns must be among {', '.join(COLUMNS)}, "
                f"got {name!r}{suggest(name, COLUMNS)}"
            )
    if problems:
        raise InputError(problems)


@dataclass
class _Rows:
    """The rows read so far, and what was found wrong with the others."""

    source: Path
    required: Sequence[str]
    found: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, place: str, names: Sequence[str], fields: Sequence[str]) -> None:
        if len(fields) != len(names):
            self._refuse(place, f"must have {len(names)} fields, got {len(fields)}")
            return
        before = len(self.problems)
        texts = dict(zip(names, fields, strict=True))
        for name, text in texts.items():
            if (name in self.required or name == "group") and not text:
                self._refuse(place, f"{name}: must not be empty")
            elif not text.isprintable() and _has_control_characters(text):
                self._refuse(place, f"{name}: must have no control characters, got {text!r}")
            elif name in NAMES and text != text.strip():  # 'ok ' would be a type of defect
                self._refuse(place, f"{name}: must have no spaces around it, got {text!r}")
        split = self._split(place, texts["split"]) if "split" in texts else None
        weight = self._weight(place, texts["weight"]) if "weight" in texts else None
        if len(self.problems) == before:
            self.found.append(
                Row(
                    place=place,
                    path=texts["path"],
                    label=texts.get("label", ""),
                    split=split,
                    group=texts.get("group"),
                    type=texts.get("type"),
                    weight=weight,
                )
            )

    def _split(self, place: str, text: str) -> str:
        known = SPLIT_OF.get(text.strip().lower())
        if known is None:
            hint = suggest(text, tuple(SPLIT_OF))
            self._refuse(place, f"split: must be {_any_of(SPLIT_OF)}, got {text!r}{hint}")
        return known or ""

    def _weight(self, place: str, text: str) -> float:
        try:
            weight = float(text.replace(",", "."))
        except ValueError:
            weight = math.nan
        if not (math.isfinite(weight) and weight > 0):
            self._refuse(place, f"weight: must be a number above 0, got {text!r}")
        return weight

    def _refuse(self, place: str, reason: str) -> None:
        self.problems.append(f"{self.source}, {place}: {reason}")


def _any_of(names: Sequence[str] | dict[str, str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(one) == "Cc" for one in text)


def _csv_lines(source: Path, problems: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, fields) of the header and of each line that isn't empty."""
    text = _text(source)
    first = text[: text.find("\n")] if "\n" in text else text
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header = False
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            problems.append(f"{source}, line {start}: must be CSV, got {error}")
            break
        if fields is None:
            break
        if fields:
            header = True
            yield f"line {start}", fields
    if not header:
        yield "line 1", []


def _text(source: Path) -> str:
    content = _read(source, Path.read_bytes)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{source}: must be a CSV file in UTF-8, got UTF-16: save it as UTF-8")
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise InputError(f"{source}, line {line}: must be text in UTF-8, got a NUL byte")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{source}, line {line}: must be text in UTF-8, got the byte "
            f"0x{content[error.start]:02x}, which is none: save it as UTF-8"
        ) from None


def _parquet_lines(source: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, fields as text) of the columns' names and of each row."""
    # Imported here: it starts threads, which a process that forks must not have.
    import polars

    def read(path: Path) -> polars.DataFrame:
        with path.open("rb") as file:
            return polars.read_parquet(file)

    try:
        table = _read(source, read)
    except polars.exceptions.PolarsError as error:
        reason = re.sub(r"\s+", " ", str(error))[:120]
        raise InputError(f"{source}: must be a Parquet file, got {reason}") from None
    problems = []
    for name in table.columns:
        kind = table[name].dtype
        is_text = kind in (polars.String, polars.Categorical, polars.Enum)
        fine = is_text or kind.is_integer() or (name == "weight" and kind.is_numeric())
        if name in COLUMNS and not (is_text if name == "path" else fine or kind == polars.Null):
            wanted = "numbers" if name == "weight" else "text"
            problems.append(f"{source}: column {name!r} must hold {wanted}, got {kind}")
    if problems:
        raise InputError(problems)
    yield "columns", table.columns
    known = [name for name in table.columns if name in COLUMNS]
    texts = table.select(polars.col(name).cast(polars.String).fill_null("") for name in known)
    for number, fields in enumerate(texts.iter_rows(), 1):
        yield f"row {number}", list(fields)


def _read(source: Path, read: Callable[[Path], Content]) -> Content:
    try:
        return read(source)
    except FileNotFoundError:
        raise InputError(f"{source}: must be a dataset, got no such file") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{source}: must be a readable file, got {reason}") from None
