"""The challenge test: marked pieces over the line once a shift, and what to hold when it fails.

Pieces of known kind run over the line like any other. Each defect must not be accepted, each clean
piece must be. If one comes out otherwise the line stops, and everything that it accepted since the
last pass is held: nobody knows when it began to fail.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drupe.deployment.runtime import LANES
from drupe.errors import InputError
from drupe.line.log.lines import time_text
from drupe.line.log.verify import verify_log
from drupe.line.watch.drift import upper_bound

KINDS = ("defect", "clean")
COLUMNS = ("piece", "expected", "seen")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Piece:
    """A marked piece: its name, what it is (``defect``, ``clean``), and the lane it went to.

    ``seen`` None: it was not seen at all, which never passes.
    """

    piece: str
    expected: str
    seen: str | None

    @property
    def passed(self) -> bool:
        """True where a defect was not accepted, or a clean piece was."""
        return self.seen is not None and (self.seen == "accept") == (self.expected == "clean")


@dataclass(frozen=True)
class Held:
    """What was accepted since the last pass: times, and from a decision log how many and which."""

    since: str | None
    until: str
    accepted: int | None = None
    first_item: str | None = None
    last_item: str | None = None


@dataclass(frozen=True)
class Challenge:
    """One challenge; ``held`` where it failed."""

    time: str
    pieces: tuple[Piece, ...]
    held: Held | None

    @property
    def passed(self) -> bool:
        """True where every piece passed."""
        return all(one.passed for one in self.pieces)

    @property
    def proven_recall(self) -> float:
        """The recall that the defect pieces prove at 95 %, exactly (Clopper-Pearson, one-sided).

        For pieces like these, drawn at random: 0.95 takes 59 of 59, 0.99 takes 299 of 299.
        """
        defects = [one for one in self.pieces if one.expected == "defect"]
        missed = sum(not one.passed for one in defects)
        return 1 - upper_bound(missed, len(defects), 1 - CONFIDENCE)

    def to_json(self) -> dict[str, Any]:
        """Return the record."""
        return {
            "time": self.time,
            "passed": self.passed,
            "pieces": [{**asdict(one), "passed": one.passed} for one in self.pieces],
            "proven_recall": self.proven_recall,
            "confidence": CONFIDENCE,
            "held": None if self.held is None else asdict(self.held),
        }


def challenge(
    pieces: Path,
    records: Path,
    log: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Challenge:
    """Judge the ``pieces`` of a CSV, append the result to ``records``, and return it.

    The CSV's columns: ``piece``, ``expected`` (defect, clean) and ``seen`` (a lane). ``log``: a
    decision log in which pieces without ``seen`` are looked up by name, the last decision since the
    last challenge; it says which items are held, too.

    Raises:
        InputError: a bad table or record, or a ``log`` that was changed.
    """
    earlier = read_records(records)
    lines = _decisions(log) if log else None
    last = earlier[-1]["time"] if earlier else ""
    lanes = {one["item"]: one["lane"] for one in lines or () if one["time"] > last}
    found = _read_pieces(pieces, lanes)
    now = time_text(clock())
    held = None
    if not all(one.passed for one in found):
        passes = [one["time"] for one in earlier if one["passed"]]
        held = _held(passes[-1] if passes else None, now, lines)
    done = Challenge(now, found, held)
    records.parent.mkdir(parents=True, exist_ok=True)
    with records.open("ab") as stream:
        stream.write(json.dumps(done.to_json(), ensure_ascii=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return done


def read_records(records: Path) -> list[dict[str, Any]]:
    """Return the challenges so far; none where there is no file yet.

    Raises:
        InputError: a line that is no record.
    """
    if not records.exists():
        return []
    found = []
    for number, line in enumerate(records.read_bytes().splitlines(), 1):
        try:
            document = json.loads(line)
            found.append({"time": str(document["time"]), "passed": document["passed"] is True})
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{records}:{number}: must be the record of a challenge") from None
    return found


def _read_pieces(path: Path, lanes: Mapping[str, str | None]) -> tuple[Piece, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: can't be read ({error})") from None
    problems, found = [], []
    for number, row in enumerate(rows, 2):
        name, kind = (row.get("piece") or "").strip(), (row.get("expected") or "").strip()
        seen = (row.get("seen") or "").strip() or lanes.get(name)
        if not name:
            problems.append(f"{path}:{number}: piece: required, but missing")
        if kind not in KINDS:
            problems.append(f"{path}:{number}: expected: must be defect or clean, got {kind!r}")
        if seen is not None and seen not in LANES:
            problems.append(f"{path}:{number}: seen: must be {', '.join(LANES)}, got {seen!r}")
        found.append(Piece(name, kind, seen))
    if not any(one.expected == "defect" for one in found):
        problems.append(
            f"{path}: must hold a defect at least, with {', '.join(COLUMNS)} as columns"
        )
    if problems:
        raise InputError(problems)
    return tuple(found)


def _decisions(log: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    check = verify_log(log, each=lambda line: lines.append(line) if "lane" in line else None)
    if check.problems:
        raise InputError(f"{log}: was changed: see drupe log verify {log}")
    return lines


def _held(since: str | None, until: str, lines: Sequence[dict[str, Any]] | None) -> Held:
    if lines is None:
        return Held(since, until)
    accepted = [
        one for one in lines if one["lane"] == "accept" and (since or "") < one["time"] <= until
    ]
    ends = (accepted[0]["item"], accepted[-1]["item"]) if accepted else (None, None)
    return Held(since, until, len(accepted), *ends)
