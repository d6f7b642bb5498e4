"""The line's memory over restarts: which item got which number, and how it ended.

``journal.jsonl`` in the state's folder. A line says that an item is begun, before it is decided,
another how it ended, after every sink was told. An item that was begun and didn't end was with a
process that died: nobody knows whether its answer was taken, so it is withdrawn at the next start
and never decided again. Lines are with the operating system at once and on the disk within a
second; after an end out of order numbers go on ``SKIPPED`` higher, so that even the lines which a
power cut took can't lead to a number that is given twice.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drupe.exclusive import hold
from drupe.files import naming, replacing
from drupe.periodic import Periodic

FILE, LOCK = "journal.jsonl", "station.lock"
SKIPPED = 10_000
MOST_LINES = 100_000
"""Then what is still needed is written anew."""

SYNC_SECONDS = 1.0


class LineJournal:
    """Numbers items, and remembers those that were begun.

    ``interrupted``: number and name of what a process that died had begun. ``remembers``: names are
    kept, for a source that would otherwise give them again.

    Raises:
        InputError: another process runs this line.
    """

    def __init__(self, folder: Path, remembers: bool, most_lines: int = MOST_LINES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self._remembers, self._most = remembers, most_lines
        self._lock = hold(folder / LOCK, "another process runs the line with this state")
        self._mutex = threading.RLock()
        self.last = 0
        self.decided: dict[str, int] = {}
        self._open: dict[int, str] = {}
        self._file, self._count = -1, 0
        try:
            is_clean = self._read()
            self.interrupted = sorted(self._open.items())
            self.last += 0 if is_clean else SKIPPED
            self._rewrite()
        except BaseException:
            os.close(self._lock)
            raise
        self._timer = Periodic(SYNC_SECONDS, self._sync)

    def begin(self, item: str, stamp: int = 0) -> int:
        """Return the next number, of ``item``; ``stamp`` tells its file from a later one.

        Raises:
            OSError: it can't be written; the number counts all the same.
        """
        with self._mutex:
            self.last += 1
            self._remember(item, stamp)
            self._open[self.last] = item
            self._write({"begun": self.last, "item": item, "stamp": stamp})
            return self.last

    def end(self, number: int, lane: str) -> None:
        """Note that every sink was told that the item went to ``lane``, or that none could be."""
        with self._mutex:
            self._open.pop(number, None)
            self._write({"ended": number, "lane": lane})

    def forget(self, items: Iterable[str]) -> None:
        """Forget names that can't come again: their files are gone."""
        with self._mutex:
            for item in items:
                self.decided.pop(item, None)

    def close(self) -> None:
        """Note that all ended in order, and let go."""
        self._timer.stop()
        with self._mutex:
            try:
                if not self._open:
                    self._write({"closed": self.last})
                    os.fsync(self._file)
            finally:
                os.close(self._file)
                os.close(self._lock)

    def _remember(self, item: str, stamp: int) -> None:
        if self._remembers:
            self.decided[item] = stamp

    def _write(self, line: dict[str, Any]) -> None:
        if self._count >= self._most:
            self._rewrite()
        content = b"\n" + json.dumps(line).encode()  # what was torn before it stays a line apart
        with naming(self.path):
            if os.write(self._file, content) != len(content):
                raise OSError(errno.ENOSPC, "only a part of a line was written")
        self._count += 1

    def _sync(self) -> None:
        with self._mutex:
            file = os.dup(self._file)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def _read(self) -> bool:
        """Take up what is known; return whether the last process ended in order."""
        if not self.path.exists():
            return True
        is_clean = False
        for text in self.path.read_bytes().splitlines():
            line = _parsed(text)
            is_clean = "closed" in line or (is_clean and not line)
            match line:
                case {"begun": int(number), "item": str(item), "stamp": int(stamp)}:
                    self.last = max(self.last, number)
                    self._open[number] = item
                    self._remember(item, stamp)
                case {"ended": int(number)}:
                    self._open.pop(number, None)
                case {"last": int(number)} | {"closed": int(number)}:
                    self.last = max(self.last, number)
                case {"decided": str(item), "stamp": int(stamp)}:
                    self._remember(item, stamp)
        return is_clean

    def _rewrite(self) -> None:
        """Write what is still needed, under a temporary name, and go on behind it."""
        lines: list[dict[str, Any]] = [{"last": self.last}]
        lines += [{"decided": item, "stamp": stamp} for item, stamp in self.decided.items()]
        lines += [
            {"begun": number, "item": item, "stamp": self.decided.get(item, 0)}
            for number, item in self._open.items()
        ]
        with replacing(self.path) as temporary:
            temporary.write_text("\n".join(map(json.dumps, lines)), encoding="ascii")
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._count = 0


def _parsed(text: bytes) -> dict[str, Any]:
    """Return what a line says; nothing where it was torn."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}
