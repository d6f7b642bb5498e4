"""``drupe study deliver``: the recommended model as a bundle, at work on crops one can look at."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_error, print_fitting, print_json, print_line, print_prose
from drupe.cli.options import STORE, Json, Store, examples, one_dataset
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.study.delivery import Delivery
    from drupe.study.verdict.document import StudyVerdict

EXAMPLES = examples(
    "drupe study deliver studies/quickstart.yaml",
    "drupe study deliver studies/quickstart.yaml --out cherries.bundle --open",
)

USUAL_RECALL = 0.99
"""What a line is usually asked for: the way to it is named where a study promises less."""


def deliver(
    study: Annotated[
        Path, typer.Argument(metavar="STUDY", help="A study file, or a folder with study.yaml.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The same keys that the study was run with."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where the crops lie; without it, where the runs say."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE", help="New directory; without it, STORE/runs/STUDY/STUDY.bundle."
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the report, where there is a browser to do it.")
    ] = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Export the model that a study recommends, show decisions of it, and write the report.

    A bundle that is there already, of the same model and promise, is taken as it is. Exit code 1:
    no model is recommended; the answer says what would change that.
    """
    from drupe.cli.report import write_study_page
    from drupe.configuration import parse_overrides
    from drupe.deployment.gate import GateError
    from drupe.reporting.report import Source
    from drupe.study.definition.loading import load_study
    from drupe.study.delivery import deliver as deliver_study
    from drupe.study.run import current_verdict

    words = tuple(overrides or ())
    loaded = load_study(study, parse_overrides(words))
    verdict = current_verdict(loaded, store)
    root = one_dataset(data, store)
    try:
        found = deliver_study(loaded, verdict, store, out, data=root, progress=progress_on())
    except GateError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    page, _ = write_study_page(loaded, Source(str(study), words, root, store))
    if as_json:
        delivered = found.to_json() if found else {"bundle": None}
        advice = verdict.recommendation.model_dump(mode="json")
        print_json({**delivered, "recommendation": advice, "report": str(page)})
    else:
        _print_delivery(found, verdict, page)
    if open_page and not as_json and _has_browser():
        webbrowser.open(page.absolute().as_uri())
    if found is None:
        raise typer.Exit(1)


def _has_browser() -> bool:
    """Return whether a person sits before a screen on which a page can be opened."""
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_screen and sys.stdout.isatty()


def _print_delivery(found: Delivery | None, verdict: StudyVerdict, page: Path) -> None:
    print_line("")
    if found is None:
        print_prose(verdict.recommendation.text)
        print_prose(f"What would change it: {verdict.recommendation.changes_with}.")
        print_line(f"Report:   {page}")
        return
    _print_decisions(found)
    _print_proof(found)
    size = sum(file.stat().st_size for file in found.bundle.iterdir()) / 1e6
    speed = "" if found.function.p50_ms is None else f", {found.function.p50_ms:.2g} ms a crop"
    print_line("")
    print_line(f"Bundle:   {found.bundle}")
    print_line(f"          {size:.1f} MB{speed}; decides without PyTorch")
    print_line(f"          drupe predict {found.bundle} FOLDER")
    print_line(f"Report:   {page}")


def _print_decisions(found: Delivery) -> None:
    rows = [
        (
            one.path,
            "" if one.score is None else f"{one.score:.4f}",
            one.decision,
            "" if one.is_right else "MISSED" if one.is_defect else "wasted",
        )
        for one in found.shown
    ]
    print_line(f"{len(rows)} test crops, decided by {found.bundle}:", style="bold")
    print_fitting(("crop", "score", "decision", ""), rows, texts=(0, 2, 3))


def _print_proof(found: Delivery) -> None:
    """Say what is proven, what it costs, and what one's own crops would need for more."""
    from drupe.evaluation.certificate import joint_confidence, needed_defects
    from drupe.evaluation.intervals import (
        format_confidence,
        format_interval,
        format_percent,
        format_target,
    )

    point, certificate = found.point, found.point.certificate
    assert certificate is not None  # what is recommended is certified
    request = point.request
    chosen = f", chosen among {request.candidates}" if request.candidates > 1 else ""
    how = "Proven" if certificate.is_exact else "Shown (approximately, by cross-fitting)"
    print_line("")
    print_prose(
        f"{how}: {found.experiment}{chosen}, catches at least "
        f"{format_target(request.min_recall)} of the defects, with "
        f"{format_confidence(request.confidence)} confidence: of {certificate.defects:,} defects "
        f"set aside for this, {certificate.misses_allowed:,} may be missed.",
        style="bold green",
    )
    if point.test:
        counts = point.test.counts
        accepted = counts.clean_yield(request.confidence)
        print_prose(
            f"Cost: of {counts.clean:,} clean test crops it accepts {counts.clean_accepted:,} "
            f"({format_percent(accepted.rate)}, "
            f"{format_interval(accepted.low, accepted.high, dash='-', sign='')}); of "
            f"{counts.defects:,} defects {counts.defects_accepted:,} slip through."
        )
    if request.min_recall < USUAL_RECALL:
        joint = joint_confidence(request.confidence, request.candidates)
        print_prose(
            f"To promise {format_target(USUAL_RECALL)} takes "
            f"{needed_defects(USUAL_RECALL, joint):,} labelled defects set aside; "
            "drupe threshold RUN prices what more of them bring."
        )
