"""``drupe labels apply`` and ``history``: what reviewers found, as fixes; every state by name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_fitting, print_json, print_line, print_prose
from drupe.cli.options import STORE, Json, Store, examples
from drupe.errors import shortened
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.labels.review.application import AppliedReview
    from drupe.labels.review.estimates import ReviewedRates
    from drupe.labels.review.quality import ReviewQuality

SHOWN = 20
"""Changes named before the answer only counts."""

APPLY_EXAMPLES = examples(
    "drupe labels apply review --dry-run",
    "drupe labels apply review --rule unanimous",
    "drupe labels apply review --answers answers-of-bob.jsonl",
    "drupe labels apply review --dry-run --threshold 0.02 --json",
)
HISTORY_EXAMPLES = examples(
    "drupe labels history crops",
    "drupe labels history crops --back-to 3",
    "drupe labels history crops --json",
)


class VotingRule(StrEnum):
    """How votes become a decision."""

    majority = "majority"
    unanimous = "unanimous"


def apply(
    review: Annotated[
        Path, typer.Argument(metavar="REVIEW", help="The folder of a review: its --out.")
    ],
    rule: Annotated[
        VotingRule, typer.Option(help="majority: more than half of the votes on a picture.")
    ] = VotingRule.majority,
    answers: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Answers exported from a page without a server."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures lie now.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="T", help="Estimate the test's recall and clean yield at it."),
    ] = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Make fixes of what reviewers found. Labels change from now on; the images stay.

    drupe labels history takes them back.
    """
    from drupe.labels.review.application import apply_review, reviewed_rates

    further = tuple(answers or ())
    rates = None
    if threshold is not None:
        rates = reviewed_rates(review, rule.value, threshold, further)
    done = apply_review(
        review,
        rule.value,
        store,
        data=data,
        further=further,
        dry_run=dry_run,
        progress=progress_on(),
    )
    if as_json:
        print_json(done.to_json() | {"rates": rates.to_json() if rates else None})
        return
    _print_quality(done.quality)
    _print_noise(done)
    if rates:
        _print_rates(rates)
    _print_changes(done)


def history(
    folder: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of crops.")],
    back_to: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="Make an earlier state hold again, as a new one."),
    ] = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """List every state that a folder's labels have been in; 0 is the folder without fixes."""
    from drupe.data.label_history import find_revision, read_history
    from drupe.data.overlay import history_folder, restore_fixes

    kept = history_folder(folder, store)
    if back_to is not None:
        wanted = find_revision(kept, back_to)
        restore_fixes(
            folder, store, wanted.fixes, f"back to {wanted.number}", progress=progress_on()
        )
    revisions = read_history(kept)
    if as_json:
        print_json({"folder": str(folder), "revisions": [one.to_json() for one in revisions]})
        return
    rows: list[tuple[Any, ...]] = []
    for one in revisions:
        counted = one.to_json()
        rows.append(
            (one.number, one.name, counted["relabelled"], counted["excluded"], one.at, one.why)
        )
    names = ("", "revision", "relabelled", "excluded", "at (UTC)", "why")
    print_fitting(names, rows, texts=(1, 4, 5))


def _print_quality(quality: ReviewQuality) -> None:
    rows = [
        (
            one.reviewer,
            f"{one.answers:,} of {one.showings:,}",
            one.repeated.counts,
            one.clean_as_defect.counts,
            one.defect_as_good.counts,
            f"{one.tilt:.2g}",
            "" if one.seconds is None else f"{one.seconds:.1f} s",
        )
        for one in quality.reviewers
    ]
    columns = ("reviewer", "answers", "repeats alike", "clean → defect", "defect → good", "p")
    print_fitting((*columns, "a look"), rows)
    print_prose(
        "→: random controls judged other than their label. p: were the reviewer as strict as the "
        "labels, so uneven a split would have this chance (McNemar)."
    )
    together = [quality.together] if quality.together else []
    for one in (*quality.pairs, *together):
        names = ", ".join(one.reviewers)
        if one.kappa is None:
            print_line(f"{names}: kappa is not defined on their {one.items:,} common pictures")
        else:
            print_line(
                f"{names}: {one.method.capitalize()}'s kappa {one.kappa:.2f} "
                f"({one.low:.2f} to {one.high:.2f}) on {one.items:,} pictures"
            )
    print_line("")


def _print_noise(done: AppliedReview) -> None:
    rows = [
        (
            one.split or "all",
            one.label or "both",
            one.items,
            one.looked_at,
            f"{one.wrong.estimate:.0f}",
            f"{one.wrong.low:,}-{one.wrong.high:,}",
        )
        for one in done.noise
    ]
    columns = ("split", "label", "pictures", "in the review", "wrong labels", "95 % interval")
    print_fitting(columns, rows, texts=(0, 1))
    print_prose(
        "Wrong labels of all pictures, as the reviewers would find them: random controls stand for "
        "those that nobody looked at. What is undecided or waits widens the interval."
    )
    print_line("")


def _print_rates(rates: ReviewedRates) -> None:
    from drupe.evaluation.intervals import format_interval, format_percent

    for name, rate in (("recall", rates.recall), ("clean yield", rates.clean_yield)):
        bounds = format_interval(rate.low, rate.high, dash="-")
        print_line(
            f"test {name} at {rates.threshold:g}, were all pictures judged: "
            f"{format_percent(rate.estimate)} (95 % interval {bounds})"
        )
    print_line("")


def _print_changes(done: AppliedReview) -> None:
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in done.changes.counts.items()
    )
    print_line(f"{done.root}: {counts}", style="bold")
    lines = [f"  {fix.change}  {fix.path}: {fix.reason}" for fix in done.changes.fixes]
    for line in shortened(lines, SHOWN, "more, in --json"):
        print_line(line)
    for path in done.changes.gone:
        print_line(f"  gone, or another picture by now: {path}")
    if done.changes.counts["undecided"]:
        print_prose("Undecided pictures can have a third look: drupe labels review --third-look.")
    marked = [
        fix
        for fix in done.changes.fixes
        if fix.origin and fix.origin.cause == "suspect" and fix.origin.split != "fit"
    ]
    if marked:
        print_prose(
            f"{len(marked):,} of these changes are outside fit, on pictures that were looked at "
            "because a model disagreed. That favours models like it: certificates and test figures "
            "on these labels are marked, and don't pass.",
            style="yellow",
        )
    if done.applied is None:
        print_line("nothing was written" + (": --dry-run" if done.changes.fixes else ""))
    else:
        for line in done.applied.lines():
            print_line(line)
