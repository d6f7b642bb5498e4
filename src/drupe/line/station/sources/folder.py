"""A folder that is watched: each image that appears in it is an item, once, over restarts too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from threading import Event

from drupe.data.image_contract import Channels
from drupe.data.walk import passing_reason, suffix_reason
from drupe.errors import InputError
from drupe.line.station.answers import LineAnswer
from drupe.line.station.configuration import FolderSettings
from drupe.line.station.sources.source import LineItem, SourceError
from drupe.notices import notice

WAITED = "lay there when the line was started: its piece has gone by"
AGAIN = "was written again under a name that was decided already"

Forget = Callable[[Iterable[str]], None]


class FolderSource:
    """Looks into a folder again and again; a file's name is decided once, as long as it lies there.

    ``known``: the names that were decided, each with the time of its file's last change
    (nanoseconds); ``forget`` is told those whose files are gone.
    """

    waits = keeps = True
    order: Channels | None = None

    def __init__(
        self,
        settings: FolderSettings,
        now: Callable[[], float],
        known: dict[str, int] | None = None,
        forget: Forget | None = None,
    ) -> None:
        self._settings, self._now = settings, now
        self._known, self._forget = dict(known or {}), forget
        self._young: dict[str, tuple[int, int, float]] = {}
        self.name = f"folder {settings.path}"
        self.silent_after_s = settings.silent_after_s
        if not settings.path.is_dir():
            raise InputError(f"source.folder.path: must be a folder, got {settings.path}")

    def probe(self) -> str:
        """Look once."""
        found = self._look()
        if self._settings.move_to is not None:
            self._settings.move_to.mkdir(parents=True, exist_ok=True)
            here, there = self._settings.path.stat(), self._settings.move_to.stat()
            if here.st_dev != there.st_dev:
                raise InputError(
                    f"source.folder.move_to: must lie on the drive of {self._settings.path}, got "
                    f"{self._settings.move_to}"
                )
        return f"{len(found):,} images lie there, {len(found.keys() - self._known):,} not decided"

    def items(self, stop: Event) -> Iterator[LineItem | None]:
        """Yield what appears, oldest first, and None after each look."""
        waiting = set(self._look()) - set(self._known)
        if self._settings.waiting == "decide":
            waiting = set()
        while not stop.is_set():
            there = self._look()
            self._leave(there)
            for name in sorted(there, key=lambda one: (there[one][1], one)):
                size, changed = there[name]
                if self._known.get(name) == changed or not self._is_whole(name, size, changed):
                    continue
                fault = WAITED if name in waiting else AGAIN if name in self._known else None
                self._known[name] = changed
                yield LineItem(name, self._settings.path / name, fault, changed)
            yield None
            stop.wait(self._settings.look_ms / 1000)

    def done(self, found: LineItem, answer: LineAnswer) -> None:
        """Move the file to where decided ones lie, if it is to be moved."""
        if self._settings.move_to is None:
            return
        target = self._settings.move_to / answer.lane / found.name
        if target.exists():
            target = target.with_name(f"{target.stem}-{found.stamp}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._settings.path / found.name).replace(target)
        except OSError as error:  # decided it is, and it won't be again
            notice(f"{found.name}: can't be moved to {target} ({error.strerror})")

    def close(self) -> None:
        """Nothing is held."""

    def _look(self) -> dict[str, tuple[int, int]]:
        """Return size and time of the last change of each image that lies there."""
        there = {}
        try:
            with os.scandir(self._settings.path) as entries:
                for entry in entries:
                    if passing_reason(entry.name) or suffix_reason(entry.name):
                        continue
                    try:
                        found = entry.stat()
                    except FileNotFoundError:  # moved away meanwhile
                        continue
                    if entry.is_file():
                        there[entry.name] = (found.st_size, found.st_mtime_ns)
        except OSError as error:
            raise SourceError(f"can't be listed ({error.strerror})") from None
        return there

    def _leave(self, there: dict[str, tuple[int, int]]) -> None:
        """Forget what has gone."""
        gone = self._known.keys() - there
        for name in gone:
            del self._known[name]
        for name in self._young.keys() - there:
            del self._young[name]
        if gone and self._forget:
            self._forget(gone)

    def _is_whole(self, name: str, size: int, changed: int) -> bool:
        """Return whether a file didn't change for long enough to be written to its end."""
        if self._settings.settle_ms == 0:
            return True
        before = self._young.get(name)
        if before is None or before[:2] != (size, changed):
            self._young[name] = (size, changed, self._now())
            return False
        if self._now() - before[2] < self._settings.settle_ms / 1000:
            return False
        del self._young[name]
        return True
