"""Answers as lines of a file, JSON or CSV, each with the operating system before the next sink."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from pathlib import Path

from drupe.files import check_replaceable, naming
from drupe.line.station.answers import Beat, LineAnswer
from drupe.printable import printable_json, spreadsheet_cell

COLUMNS = (*("number", "piece", "item", "lane", "score", "decided", "fault", "withdrawal", "time"),)


class JsonlSink:
    """A line of JSON for each answer."""

    kind = "jsonl"
    timeout_s = 1.0
    first = ""

    def __init__(self, path: Path) -> None:
        self.name = f"{self.kind} {path}"
        self._path, self._file = path, -1

    def probe(self) -> str:
        """Look whether the file can be added to."""
        check_replaceable(self._path)
        return "can be written"

    def open(self, beat: Beat) -> None:
        """Open the file for adding to it; a line that was cut off stays a line apart."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(self._file).st_size
        if size == 0:
            self._write(self.first)
        elif os.pread(self._file, 1, size - 1) != b"\n":
            self._write("\n")

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        """Add a line."""
        self._write(self.line(answer))

    def beat(self, beat: Beat) -> None:
        """A file has no use for it; whether it is still there is seen."""
        if os.fstat(self._file).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "The file was removed", str(self._path))

    def close(self, beat: Beat | None) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def line(self, answer: LineAnswer) -> str:
        """Return the line of an answer."""
        return printable_json(json.dumps(answer.to_json(), ensure_ascii=False)) + "\n"

    def _write(self, text: str) -> None:
        content = text.encode("utf-8", "backslashreplace")
        with naming(self._path):
            if os.write(self._file, content) != len(content):
                raise OSError(errno.ENOSPC, "Only a part of a line was written")


class CsvSink(JsonlSink):
    """A row for each answer, below the names of the columns."""

    kind = "csv"
    first = ",".join(COLUMNS) + "\r\n"

    def line(self, answer: LineAnswer) -> str:
        """Return the row of an answer."""
        row = io.StringIO()
        csv.writer(row).writerow(
            (
                *(answer.number, answer.piece, spreadsheet_cell(answer.item), answer.lane),
                *(answer.score, answer.decided, spreadsheet_cell(answer.fault or "")),
                *(int(answer.is_withdrawal), answer.time),
            )
        )
        return row.getvalue()
