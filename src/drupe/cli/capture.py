"""``drupe capture``: the line's pictures, from the folder that keeps them to what they prove."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_fitting, print_json, print_line, print_prose
from drupe.cli.label_apply import VotingRule
from drupe.cli.options import Json, examples
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.labels.capture.recheck import Recheck

app = typer.Typer(
    no_args_is_help=True,
    help="Collect what the line has kept for people to look at, and say what it proves.",
)

COLORS = {"holds": "bold green", "broken": "bold red", "undecided": "yellow"}


class UnclearAs(StrEnum):
    """What a picture counts as that nobody could tell."""

    defect = "defect"
    leave_out = "leave-out"


Rule = Annotated[VotingRule, typer.Option(help="majority: more than half of the votes.")]
Answers = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Answers exported from a page without a server."),
]


@app.command(
    epilog=examples(
        "drupe capture collect captured --out week-48",
        "drupe labels review week-48 --out review-48      then: look at them",
    )
)
def collect(
    folder: Annotated[
        Path, typer.Argument(metavar="CAPTURED", help="Where the line keeps pictures.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, which they move to.")],
    as_json: Json = False,
) -> None:
    """Move the pictures that the line has kept to a folder of crops; the line may run on.

    The minutes at hand (up to ten) stay with the line.
    """
    from drupe.labels.capture.collection import collect as move
    from drupe.labels.capture.collection import lane_rows

    found = move(folder, out, progress_on())
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    columns = ("lane", "decisions", "pictures", "lost", "probability")
    print_fitting(columns, lane_rows(found.lanes), texts=(0,))
    print_prose(
        f"{len(found.sample):,} of the pictures are a random sample of all decisions, each with "
        f"probability {found.sample_rate:g}."
    )
    if found.unseen:
        print_prose(
            f"{found.unseen:,} decisions fell into a time when nothing could be kept; what is "
            "estimated from these pictures doesn't speak of them.",
            style="yellow",
        )
    print_line(f"drupe labels review {out} --out REVIEW")


@app.command(
    epilog=examples(
        "drupe capture recheck review-48",
        "drupe capture recheck review-46 review-47 review-48 --html trend.html",
        "drupe capture recheck review-48 --json",
    )
)
def recheck(
    reviews: Annotated[
        list[Path], typer.Argument(metavar="REVIEW…", help="Reviews of collected pictures.")
    ],
    rule: Rule = VotingRule.majority,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also as a page with a chart over time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate recall and clean yield on the line from what people found. Exit code 1: broken.

    Each judged picture stands for as many decisions as it was drawn from; the 95 % bounds hold for
    the draw, and allow for what nobody could tell.
    """
    from drupe.labels.capture.recheck import read_judged
    from drupe.labels.capture.recheck import recheck as estimate

    found = [estimate(read_judged(folder, rule.value)) for folder in reviews]
    found.sort(key=lambda one: one.since)
    if html is not None:
        from drupe.files import write_text
        from drupe.reporting.recheck_page import render_rechecks

        write_text(html, render_rechecks(found))
    if as_json:
        print_json({"rechecks": [one.to_json() for one in found]})
    else:
        _print_rechecks(found)
    if any(one.verdict == "broken" for one in found):
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "drupe capture label review-48 --out crops-48",
        "drupe threshold RUN --data crops-48              then: certify on the line's own pictures",
    )
)
def label(
    review: Annotated[Path, typer.Argument(metavar="REVIEW", help="A review of a collection.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder of labelled crops.")],
    rule: Rule = VotingRule.majority,
    answers: Answers = None,
    unclear: Annotated[
        UnclearAs, typer.Option(help="What a picture counts as that nobody could tell.")
    ] = UnclearAs.defect,
    as_json: Json = False,
) -> None:
    """Write the random sample of the line with the labels that people gave, as a folder of crops.

    It is like the line, so that drupe threshold RUN --data may certify on it.
    """
    from drupe.labels.capture.labelled import write_labelled
    from drupe.labels.capture.recheck import read_judged

    judged = read_judged(review, rule.value, tuple(answers or ()))
    done = write_labelled(judged, out, unclear.value)
    if as_json:
        print_json(done.to_json())
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(done.classes.items()))
    print_line(f"{out}: {counts}", style="bold")
    if done.unclear:
        fate = "count as defects" if unclear is UnclearAs.defect else "are left out"
        print_prose(f"{done.unclear:,} that nobody could tell {fate}.")
    if done.bad:
        print_prose(f"{done.bad:,} bad pictures are left out.")
    print_line(f"drupe threshold RUN --data {out}")


def _print_rechecks(found: list[Recheck]) -> None:
    from drupe.evaluation.intervals import format_interval, format_percent

    rows = [
        (
            one.since[:16].replace("T", " "),
            f"{one.decisions:,}",
            f"{one.judged:,}",
            format_percent(one.recall.estimate),
            format_interval(one.recall.low, one.recall.high, dash="-"),
            format_percent(one.clean_yield.estimate),
            format_interval(one.clean_yield.low, one.clean_yield.high, dash="-"),
            one.verdict,
        )
        for one in found
    ]
    columns = ("since", "decisions", "judged", "recall", "95 %", "clean yield", "95 %", "promise")
    print_fitting(columns, rows, texts=(0, 7))
    last = found[-1]
    if last.promised is None:
        print_prose("The function that decided is certified for no recall: nothing to hold it to.")
        return
    words = {
        "holds": "holds",
        "broken": "is broken",
        "undecided": "is neither shown nor refuted: judge more pictures, or keep a larger share",
    }
    print_prose(
        f"The promised recall of {format_percent(last.promised)} {words[last.verdict]}.",
        style=COLORS[last.verdict],
    )
