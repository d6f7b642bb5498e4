"""``drupe study``: experiments, seeds and planned comparisons from one file or folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli import report, study_certify, study_deliver
from drupe.cli.console import print_json, print_line, print_text
from drupe.cli.executors import Address, ExecutorName, choose_executor
from drupe.cli.options import (
    STORE,
    Data,
    Defect,
    Good,
    Group,
    Json,
    Store,
    WeightsFolder,
    examples,
    naming_keys,
    one_dataset,
)
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.study.definition.loading import Study
    from drupe.study.run import OnStart

app = typer.Typer(no_args_is_help=True, help="Run studies: experiments x seeds, compared fairly.")

RUN_EXAMPLES = examples(
    "drupe study run studies/quickstart.yaml --data crops",
    "drupe study run studies/quickstart.yaml seeds=[1,2,3] --data crops",
    "drupe study run studies/phase2 --data crops --smoke training.pretrained=false",
    "drupe study run studies/phase2 --data crops --skip EXP-002A --strict",
)
CHECK_EXAMPLES = examples("drupe study check studies/phase2 --data crops")
DESCRIBE_EXAMPLES = examples("drupe study describe studies/phase2 > docs/phase2.md")
STATUS_EXAMPLES = examples("drupe study status studies/phase2 --data crops")
NOTEBOOK_EXAMPLES = examples(
    "drupe study notebook studies/phase2",
    "drupe study notebook studies/phase2 --out phase2.ipynb --source URL",
)

StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="A study file, or a folder with study.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Keys of the study (seeds=[1,2]) or of every experiment (training.epochs=3).",
    ),
]
Smoke = Annotated[
    bool,
    typer.Option("--smoke", help="One epoch of three batches, first seed: does everything run?"),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Run only this experiment, and the runs that it is about."),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Leave this experiment out, also where --only needs it."),
]


@app.callback()
def study() -> None:
    """Run studies: experiments x seeds, compared fairly."""


def load(
    path: Path,
    overrides: list[str] | None,
    data: Path | None = None,
    naming: Mapping[str, Any] | None = None,
    smoke: bool = False,
) -> Study:
    """Read a study with the options that change it."""
    from drupe.configuration import merge, parse_overrides
    from drupe.study.definition.loading import load_study

    given: dict[str, Any] = {"root": str(data)} if data else {}
    given |= naming or {}
    loaded = load_study(path, merge(parse_overrides(overrides or []), {"data": given}))
    return loaded.smoke() if smoke else loaded


@app.command(epilog=RUN_EXAMPLES)
def run(
    study: StudyPath,
    overrides: Overrides = None,
    data: Data = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    smoke: Smoke = False,
    only: Only = None,
    skip: Skip = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Training runs at once without a GPU; else 1, smoke: cores."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 unless a model passes every criterion.")
    ] = False,
    executor: ExecutorName = "local",
    address: Address = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Run what is not yet done of a study, and print its verdict.

    Each run is a process of its own; finished runs are kept, an interrupted study continues.
    Exit code 1: a run failed, or with --strict no model passes every criterion.
    """
    from drupe.cli.study_progress import study_watch
    from drupe.cli.verdict import print_checks, print_verdict
    from drupe.files import write_text
    from drupe.reporting.verdict import smoke_markdown, verdict_markdown
    from drupe.study.run import Selection, run_study

    loaded = load(
        study, overrides, one_dataset(data, store), naming_keys(defect, good, group), smoke
    )
    runs = parallel or (None if not smoke else 0)
    chosen = choose_executor(executor, address, runs, store, weights)
    # A cluster prints what befalls its nodes, which the journal tells better.
    with study_watch() as on_start, redirect_stdout(StringIO()):
        found = run_study(
            loaded,
            store,
            chosen,
            selection=Selection(frozenset(only or ()), frozenset(skip or ())),
            weights_folder=weights,
            on_start=_tracked(loaded, on_start),
            progress=progress_on(),
        )
        chosen.stop()
    text = smoke_markdown(found.verdict, found.checks) if smoke else verdict_markdown(found.verdict)
    write_text(found.file(".md"), text)
    if json:
        print_json(found.to_json())
    elif smoke:
        print_checks(found.checks)
    else:
        print_verdict(found.verdict)
    if not found.is_whole or (strict and not found.verdict.passes):
        raise typer.Exit(1)


