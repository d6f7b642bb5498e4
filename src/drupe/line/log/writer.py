"""Writing the decision log: a line for each decision, before the decision goes out.

When lines are on the disk: each line is handed to the operating system before ``decide`` returns,
so a process that is killed loses none. A thread syncs (fsync) once a second where there are new
lines, and only then states them in ``head.json``: when the power goes, the decisions of the last
second may be missing, and no more. Syncing every line would take milliseconds each; the one
decision in 100,000 that begins a new file waits for that.

Nothing that was written is ever altered: a log that is opened again begins a new file, which says
how the one before ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.closing import Closing
from drupe.data.image_contract import RawPixel
from drupe.deployment.runtime import Classifier
from drupe.deployment.watcher import Examined
from drupe.errors import DrupeError, InputError
from drupe.exclusive import hold
from drupe.files import replacing, write_json
from drupe.line.log.lines import (
    FORMAT,
    HEAD,
    LOCK,
    START,
    decoded,
    encoded,
    file_name,
    head_document,
    line_digest,
    log_files,
    read_head,
    read_key,
    signature,
    time_text,
)
from drupe.periodic import Periodic

LINES_PER_FILE = 100_000
SYNC_SECONDS = 1.0


class LogError(DrupeError):
    """A decision that can't be logged: it doesn't go out, so that nothing passes unseen."""


class DecisionLog(Closing):
    """The log in ``folder`` of what ``classifier`` decides, from now until :meth:`close`.

    ``key`` signs it: bytes, or the path of a file that holds them. ``lines_per_file``: then a new
    file is begun. ``clock``: seconds since 1970. Any number of threads may decide; one process at
    a time may write.

    Raises:
        InputError: another process writes this log, its last file is damaged, or a bad key.
    """

    def __init__(
        self,
        classifier: Classifier,
        folder: str | Path,
        *,
        key: bytes | str | Path | None = None,
        lines_per_file: int = LINES_PER_FILE,
        sync_seconds: float = SYNC_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if lines_per_file < 3:  # opened, a decision, closed
            raise InputError(f"lines_per_file: must be at least 3, got {lines_per_file}")
        self.folder = Path(folder).absolute()  # whoever opens it may go elsewhere
        self._key, self._limit, self._clock = read_key(key), lines_per_file, clock
        self._process = os.getpid()
        self._left, self._is_broken = lines_per_file, False
        self._name(classifier)
        self._mutex = threading.Lock()
        self._syncing = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder / LOCK, "another process writes this decision log")
        try:
            self._file, self._is_closed = -1, False
            self._number, self._lines, self._digest = 0, 0, START
            self._synced = 0
            self._begin_file(self._find_end(), is_start=True)
            self._state_head(self._lines, self._digest)
        except BaseException:
            os.close(self._lock)
            raise
        self._timer = Periodic(sync_seconds, self.sync)
        classifier.watch(self)

    @property
    def lines(self) -> int:
        """The number of lines of the whole log."""
        return self._lines

    def saw(
        self,
        batch: NDArray[RawPixel],
        found: Examined,
        items: Sequence[str] | None,
        seconds: float,
    ) -> None:
        """Write a line for each of N decisions; see :class:`drupe.deployment.watcher.Watcher`.

        ``pixels``: SHA-256 of an image's bytes as the graph takes them, [H, W, C] in C order.
        """
        scores, lanes = found.scores.tolist(), found.decisions.tolist()
        columns = zip(scores, lanes, found.faults, found.told_p_values(), strict=True)
        for place, (score, lane, fault, p_value) in enumerate(columns):
            item = "null" if items is None else json.dumps(items[place])
            pixels = hashlib.sha256(np.ascontiguousarray(batch[place]).data).hexdigest()
            said = "null" if score != score else repr(score)  # NaN: it has none
            why = "null" if fault is None else json.dumps(fault)
            known = "" if p_value is None else f',"p_value":{p_value!r}'
            self._write(
                "decision",
                f'"item":{item},"pixels":"{pixels}","score":{said},"lane":"{lane}","fault":{why}'
                f"{known}{self._tail}",
            )

    def refused(self, items: Sequence[str] | None, reason: str, lane: str | None) -> None:
        """Write a line for each image that has no score."""
        for item in [None] if items is None else items:
            said = {"item": item, "lane": lane, "fault": reason}
            self._write("refused", encoded(said).decode()[1:-1] + self._tail)

    def follow(self, classifier: Classifier) -> None:
        """Log what ``classifier`` decides from now on, and no longer the one so far.

        A new file begins, which names it. Nobody may be deciding meanwhile.

        Raises:
            LogError: no file can be begun; the one so far is followed on.
        """
        before = self._classifier
        with self._mutex:
            try:
                if not self._is_broken:
                    self._end_file()
                self._name(classifier)
                self._begin_file(self._find_end())
            except OSError as error:
                self._name(before)
                self._is_broken = True
                raise LogError(
                    f"{self.folder}: no new file can be begun ({error.strerror})"
                ) from error
        before.watchers.remove(self)
        classifier.watch(self)

    def sync(self) -> None:
        """Have all lines so far on the disk, and state so in the head."""
        with self._syncing:
            with self._mutex:
                if self._file < 0 or self._synced == self._lines:  # between two files, or no news
                    return
                lines, digest = self._lines, self._digest
                file = os.dup(self._file)  # another file may be begun meanwhile
            try:
                os.fsync(file)
            finally:
                os.close(file)
            self._state_head(lines, digest)

    def close(self) -> None:
        """Write the last line, sync, and let go of the log. A log that is closed logs no more."""
        if self._is_closed:
            return
        self._timer.stop()
        with self._mutex:
            self._is_closed = True
            self._end_file()
        self._state_head(self._lines, self._digest)
        os.close(self._lock)

    def _name(self, classifier: Classifier) -> None:
        """Take ``classifier`` for the one that decides, as each line says."""
        self._classifier = classifier
        self._source = {
            "function": classifier.function.name,
            "certificate": classifier.function.certificate_id,
            "bundle": classifier.digest,
        }
        self._tail = "," + encoded(self._source).decode()[1:-1]

    def _write(self, kind: str, body: str) -> None:
        """Append a line; where it can't be, the next one begins a new file."""
        if os.getpid() != self._process:
            raise LogError(
                f"{self.folder}: this decision log belongs to the process that opened it, not to "
                "one forked from it: open the bundle and the log in the process that decides"
            )
        with self._mutex:
            if self._is_closed:
                raise LogError(f"{self.folder}: the decision log is closed")
            try:
                self._timer.check()
                if self._is_broken:
                    self._let_go()
                    self._begin_file(self._find_end())
                elif self._left <= 1:
                    self._end_file()
                    self._begin_file(None)
                self._append(kind, body)
            except OSError as error:
                self._is_broken = True
                raise LogError(
                    f"{self.folder}: the decision can't be logged ({error.strerror}), so it "
                    "doesn't go out"
                ) from error

    def _append(self, kind: str, body: str) -> None:
        time_now = time_text(self._clock())
        line = (
            f'{{"kind":"{kind}","n":{self._lines + 1},"time":"{time_now}",{body}'
            f',"previous":"{self._digest}"}}'
        ).encode()
        content = line + b"\n"
        written = os.write(self._file, content)
        if written != len(content):  # a full disk takes a part
            os.write(self._file, content[written:])  # raises what the matter is
            raise OSError("only a part of a line was written")
        self._count(line)

    def _count(self, line: bytes) -> None:
        self._lines, self._left, self._digest = self._lines + 1, self._left - 1, line_digest(line)

    def _begin_file(self, end: dict[str, Any] | None, is_start: bool = False) -> None:
        """Begin a new file, whose first line says how the one before ended (None: in order).

        It appears with its first line complete, or not at all.
        """
        number = self._number + 1
        line = encoded(
            {
                "kind": "opened",
                "n": self._lines + 1,
                "time": time_text(self._clock()),
                "format": FORMAT,
                "file": number,
                "started": is_start,
                **self._source,
                "signed": self._key is not None,
                "after": end,
                "previous": self._digest,
            }
        )
        path = self.folder / file_name(number)
        with replacing(path) as temporary:
            temporary.write_bytes(line + b"\n")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._number, self._left, self._is_broken = number, self._limit, False
        self._count(line)

    def _end_file(self) -> None:
        signed = signature(self._key, self._lines, self._digest)
        self._append("closed", f'"signature":{json.dumps(signed)}')
        os.fsync(self._file)
        self._let_go()

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _state_head(self, lines: int, digest: str) -> None:
        now = time_text(self._clock())
        write_json(self.folder / HEAD, head_document(lines, digest, now, self._key))
        self._synced = lines

    def _find_end(self) -> dict[str, Any] | None:
        """Take up the log where its last file ends; return how it ended, None where in order.

        ``torn``: bytes of a last line that was cut off, and their SHA-256; ``missing``: lines that
        the head states and that aren't there.
        """
        files = log_files(self.folder)
        if not files:
            return None
        number, path = files[-1]
        with path.open("rb") as stream:
            os.fsync(stream.fileno())  # a killed process may have left this to do
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        last = whole.rpartition(b"\n")[2]
        document = decoded(last)
        if document is None:
            raise InputError(f"{path}: its last line is damaged: see drupe log verify")
        self._number, self._lines, self._digest = number, document["n"], line_digest(last)
        head = self.folder / HEAD
        stated = read_head(head)["lines"] if head.exists() else 0
        missing = max(0, stated - self._lines)
        if document["kind"] == "closed" and not torn and not missing:
            return None
        return {
            "torn": {"bytes": len(torn), "sha256": line_digest(torn)} if torn else None,
            "missing": missing,
        }
