"""Verifying a decision log: is every line as it was written, and is each of them there?"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.line.log.lines import (
    HEAD,
    START,
    decoded,
    file_name,
    line_digest,
    log_files,
    read_head,
    read_key,
    signature,
)

Line = dict[str, Any]


@dataclass(frozen=True)
class LogFinding:
    """What is wrong, or worth knowing, at a line: ``line`` counts from 1 in ``file``, 0: none."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))


@dataclass
class LogCheck:
    """What a verification found: the log is as it was written where ``problems`` is empty.

    ``notes``: ends out of order (a killed process, a power cut), signatures that nobody checked.
    """

    lines: int = 0
    files: int = 0
    first_time: str | None = None
    last_time: str | None = None
    digest: str = START
    is_signed: bool = False
    problems: list[LogFinding] = field(default_factory=list)
    notes: list[LogFinding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe log verify``."""
        return {
            "passed": not self.problems,
            "lines": self.lines,
            "files": self.files,
            "first_time": self.first_time,
            "last_time": self.last_time,
            "digest": self.digest,
            "signed": self.is_signed,
            "problems": [one.to_json() for one in self.problems],
            "notes": [one.to_json() for one in self.notes],
        }


def verify_log(
    folder: Path,
    *,
    key: bytes | str | Path | None = None,
    head: Path | None = None,
    is_partial: bool = False,
    each: Callable[[Line], None] | None = None,
) -> LogCheck:
    """Check every line of the log in ``folder`` against the one before, and the last by the head.

    ``key``: checks signatures. ``head``: an earlier copy of ``head.json`` that was kept elsewhere:
    what it states must be part of this log. ``is_partial``: the first files were archived
    elsewhere. ``each`` is given every line that can be read.

    Raises:
        InputError: no log, or a ``head`` or ``key`` that can't be read.
    """
    if not folder.is_dir() or not (files := log_files(folder)):
        raise InputError(f"{folder}: must be a decision log, but holds no {file_name(1)}")
    known = read_key(key)
    walk = _Walk(known, is_partial, each or (lambda line: None))
    heads = [(HEAD, folder / HEAD)] + ([(str(head), head)] if head else [])
    walk.stated = [(name, _head(path, walk.found)) for name, path in heads]
    if head and walk.stated[1][1] is None:
        raise InputError(f"{head}: must be the head of a decision log")
    for number, path in files:
        walk.file(number, path)
    walk.end()
    return walk.found


def _head(path: Path, found: LogCheck) -> Line | None:
    try:
        return read_head(path)
    except InputError as error:
        found.problems += [LogFinding(path.name, 0, one) for one in error.problems]
        return None


class _Walk:
    """Goes through a log once, line by line, and remembers what it needs of what it has seen."""

    def __init__(self, key: bytes | None, is_partial: bool, each: Callable[[Line], None]) -> None:
        self.key, self.is_partial, self.each = key, is_partial, each
        self.found = LogCheck()
        self.stated: list[tuple[str, Line | None]] = []
        self._place = ("", 0)
        self._last: Line | None = None
        self._torn = b""
        self._expected_file: int | None = None
        self._seen: dict[int, str] = {}
        self._begins_at = 1

    def file(self, number: int, path: Path) -> None:
        """Check one file, and that it follows the one before."""
        self.found.files += 1
        if self._expected_file is None:
            self._begin(number, path)
        elif number != self._expected_file:
            missing = file_name(self._expected_file)
            self._problem(path.name, 0, f"must follow {missing}, which is missing")
        self._expected_file = number + 1
        for place, (line, is_whole) in enumerate(_lines(path), 1):
            if is_whole:
                self._line(path.name, place, number, line)
            else:
                self._torn, self._place = line, (path.name, place)

    def _begin(self, number: int, path: Path) -> None:
        if number != 1 and not self.is_partial:
            self._problem(
                path.name, 0, f"the log begins here: {file_name(1)} and what follows it is missing"
            )

    def _line(self, name: str, place: int, number: int, line: bytes) -> None:
        document = decoded(line)
        before, torn = self._last, self._torn
        self._torn = b""
        if document is None:
            self._problem(name, place, "is no line of a decision log: damaged or changed")
            self.found.lines += 1
            self.found.digest, self._last = line_digest(line), None
            self._place = (name, place)
            return
        self._continues(name, place, document, is_first=self.found.lines == 0)
        if (place == 1) != (document["kind"] == "opened"):
            wrong = "must begin with" if place == 1 else "must hold, after its first line, no"
            self._problem(name, place, f"a file {wrong} the line of its opening")
        elif place == 1:
            self._opened(name, document, number, before, torn)
        elif before is not None and before["kind"] == "closed":
            self._problem(name, place, "follows the last line of a file that was closed")
        if document["kind"] == "closed":
            self._signed(name, place, document["n"] - 1, document["previous"], document)
        self._keep(name, place, document, line)

    def _continues(self, name: str, place: int, document: Line, is_first: bool) -> None:
        """Check number and digest against the line before."""
        number = document["n"]
        if is_first:
            self._begins_at = number
            if not self.is_partial and (number, document["previous"]) != (1, START):
                self._problem(name, place, "must be the first line of the log, and isn't")
            return
        if document["previous"] != self.found.digest:
            where, line = self._place
            self._problem(
                name,
                place,
                f"doesn't continue {where}:{line}: one of both was changed, or lines were "
                "dropped, put in or moved between them",
            )
        elif self._last is not None and number != self._last["n"] + 1:
            before = self._last["n"]
            self._problem(name, place, f"has the number {number:,}, must have {before + 1:,}")

    def _opened(
        self, name: str, document: Line, number: int, before: Line | None, torn: bytes
    ) -> None:
        """Check what a file's first line says of the end of the file before."""
        if document.get("file") != number:
            self._problem(name, 1, f"is the first line of {file_name(document.get('file', 0))}")
        self.found.is_signed |= document.get("signed") is True
        after = document.get("after") or {}
        said = after.get("torn") or {}
        if (len(torn), line_digest(torn)) != (
            said.get("bytes", 0),
            said.get("sha256", line_digest(b"")),
        ):
            where, line = self._place
            self._problem(where, line, "its last, incomplete line isn't the one found back then")
        if after.get("missing"):
            self._problem(
                name, 1, f"{after['missing']:,} lines that the head stated were missing before it"
            )
        if before is not None and before["kind"] != "closed":
            self._unclean()

    def _unclean(self) -> None:
        where, line = self._place
        what = "ends without being closed (killed, or a power cut): decisions made in the last "
        self.found.notes.append(
            LogFinding(where, line, what + "moment before a cut may be missing")
        )

    def _signed(self, name: str, place: int, lines: int, digest: str, document: Line) -> None:
        """Check the signature of a ``closed`` line or a head, where there is a key."""
        given = document.get("signature")
        if self.key is None:
            return
        right = signature(self.key, lines, digest)
        assert right is not None
        if not isinstance(given, str):
            self._problem(name, place, "is not signed")
        elif not hmac.compare_digest(given.encode(), right.encode()):
            self._problem(name, place, "its signature isn't one of this log and key")

    def _keep(self, name: str, place: int, document: Line, line: bytes) -> None:
        found = self.found
        found.lines += 1
        found.first_time = found.first_time or document["time"]
        found.last_time, found.digest = document["time"], line_digest(line)
        self._last, self._place = document, (name, place)
        for _, head in self.stated:
            if head and head["lines"] == document["n"]:
                self._seen[document["n"]] = found.digest
        self.each(document)

    def end(self) -> None:
        """Check the log's end against the heads."""
        last = self._last["n"] if self._last else None
        where, line = self._place
        is_closed = self._last is not None and self._last["kind"] == "closed"
        if self._torn and is_closed:
            self._problem(where, line, "follows the last line of a file that was closed")
        elif self._torn:
            what = "is incomplete: it is being written, or the process was killed"
            self.found.notes.append(LogFinding(where, line, what))
        elif self._last is not None and not is_closed:
            self._unclean()
        for name, head in self.stated:
            if head is not None:
                self._reaches(name, head, last)
                self._signed(name, 0, head["lines"], head["digest"], head)
        main = self.stated[0][1]
        if main and last is not None and is_closed and main["lines"] < last - 1:
            what = f"states {main['lines']:,} of {last:,} lines: the process was killed just then"
            self.found.notes.append(LogFinding(HEAD, 0, what))
        if self.found.is_signed and self.key is None:
            self.found.notes.append(
                LogFinding(HEAD, 0, "signatures weren't checked: no key was given")
            )

    def _reaches(self, name: str, head: Line, last: int | None) -> None:
        """Check that the log holds the line that ``head`` states."""
        lines = head["lines"]
        if last is not None and lines > last:
            cut = f"the log ends at line {last:,}, but {name} states {lines:,}: {lines - last:,} "
            self._problem(*self._place, cut + "lines were cut off")
        elif lines >= self._begins_at and self._seen.get(lines) != head["digest"]:
            self._problem(name, 0, f"line {lines:,} isn't the one that it states: rewritten since")

    def _problem(self, name: str, place: int, what: str) -> None:
        self.found.problems.append(LogFinding(name, place, what))


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yield each line without its newline, and whether it had one."""
    with path.open("rb") as stream:
        for line in stream:
            yield (line[:-1], True) if line.endswith(b"\n") else (line, False)
