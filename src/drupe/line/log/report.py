"""What a decision log says of a day: lanes, faults, functions, and whether it can be trusted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drupe.deployment.runtime import LANES
from drupe.errors import InputError
from drupe.line.log.verify import Line, LogCheck, verify_log

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
NO_LANE = "no decision"
"""Where an error was raised instead: what became of the item, the line's own process knows."""


@dataclass
class LogReport:
    """Counts of one day (UTC, ``2026-11-27``), or of the whole log where ``day`` is None.

    ``hours`` and ``lanes`` count images by lane; ``faults`` by reason; ``sources`` by bundle,
    function and certificate; ``starts`` counts how often a process opened the log.
    """

    day: str | None
    check: LogCheck
    lanes: Counter[str] = field(default_factory=Counter)
    hours: dict[str, Counter[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    starts: int = 0
    first: str | None = None
    last: str | None = None

    def add(self, line: Line) -> None:
        """Count a line of the log, if it is of the day."""
        time = line["time"]
        if self.day is not None and not time.startswith(self.day):
            return
        if line["kind"] == "opened" and line.get("started") is True:
            self.starts += 1
        if line["kind"] not in ("decision", "refused"):
            return
        lane = str(line.get("lane") or NO_LANE)
        self.first, self.last = self.first or time, time
        self.lanes[lane] += 1
        self.hours.setdefault(time[:13].replace("T", " "), Counter())[lane] += 1
        self.sources[
            (str(line.get("bundle")), str(line.get("function")), str(line.get("certificate")))
        ] += 1
        if line.get("fault"):
            self.faults[str(line["fault"])] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe log report``."""
        return {
            "day": self.day,
            "images": self.lanes.total(),
            "lanes": _all_lanes(self.lanes),
            "first": self.first,
            "last": self.last,
            "starts": self.starts,
            "hours": {hour: _all_lanes(counts) for hour, counts in sorted(self.hours.items())},
            "faults": dict(self.faults.most_common()),
            "sources": [
                {
                    "bundle": bundle,
                    "function": function,
                    "certificate": certificate,
                    "images": count,
                }
                for (bundle, function, certificate), count in self.sources.most_common()
            ],
            "verified": self.check.to_json(),
        }

    def to_markdown(self) -> str:
        """Return the page: the counts as tables, and what verifying found."""
        lanes = [*LANES, NO_LANE]
        parts = [f"# Decisions {'on ' + self.day if self.day else 'in the whole log'}", ""]
        parts += [f"{self.lanes.total():,} images, times in UTC.", ""]
        rows = [
            (hour, *(counts[lane] for lane in lanes)) for hour, counts in sorted(self.hours.items())
        ]
        rows.append(("all", *(self.lanes[lane] for lane in lanes)))
        parts += _table(("hour", *lanes), rows)
        if self.faults:
            parts += ["## Faults", "", *_table(("fault", "images"), self.faults.most_common())]
        decided = [
            (bundle[:12], function, certificate[:12], count)
            for (bundle, function, certificate), count in self.sources.most_common()
        ]
        parts += ["## Decided by", ""]
        parts += _table(("bundle", "function", "certificate", "images"), decided)
        parts += ["## Is the log whole?", "", *self._trust(), ""]
        return "\n".join(parts)

    def _trust(self) -> list[str]:
        check = self.check
        if not check.problems:
            verdict = f"Yes: {check.lines:,} lines are as they were written, up to {check.digest}."
        else:
            verdict = f"**No, at {len(check.problems):,} places.**"
        found = [f"- {one}" for one in (*check.problems, *check.notes)]
        return [verdict, "", *map(_escaped, found)]


def report_log(
    folder: Path, day: str | None = None, *, key: str | Path | None = None, is_partial: bool = False
) -> LogReport:
    """Read and verify the whole log, and count what was decided on ``day`` (None: ever).

    Raises:
        InputError: no log, or a ``day`` that isn't one.
    """
    if day is not None and not DAY.fullmatch(day):
        raise InputError(f"--day: must be a day such as 2026-11-27, got {day!r}")
    report = LogReport(day, LogCheck())
    report.check = verify_log(folder, key=key, is_partial=is_partial, each=report.add)
    return report


def _all_lanes(counts: Counter[str]) -> dict[str, int]:
    return {lane: counts[lane] for lane in (*LANES, NO_LANE)}


def _table(columns: tuple[str, ...], rows: Any) -> list[str]:
    lines = [
        "| " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * (len(columns) - 1),
    ]
    for first, *cells in rows:
        texts = (f"{one:,}" if isinstance(one, int) else _escaped(str(one)) for one in cells)
        lines.append(f"| {_escaped(str(first))} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _escaped(text: str) -> str:
    return re.sub(r"([|*_`<>\[\]\\])", r"\\\1", text.replace("\n", " "))