def _tracked(loaded: Study, on_start: OnStart) -> OnStart:
    """Return ``on_start``, followed by the study's trackers unless it is a smoke test."""
    from drupe.cli.console import print_warning
    from drupe.study.tracking import follow_study
    from drupe.training.tracking.following import open_trackers

    trackers = open_trackers(loaded.spec.tracking, print_warning)
    return on_start if loaded.is_smoke else follow_study(trackers, on_start, print_warning)


@app.command(epilog=CHECK_EXAMPLES)
def check(
    study: StudyPath,
    overrides: Overrides = None,
    data: Data = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    smoke: Smoke = False,
    weights: WeightsFolder = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Find out whether a study can run here and what it will take, without training."""
    from drupe.cli.study_progress import print_checked
    from drupe.study.check import check_study

    loaded = load(
        study, overrides, one_dataset(data, store), naming_keys(defect, good, group), smoke
    )
    found = check_study(loaded, store, weights, progress_on())
    if json:
        print_json(found.to_json())
    else:
        print_checked(found)


@app.command(epilog=DESCRIBE_EXAMPLES)
def describe(
    study: StudyPath,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Write the experiment specification as Markdown, from the study itself, to stdout."""
    from drupe.reporting.specification import describe as write_specification

    loaded = load(study, overrides)
    if json:
        configs = {name: one.model_dump(mode="json") for name, one in loaded.configs.items()}
        print_json({**loaded.spec.model_dump(mode="json"), "resolved": configs})
        return
    print_text(write_specification(loaded))


@app.command(epilog=STATUS_EXAMPLES)
def status(
    study: StudyPath,
    overrides: Overrides = None,
    data: Data = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    smoke: Smoke = False,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Show how far each run of a study is, also while it runs elsewhere."""
    from drupe.cli.study_progress import print_status
    from drupe.errors import InputError
    from drupe.study.definition.plan import plan, study_folder
    from drupe.study.execution.status import is_running, outcomes_from_files, task_statuses

    loaded = load(
        study, overrides, one_dataset(data, store), naming_keys(defect, good, group), smoke
    )
    folder = study_folder(loaded, store)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such study was run (yet); drupe study run {study}")
    tasks = plan(loaded, store)
    rows = task_statuses(tasks, outcomes_from_files(tasks, folder))
    alive = is_running(folder)
    if json:
        document = {"study": loaded.spec.study, "running": alive}
        print_json({**document, "tasks": [row.to_json() for row in rows]})
        return
    print_status(rows, alive)


app.command(name="report", epilog=report.STUDY_EXAMPLES)(report.study_report)
app.command(epilog=study_deliver.EXAMPLES)(study_deliver.deliver)
app.command(hidden=True)(study_certify.certify)


@app.command(epilog=NOTEBOOK_EXAMPLES)
def notebook(
    study: StudyPath,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Without it, notebooks/STUDY_colab.ipynb."),
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="URL", help="Drupe's own: a git URL, a folder or a package.")
    ] = "",
    json: Json = False,
) -> None:
    """Write a study as a notebook for Colab, and as a script with the same cells beside it."""
    from drupe.errors import InputError
    from drupe.files import check_replaceable, write_text
    from drupe.reporting.notebook import build_notebook, to_ipynb, to_script

    loaded = load(study, overrides)
    page = out or Path("notebooks") / f"{loaded.spec.study}_colab.ipynb"
    if page.suffix != ".ipynb":
        raise InputError(f"--out: must end in .ipynb, got {page}")
    script = page.with_suffix(".py")
    # The notebook runs elsewhere: a path of this machine would mean nothing there.
    where = study.name if study.is_absolute() else study.as_posix()
    built = build_notebook(loaded, where, overrides or (), source)
    for file in (page, script):
        check_replaceable(file)
    write_text(page, to_ipynb(built))
    write_text(script, to_script(built))
    if json:
        cells = len(built.steps)
        print_json({"notebook": str(page), "script": str(script), "code_cells": cells})
        return
    print_line(str(page))
    print_line(str(script))
