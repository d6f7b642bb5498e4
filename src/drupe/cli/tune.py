"""``drupe tune``: search for a better experiment, on the fit split alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from drupe.cli.console import print_json, print_warning
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
    from drupe.evaluation.recall_yield import Objective
    from drupe.tuning.folder import TuneFolder
    from drupe.tuning.request import Search
    from drupe.tuning.result import Findings

EXAMPLES = examples(
    "drupe tune balanced --data crops",
    "drupe tune lite0.yaml --space space.yaml --data crops --trials 60",
    "drupe tune lite0.yaml name=overnight --data crops --hours 8 --trials 1000",
    "drupe tune lite0.yaml --space networks.yaml --data crops --latency 5",
    "drupe tune lite0.yaml --data crops --executor ray --address HOST:PORT",
)
SECONDS_PER_HOUR = 3600


ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="EXPERIMENT.yaml",
        help="Where to begin: an experiment file, or fast, balanced or best.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Keys laid on top of the file: training.epochs=3"),
]
SpaceFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What to search: a YAML file with KEY: {low: A, high: B, log: true} or KEY: "
        "[A, B]. Without it, learning rate, weight decay, smoothing and augmentation.",
    ),
]
Trials = Annotated[
    int, typer.Option(metavar="N", min=1, help="Trials in all, those of earlier calls too.")
]
Hours = Annotated[
    float | None, typer.Option(metavar="H", help="Stop after so long, wherever it is.")
]
Latency = Annotated[
    float | None,
    typer.Option(metavar="MS", help="p95 that a decision may take here; slower: not trained."),
]
Folds = Annotated[
    int, typer.Option(metavar="K", min=2, max=20, help="Inner folds of the fit split.")
]
MeasureName = Annotated[
    Literal["mean-yield", "yield"],
    typer.Option(
        "--objective",
        help="Clean yield at --min-recall, or its mean over recalls from there to 1, which "
        "chance moves less.",
    ),
]
MinRecall = Annotated[
    float | None,
    typer.Option(metavar="R", help="Without it, 0.95 for mean-yield and 0.99 for yield."),
]
Parallel = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Trials at once without a GPU (per node); else 1."),
]
RECALLS = {"mean-yield": 0.95, "yield": 0.99}


def tune(
    experiment: ExperimentFile = None,
    overrides: Overrides = None,
    data: Data = None,
    space: SpaceFile = None,
    trials: Trials = 30,
    hours: Hours = None,
    latency: Latency = None,
    folds: Folds = 3,
    objective: MeasureName = "mean-yield",
    min_recall: MinRecall = None,
    executor: ExecutorName = "local",
    address: Address = None,
    parallel: Parallel = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Search for better settings of an experiment; calibration and test are not read.

    Trial 0 is the experiment as given. Each trial learns from all inner folds of the fit split but
    one and is judged on that, fold by fold. Killed, the same command continues. The best one is
    written as an experiment file, everything tried as a page.
    """
    from drupe.cli.tuning_answer import print_found
    from drupe.evaluation.recall_yield import Objective
    from drupe.tuning.folder import TuneFolder
    from drupe.tuning.search import Budget, run_search

    _check_limits(hours=hours, latency=latency)
    goal = Objective(objective, RECALLS[objective] if min_recall is None else min_recall)
    root = one_dataset(data, store)
    search = _search(
        experiment, overrides, root, naming_keys(defect, good, group), space, goal, folds, latency
    )
    for caveat in search.caveats:
        print_warning(caveat)
    chosen = choose_executor(executor, address, parallel, store, weights)
    budget = Budget(trials, None if hours is None else hours * SECONDS_PER_HOUR)
    try:
        # A cluster prints what befalls its nodes, which the search tells better.
        with redirect_stdout(StringIO()):
            found = run_search(search, store, chosen, budget, weights, progress_on())
    except KeyboardInterrupt:
        print_warning(f"stopped; nothing is lost, and the same command continues: {search.command}")
        raise
    folder = TuneFolder.of(store, search.config.name)
    _write_page(folder, found)
    if json:
        files = {"winner": str(folder.winner), "page": str(folder.page)}
        print_json({**found.to_json(), **(files if found.best else {})})
    else:
        print_found(found, folder, root, trials)


def _check_limits(**limits: float | None) -> None:
    from drupe.errors import InputError

    wrong = [
        f"--{name}: must be above 0, got {value:g}"
        for name, value in limits.items()
        if value is not None and not value > 0
    ]
    if wrong:
        raise InputError(wrong)


def _search(
    experiment: Path | None,
    overrides: list[str] | None,
    data: Path | None,
    naming: Mapping[str, Any],
    space_file: Path | None,
    objective: Objective,
    folds: int,
    latency: float | None,
) -> Search:
    """Return what is asked for, everything that can be wrong with it told at once."""
    from drupe.configuration import merge, parse_overrides
    from drupe.training.config import read_experiment, validate_experiment
    from drupe.training.preparation import require_root
    from drupe.training.presets import experiment_file
    from drupe.tuning.request import Search
    from drupe.tuning.space import default_space, read_space

    file = experiment_file(experiment, "tune")
    given = {"data": naming} if naming else {}
    document = read_experiment(file, merge(parse_overrides(overrides or []), given))
    config = validate_experiment(document, str(file))
    space = read_space(space_file, document) if space_file else default_space(config)
    search = Search(
        document=document,
        data={"root": str(data)} if data else {},
        source=str(file),
        space=space,
        objective=objective,
        folds=folds,
        latency_ms=latency,
        command=shlex.join(["drupe", *sys.argv[1:]]),
    )
    require_root(search.config.data)
    return search


def _write_page(folder: TuneFolder, found: Findings) -> None:
    from drupe.files import write_text
    from drupe.reporting.tuning_page import build_page, render_page

    write_text(folder.page, render_page(build_page(found)))
