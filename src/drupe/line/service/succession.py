"""From one bundle to the next while the line runs: verified, compared, switched or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drupe.deployment.bundle import verify_bundle
from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import Classifier, load
from drupe.errors import InputError
from drupe.line.service.desk import Desk
from drupe.line.service.shadow import Shadow, require_kin
from drupe.line.service.state import InForce, StateFile

FEWEST_FRAMES = 100
"""Live frames that a candidate must have been compared on, unless a switch says otherwise."""


def open_bundle(
    bundle: Path,
    workers: int,
    uncertified: bool = False,
    backend: str | None = None,
    precision: str | None = None,
) -> Classifier:
    """Return the bundle, ready for ``workers`` threads that each use one core.

    ``backend``, ``precision``: as of :func:`drupe.load`.

    Raises:
        InputError: what :func:`drupe.load` raises.
    """
    order = read_manifest(bundle).input.channels
    return load(
        bundle,
        order=order,
        backend=backend,
        precision=precision,
        threads=1,
        callers=workers,
        uncertified=uncertified,
    )


class Succession:
    """Which bundle decides at ``desk``, and which may be next.

    ``given``: the bundle named at the start; candidates are folders beside it, and
    ``opened`` opens one. Its methods take as
    long as loading a bundle does: no method belongs on a thread that others wait for.
    """

    def __init__(
        self, desk: Desk, given: Path, state: StateFile, opened: Callable[[Path], Classifier]
    ) -> None:
        self._desk, self._given, self._state = desk, given, state
        self._opened = opened
        self._mutex = threading.Lock()
        self._candidate: Path | None = None
        self._now = state.of(desk.name, given) or InForce(
            given=str(given), bundle=str(given), digest=desk.classifier.digest
        )

    def status(self) -> dict[str, Any]:
        """Return what is in force, what was before, and how the candidate compares."""
        shadow = self._desk.shadow
        return {
            "name": self._desk.name,
            "path": self._now.bundle,
            **self._desk.by,
            "previous": self._now.previous,
            "lasting": self._state.is_lasting,
            "candidate": shadow and {"path": str(self._candidate), **shadow.to_json()},
        }

    def propose(self, folder: str) -> dict[str, Any]:
        """Verify the bundle ``folder`` beside the one given, warm it up, and have it compared.

        Raises:
            InputError: no such bundle, a changed one, one that doesn't decide here as where it was
                made, takes other images, or tells other classes.
        """
        if Path(folder).name != folder or folder in ("", ".", ".."):
            raise InputError(
                f"bundle: must be the name of a folder beside {self._given.name}, got {folder!r}"
            )
        with self._one_at_a_time():
            self._withdraw()
            path = self._given.parent / folder
            candidate = self._verified(path)
            self._candidate, self._desk.shadow = path, Shadow(candidate)
            return self.status()

    def withdraw(self) -> dict[str, Any]:
        """Let go of the candidate."""
        with self._one_at_a_time():
            self._withdraw()
            return self.status()

    def switch(self, frames: int = FEWEST_FRAMES, turned: int = 0) -> dict[str, Any]:
        """Put the candidate in force, between two decisions.

        ``frames``: live ones that it must have been compared on; ``turned``: as many of them as may
        have got another lane, at most.

        Raises:
            DrupeError: no candidate, or one that was compared too little, differs in more, or has
                failed; a log or state that can't be written. The bundle so far stays in force.
        """
        with self._one_at_a_time():
            shadow = self._desk.shadow
            if shadow is None or self._candidate is None:
                raise InputError("there is no candidate: propose one first")
            found = shadow.to_json()
            problems = [f"{found['failed']:,} frames had no score"] if found["failed"] else []
            if found["compared"] < frames:
                problems += [f"must be compared on {frames:,} frames, got {found['compared']:,}"]
            if found["turned"] > turned:
                turns = ", ".join(f"{count:,} {turn}" for turn, count in found["turns"].items())
                problems += [f"may turn {turned:,} decisions, turned {found['turned']:,}: {turns}"]
            if problems:
                raise InputError([f"the candidate: {problem}" for problem in problems])
            path = self._candidate
            self._withdraw()
            self._put_in_force(shadow.candidate, path)
            return self.status()

    def bring_back(self) -> dict[str, Any]:
        """Put the bundle in force again that was before, once it is verified; no frames are asked.

        Raises:
            DrupeError: there was none, or it can't be; the bundle so far stays in force.
        """
        with self._one_at_a_time():
            if self._now.previous is None:
                raise InputError("there was no bundle before this one")
            path = Path(self._now.previous)
            classifier = self._verified(path)
            self._withdraw()
            self._put_in_force(classifier, path)
            return self.status()

    def _put_in_force(self, classifier: Classifier, path: Path) -> None:
        """Keep it in the state, then change: a process that dies between starts with it."""
        before = self._now
        after = InForce(
            given=str(self._given),
            bundle=str(path),
            digest=classifier.digest,
            previous=before.bundle,
        )
        self._state.keep(self._desk.name, after)
        try:
            self._desk.change(classifier)
        except BaseException:
            self._state.keep(self._desk.name, before)
            raise
        self._now = after

    def _verified(self, path: Path) -> Classifier:
        found = verify_bundle(path, threads=1)
        classifier = self._opened(path)
        problems = [
            f"{path.name}: {one.function.name}: doesn't decide as where it was made "
            f"({one.flips} golden decisions turned)"
            for one in found
            if one.passed is False
        ]
        if not any(one.passed and one.function == classifier.function for one in found):
            problems.append(f"{path.name}: {classifier.function.name}: could not be verified here")
        if problems:
            raise InputError(problems)
        require_kin(classifier, self._desk.classifier, path.name)
        return classifier

    def _withdraw(self) -> None:
        shadow, self._desk.shadow, self._candidate = self._desk.shadow, None, None
        if shadow is not None:
            shadow.stop()

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._mutex.acquire(blocking=False):
            raise InputError("another change is being made")
        try:
            yield
        finally:
            self._mutex.release()
