"""``drupe report`` and ``drupe study report``: runs, or a study, as one page that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json, print_line
from drupe.cli.options import STORE, Json, Store, examples, one_dataset

if TYPE_CHECKING:
    from drupe.reporting.report import Report, Source
    from drupe.reporting.targets import Target
    from drupe.study.definition.loading import Study

EXAMPLES = examples(
    "drupe report drupe-store/runs/train/balanced/seed-42",
    "drupe report BEFORE AFTER --out change.html   two runs on the same items",
    "drupe report cherries.bundle",
    "drupe report cherries.bundle --explain   with heatmaps of what it decides wrongly",
    "drupe report drupe-store/runs/quickstart",
)
STUDY_EXAMPLES = examples(
    "drupe study report studies/quickstart.yaml",
    "drupe study report studies/quickstart.yaml --data crops --out report.html --pdf",
)


Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="The same keys that the study was run with."),
]
Pictures = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The crops, for pictures: folder or table; without it, those of the runs.",
    ),
]
Pdf = Annotated[
    bool,
    typer.Option("--pdf", help="A PDF beside it too, if Chromium, Chrome or Edge is installed."),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Heatmaps of some misses and false rejects: where the decision comes from. Takes a "
        "minute at most, and more for very large networks.",
    ),
]


def report(
    target: Annotated[
        list[Path],
        typer.Argument(
            metavar="TARGET...",
            help="A run, two runs (before and after), a bundle, or a study: its file or the folder "
            "of its runs.",
        ),
    ],
    data: Pictures = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Without it, report.html beside the run or study."),
    ] = None,
    pdf: Pdf = False,
    explain: Explain = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Write a report as one HTML file: the promise and its price, errors, next steps, data.

    Of a run with whatever certificate it has; of two runs also which crops are decided otherwise.
    """
    from drupe.files import check_replaceable, write_text
    from drupe.reporting.report import Source, build_run_report, build_stored_report, render
    from drupe.reporting.targets import find_target
    from drupe.study.definition.loading import load_study

    root = one_dataset(data, store)
    found = find_target(target, store)
    if found.file is not None:
        asked = Source(str(found.file), (), root, store, explain)
        page, built = write_study_page(load_study(found.file), asked, out)
        _answer(page, built, pdf, as_json)
        return
    page = out or (found.folder or found.runs[-1].absolute().parent) / _page_name(found)
    check_replaceable(page)
    if found.folder is not None:
        built = build_stored_report(found.folder, root, store, explain)
    else:
        explained = target[-1] if explain else None
        built = build_run_report(found.runs, root, store, found.bundle, explained)
    write_text(page, render(built))
    _answer(page, built, pdf, as_json)


def _page_name(found: Target) -> str:
    """Return the name of the page; beside a run lie those of other seeds."""
    if not found.runs:
        return "report.html"
    return f"{'-to-'.join(run.absolute().name for run in found.runs)}-report.html"


def study_report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's file or folder.")],
    overrides: Words = None,
    data: Pictures = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Without it, STORE/runs/STUDY/report.html."),
    ] = None,
    pdf: Pdf = False,
    explain: Explain = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Write a study's report. One HTML file: verdict, threshold explorer, errors, curves, data."""
    from drupe.configuration import parse_overrides
    from drupe.reporting.report import Source
    from drupe.study.definition.loading import load_study

    words = tuple(overrides or ())
    asked = Source(str(study), words, one_dataset(data, store), store, explain)
    page, built = write_study_page(load_study(study, parse_overrides(words)), asked, out)
    _answer(page, built, pdf, as_json)


def _answer(page: Path, built: Report, pdf: bool, as_json: bool) -> None:
    """Print where the page lies, and print it into a PDF if that is wanted."""
    from drupe.reporting.pdf import write_pdf

    printed = page.with_suffix(".pdf") if pdf else None
    if printed:
        write_pdf(page, printed)
    if as_json:
        print_json(
            {
                "study": built.name,
                "report": str(page),
                "bytes": page.stat().st_size,
                "pdf": str(printed) if printed else None,
                "runs": len(built.explorer),
                "heatmaps": len(built.heatmaps.shown) if built.heatmaps else 0,
                "test": {"images": built.images, "defects": built.defects},
            }
        )
        return
    print_line(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)", style="bold")
    if printed:
        print_line(f"PDF: {printed}")


def write_study_page(loaded: Study, asked: Source, out: Path | None = None) -> tuple[Path, Report]:
    """Write the page of a study that was loaded as ``asked`` says."""
    from drupe.files import check_replaceable, write_text
    from drupe.reporting.report import build_report, render
    from drupe.study.definition.plan import study_folder

    folder = study_folder(loaded, asked.store)
    page = out or folder / "report.html"
    check_replaceable(page)
    built = build_report(folder, asked)
    write_text(page, render(built))
    return page, built
