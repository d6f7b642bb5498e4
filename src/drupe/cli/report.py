"""``drupe study report``: a study as one page that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json, print_line
from drupe.cli.options import STORE, Json, Store, examples

if TYPE_CHECKING:
    from drupe.reporting.report import Report
    from drupe.study.definition.loading import Study

EXAMPLES = examples(
    "drupe study report studies/quickstart.yaml",
    "drupe study report studies/quickstart.yaml --data crops --out report.html --pdf",
)


def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study's file or folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="The same keys that the study was run with."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the crops, for pictures; without it, that of the runs."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Without it, STORE/runs/STUDY/report.html."),
    ] = None,
    pdf: Annotated[
        bool,
        typer.Option(
            "--pdf", help="A PDF beside it too, if Chromium, Chrome or Edge is installed."
        ),
    ] = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Write a study's report. One HTML file: verdict, threshold explorer, errors, curves, data."""
    from drupe.configuration import parse_overrides
    from drupe.reporting.pdf import write_pdf
    from drupe.study.definition.loading import load_study

    words = tuple(overrides or ())
    page, built = write_study_page(
        load_study(study, parse_overrides(words)), study, words, data, store, out
    )
    printed = page.with_suffix(".pdf") if pdf else None
    if printed:
        write_pdf(page, printed)
    document = {
        "study": built.name,
        "report": str(page),
        "bytes": page.stat().st_size,
        "pdf": str(printed) if printed else None,
        "runs": len(built.explorer),
        "test": {"images": built.images, "defects": built.defects},
    }
    if as_json:
        print_json(document)
        return
    print_line(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)", style="bold")
    if printed:
        print_line(f"PDF: {printed}")


def write_study_page(
    loaded: Study,
    study: Path,
    words: tuple[str, ...],
    data: Path | None,
    store: Path,
    out: Path | None = None,
) -> tuple[Path, Report]:
    """Write the page of a study that was loaded from the file ``study`` with the keys ``words``."""
    from drupe.files import check_replaceable, write_text
    from drupe.reporting.report import Source, build_report, render
    from drupe.study.definition.plan import study_folder

    folder = study_folder(loaded, store)
    page = out or folder / "report.html"
    check_replaceable(page)
    built = build_report(folder, Source(str(study), words, data, store))
    write_text(page, render(built))
    return page, built
