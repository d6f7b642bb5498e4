"""``drupe log``: was a decision log changed, and what does it say of a day?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json, print_line, print_text
from drupe.cli.options import Json, examples
from drupe.errors import shortened

if TYPE_CHECKING:
    from drupe.line.log.verify import LogCheck

app = typer.Typer(no_args_is_help=True, help="Verify decision logs, and report what they say.")

SHOWN = 50
"""Problems that are named before they are only counted."""

Log = Annotated[Path, typer.Argument(metavar="LOG", help="The folder of a decision log.")]
Key = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The key that the log was signed with.")
]
Partial = Annotated[
    bool, typer.Option("--partial", help="The first files were archived elsewhere.")
]


@app.callback()
def log_group() -> None:
    """Verify decision logs, and report what they say."""


@app.command(
    epilog=examples(
        "drupe log verify decisions",
        "drupe log verify decisions --key log.key --head monday/head.json",
    )
)
def verify(
    log: Log,
    key: Key = None,
    head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier head.json, kept elsewhere."),
    ] = None,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Check that every line is as it was written, and that none is missing.

    Exit code 1: lines were changed, dropped, moved or cut off; each place is named.
    """
    from drupe.line.log.verify import verify_log

    found = verify_log(log, key=key, head=head, is_partial=partial)
    if as_json:
        print_json({"log": str(log), **found.to_json()})
    else:
        _print_check(log, found)
    if found.problems:
        raise typer.Exit(1)


def _print_check(log: Path, found: LogCheck) -> None:
    for line in shortened([str(one) for one in found.problems], SHOWN, "more problems"):
        print_line(line, style="red")
    for line in shortened([f"note: {one}" for one in found.notes], SHOWN, "more notes"):
        print_line(line, style="yellow")
    if found.problems:
        print_line(
            f"{log}: NOT as it was written: {len(found.problems):,} problems in {found.lines:,} "
            f"lines of {found.files:,} files",
            style="bold red",
        )
        return
    print_line(
        f"{log}: {found.lines:,} lines in {found.files:,} files are as they were written, "
        f"{found.first_time} to {found.last_time}, head {found.digest}",
        style="bold green",
    )


@app.command(
    epilog=examples(
        "drupe log report decisions --day 2026-11-27", "drupe log report decisions --json"
    )
)
def report(
    log: Log,
    day: Annotated[
        str | None, typer.Option(metavar="DAY", help="Such as 2026-11-27 (UTC); default: all.")
    ] = None,
    key: Key = None,
    partial: Partial = False,
    as_json: Json = False,
) -> None:
    """Count what was decided, by hour, lane, fault and bundle, as a Markdown page.

    Exit code 1: the log was changed, as drupe log verify says.
    """
    from drupe.line.log.report import report_log

    found = report_log(log, day, key=key, is_partial=partial)
    if as_json:
        print_json({"log": str(log), **found.to_json()})
    else:
        print_text(found.to_markdown())
    if found.check.problems:
        raise typer.Exit(1)
