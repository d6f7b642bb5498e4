"""What a part of the campaign found: counts, exit codes, and each fault in a line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forked import Finished


@dataclass
class Tally:
    """Counts of one kind of damage; ``faults``: what must not happen, each with its case."""

    kind: str
    cases: int = 0
    tracebacks: int = 0
    wrong: int = 0
    hangs: int = 0
    left: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, done: Finished, case: str) -> None:
        """Count how a command ended."""
        self.codes["hang" if done.code is None else str(done.code)] += 1
        if done.code is None:
            self.hangs += 1
            self.faults.append(f"{case}: {_words(done)}: hangs")
        if done.has_traceback:
            self.tracebacks += 1
            last = (done.stderr.strip().splitlines() or [""])[-1]
            self.faults.append(f"{case}: {_words(done)}: {last[:300]}")

    def add_wrong(self, case: str) -> None:
        """Count an answer that differs in silence."""
        self.wrong += 1
        self.faults.append(f"{case}: wrong result")

    def add_left(self, case: str) -> None:
        """Count files or processes that were left behind."""
        self.left += 1
        self.faults.append(f"{case}: left behind")

    def say(self) -> None:
        """Tell on stderr what came of this kind: a campaign may be ended before its table."""
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        head = f"{self.kind}: {self.cases} cases, exit codes {codes}, {len(self.faults)} faults"
        print(head, *self.faults, sep="\n  ", file=sys.stderr, flush=True)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {**vars(self), "codes": dict(sorted(self.codes.items())), "faults": len(self.faults)}


def _words(done: Finished) -> str:
    return f"drupe {' '.join(done.words)}"


def print_table(tallies: Sequence[Tally]) -> None:
    """Print a line per kind, a sum, and every fault."""
    head = ("kind", "cases", "tracebacks", "wrong", "hangs", "left", "exit codes")
    rows = [
        (
            one.kind,
            *map(str, (one.cases, one.tracebacks, one.wrong, one.hangs, one.left)),
            ", ".join(f"{code}: {count}" for code, count in sorted(one.codes.items())),
        )
        for one in tallies
    ]
    sums = (
        sum(getattr(one, name) for one in tallies)
        for name in ("cases", "tracebacks", "wrong", "hangs", "left")
    )
    codes: Counter[str] = sum((one.codes for one in tallies), Counter())
    ended = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    rows.append(("all", *map(str, sums), ended))
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True)),
        ]
        print("  ".join((*cells, row[-1])), flush=True)
    for one in tallies:
        for fault in one.faults:
            print(f"{one.kind}: {fault}", flush=True)
