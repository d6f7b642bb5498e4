"""``drupe challenge``: did the marked pieces come out as they must?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_json, print_line
from drupe.cli.options import Json, examples

EXAMPLES = examples(
    "drupe challenge pieces.csv --records challenges.jsonl",
    "drupe challenge pieces.csv --records challenges.jsonl --log decisions",
)


def challenge(
    pieces: Annotated[
        Path, typer.Argument(metavar="PIECES.csv", help="Columns piece, expected, seen.")
    ],
    records: Annotated[
        Path, typer.Option(metavar="FILE", help="Where each challenge is recorded, a line each.")
    ],
    log: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Decision log: what was seen, and which items are held."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge marked pieces that ran over the line. Exit code 1: stop, and hold what is named.

    A piece is expected to be a defect, which must not be accepted, or clean, which must be.
    """
    from drupe.line.challenge import challenge as judge

    done = judge(pieces, records, log)
    if as_json:
        print_json(done.to_json())
    else:
        for one in done.pieces:
            if not one.passed:
                words = f"{one.piece}: {one.expected}, seen: {one.seen or 'not at all'}"
                print_line(words, style="red")
        if done.held is None:
            print_line(
                f"pass: {len(done.pieces):,} pieces came out as they must; the defects among them "
                f"prove a recall of {100 * done.proven_recall:.1f} % at 95 % for pieces like them",
                style="bold green",
            )
        else:
            since = done.held.since or "the beginning: no challenge was passed before"
            print_line(f"STOP. Held is all that was accepted since {since}", style="bold red")
            if done.held.accepted is not None:
                print_line(
                    f"{done.held.accepted:,} items by the log, {done.held.first_item} to "
                    f"{done.held.last_item}"
                )
    if not done.passed:
        raise typer.Exit(1)
