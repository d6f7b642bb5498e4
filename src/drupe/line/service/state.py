"""Which bundle is in force, kept over restarts: a switch must not be undone by a power cut."""

from __future__ import annotations

import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from drupe.configuration import validate
from drupe.files import read_json, write_json


class InForce(BaseModel):
    """The ``bundle`` in force where ``given`` was named at the start, and the one before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    given: str
    bundle: str
    digest: str
    previous: str | None = None


class KeptState(BaseModel):
    """The content of a state's file: what is in force, by the name that it is served under."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    bundles: dict[str, InForce] = {}


class StateFile:
    """The state in the file ``path``; None: it is kept in memory alone, until the process ends.

    Raises:
        InputError: a damaged file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._mutex = path, threading.Lock()
        self._kept = KeptState()
        if path is not None and path.exists():
            self._kept = validate(KeptState, read_json(path), str(path))

    @property
    def is_lasting(self) -> bool:
        """True where a restart finds it again."""
        return self._path is not None

    def of(self, name: str, given: Path) -> InForce | None:
        """Return what is in force for ``name``; None where another bundle is given than then."""
        found = self._kept.bundles.get(name)
        return found if found and found.given == str(given) else None

    def keep(self, name: str, one: InForce) -> None:
        """Keep what is in force for ``name`` from now on, on the disk before this returns."""
        with self._mutex:
            kept = KeptState(bundles={**self._kept.bundles, name: one})
            if self._path is not None:
                write_json(self._path, kept.model_dump(mode="json"))
            self._kept = kept
