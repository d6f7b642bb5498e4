"""``drupe run``: a line from source to sinks, until it is stopped."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_fitting, print_json, print_line, print_note
from drupe.cli.options import Json, examples

if TYPE_CHECKING:
    from drupe.line.station.configuration import LineConfig
    from drupe.line.station.station import Station

EXAMPLES = examples(
    "drupe run examples/line.yaml --check",
    "drupe run examples/line.yaml",
    "drupe run examples/line.yaml --items 100 --json",
)
LOOK_S = 0.2
SAY_EVERY_S = 10.0
"""Seconds between two lines of progress."""


def run(
    line: Annotated[Path, typer.Argument(metavar="LINE.yaml", help="Source, bundle and sinks.")],
    check: Annotated[
        bool, typer.Option("--check", help="Try out bundle, source and sinks; decide nothing.")
    ] = False,
    items: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after so many items.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide what a source gives and tell PLC, broker and files, until it is stopped.

    Whatever fails, is late, unreadable or can't be delivered is never accepted. Ctrl-C and SIGTERM
    end it in order. Exit code 1: a required sink didn't take an answer; with --check: a part that
    doesn't work.
    """
    from drupe.line.station.configuration import load_line

    config = load_line(line)
    if check:
        _check(config, as_json)
    else:
        _run(config, items, as_json)


def _check(config: LineConfig, as_json: bool) -> None:
    from drupe.line.station.opening import try_line

    tried = try_line(config)
    works = not any(one.fault for one in tried)
    if as_json:
        print_json({"passed": works, "parts": [vars(one) for one in tried]})
    else:
        for one in tried:
            said = f"works: {one.found}" if one.fault is None else f"FAILS: {one.fault}"
            print_line(f"{one.part} {said}", style="" if one.fault is None else "red")
    if not works:
        raise typer.Exit(1)


def _run(config: LineConfig, items: int | None, as_json: bool) -> None:
    """Run the line in a thread of its own, so that a signal never cuts an item in two."""
    from drupe.line.station.opening import run_line

    stop, done = threading.Event(), threading.Event()
    stations: list[Station] = []
    ended: dict[str, Any] = {}

    def work() -> None:
        try:
            ended["summary"] = run_line(config, stop, most_items=items, began=stations.append)
        except BaseException as error:  # raised again where the command line hears it
            ended["error"] = error
        finally:
            done.set()

    worker = threading.Thread(target=work, name="drupe-line")
    worker.start()
    try:
        _say_progress(stations, done)
    finally:
        stop.set()
        worker.join()
        if "summary" in ended:
            _report(ended["summary"], as_json)
    if "error" in ended:
        raise ended["error"]
    if ended["summary"]["undelivered"]:
        raise typer.Exit(1)


def _say_progress(stations: list[Station], done: threading.Event) -> None:
    """Say every ten seconds how the line is, and at once when that nothing is accepted changes."""
    looks_left, known = 0, None
    while not done.wait(LOOK_S):
        if not stations:
            continue
        reasons, looks_left = stations[0].reasons(), looks_left - 1
        is_valid = not reasons
        if is_valid != known or looks_left <= 0:
            known, looks_left = is_valid, round(SAY_EVERY_S / LOOK_S)
            tally = stations[0].tally
            lanes = ", ".join(f"{count:,} {lane}" for lane, count in tally.lanes.items())
            state = "valid" if is_valid else f"nothing is accepted: {'; '.join(reasons)}"
            print_note(f"{tally.items:,} items: {lanes}, {tally.late:,} late; {state}")


def _report(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    lanes = ", ".join(f"{summary[lane]:,} {lane}" for lane in ("accept", "review", "reject"))
    print_line(f"{summary['items']:,} items: {lanes}")
    others = ("late", "overruns", "faults", "withdrawn", "undelivered", "interrupted")
    print_line(", ".join(f"{summary[name]:,} {name}" for name in others))
    rows = [
        [
            *(one["sink"], one["taken"], one["failed"], one["deaths"]),
            *("" if one[name] is None else f"{one[name]:.1f}" for name in ("p50_ms", "p99_ms")),
        ]
        for one in summary["sinks"]
    ]
    print_fitting(("sink", "taken", "failed", "deaths", "p50, ms", "p99, ms"), rows)
