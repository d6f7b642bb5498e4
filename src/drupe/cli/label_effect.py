"""``drupe labels effect``: what a repair of labels bought, by the same recipe before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from drupe.cli.console import print_fitting, print_json, print_line, print_prose
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
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.labels.effect import EffectRequest, LabelState, RepairEffect
    from drupe.study.execution.executor import Executor
    from drupe.training.config import ExperimentConfig

EXAMPLES = examples(
    "drupe labels effect balanced --data crops",
    "drupe labels effect lite0.yaml training.epochs=20 --data crops --before 1 --after 3",
    "drupe labels effect balanced --data crops --exclude-worst 50 --ranking labels.csv",
    "drupe labels effect --before-runs RUNS --after-runs RUNS --out effect.md",
    "drupe labels effect balanced --data crops --executor ray --address HOST:PORT --json",
)

Experiment = Annotated[
    Path | None,
    typer.Argument(
        metavar="EXPERIMENT.yaml",
        help="The recipe: an experiment file, or fast, balanced or best.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Keys laid on top of the file: training.epochs=3"),
]
Before = Annotated[
    str | None,
    typer.Option(
        metavar="REVISION",
        help="Labels to begin with, by number or name; else those of the folder without fixes.",
    ),
]
After = Annotated[
    str | None, typer.Option(metavar="REVISION", help="Labels to compare; else the newest.")
]
BeforeRuns = Annotated[
    Path | None,
    typer.Option(metavar="RUNS", help="Train nothing: a folder of seed-N runs, or a run."),
]
AfterRuns = Annotated[
    Path | None, typer.Option(metavar="RUNS", help="The same of the labels after.")
]
Worst = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Compare with leaving the N worst fit items of --ranking out instead."
    ),
]
Ranking = Annotated[Path | None, typer.Option(metavar="CSV", help="What drupe labels rank wrote.")]
Seeds = Annotated[
    int, typer.Option(metavar="S", min=1, max=100, help="Runs of each state, from the seed on.")
]
TestLabels = Annotated[
    Literal["before", "after"], typer.Option(help="By whose test labels both are judged.")
]
MinRecall = Annotated[float, typer.Option(metavar="R", help="That thresholds are certified for.")]
Confidence = Annotated[float, typer.Option(metavar="C", help="Of certificates and intervals.")]
Parallel = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Runs at once without a GPU (per node); else 1."),
]
MarkdownFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.md", help="Write it as Markdown too.")
]


def effect(
    experiment: Experiment = None,
    overrides: Overrides = None,
    data: Data = None,
    before: Before = None,
    after: After = None,
    before_runs: BeforeRuns = None,
    after_runs: AfterRuns = None,
    exclude_worst: Worst = None,
    ranking: Ranking = None,
    seeds: Seeds = 3,
    test_labels: TestLabels = "after",
    min_recall: MinRecall = 0.99,
    confidence: Confidence = 0.95,
    executor: ExecutorName = "local",
    address: Address = None,
    parallel: Parallel = None,
    out: MarkdownFile = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Say what a repair bought in clean yield: one recipe before and after, paired.

    Trains a run per state of the labels and seed, or takes those that are there; what was
    interrupted goes on.
    """
    from drupe.evaluation.certificate import check_target
    from drupe.files import check_replaceable, write_text
    from drupe.labels.effect import EffectRequest, runs_effect
    from drupe.reporting.label_effect import effect_markdown

    check_target(min_recall, confidence)
    if out is not None:
        check_replaceable(out)
    request = EffectRequest(seeds, test_labels, min_recall, confidence)
    if before_runs is not None or after_runs is not None:
        trained = (experiment, data, before, after, exclude_worst, ranking)
        found = runs_effect(*_two_sets(before_runs, after_runs, trained), request)
    else:
        keys = naming_keys(defect, good, group)
        config = _recipe(experiment, overrides or [], one_dataset(data, store), keys)
        states = _states(config, before, after, exclude_worst, ranking, store)
        chosen = choose_executor(executor, address, parallel, store, weights)
        found = _trained(states, request, store, chosen, weights)
    if out is not None:
        write_text(out, effect_markdown(found))
    if as_json:
        print_json(found.to_json())
    else:
        print_effect(found)


def _two_sets(
    before: Path | None, after: Path | None, trained: tuple[object, ...]
) -> tuple[Path, Path]:
    """Return both sets of runs; ``trained``: options of labels to train on, which don't go."""
    if before is None or after is None:
        raise InputError("--before-runs, --after-runs: must be given together")
    if any(given is not None for given in trained):
        raise InputError(
            "--before-runs, --after-runs: go without EXPERIMENT, --data, --before, --after, "
            "--exclude-worst and --ranking, because nothing is trained"
        )
    return before, after


def _recipe(
    experiment: Path | None, overrides: list[str], root: Path | None, naming: Mapping[str, Any]
) -> ExperimentConfig:
    from drupe.training.presets import experiment_file
    from drupe.workbench import runs

    file = experiment_file(experiment, "labels effect")
    config = runs.experiment(
        file, overrides, data={**naming, **({"root": str(root)} if root else {})}
    )
    if config.data.labels is not None:
        raise InputError("data.labels: must be left to --before and --after")
    return config


def _states(
    config: ExperimentConfig,
    before: str | None,
    after: str | None,
    worst: int | None,
    ranking: Path | None,
    store: Path,
) -> tuple[LabelState, LabelState, tuple[str, ...]]:
    """Return the two states of the labels, and what the second leaves out by its rank."""
    from drupe.data.label_history import ORIGINAL
    from drupe.labels.effect import open_state, without_worst
    from drupe.labels.ranking import read_ranking

    progress = progress_on()
    if worst is None and ranking is None:
        first = open_state(config, before or ORIGINAL, store, progress)
        return first, open_state(config, after, store, progress), ()
    if worst is None or ranking is None:
        raise InputError("--exclude-worst, --ranking: must be given together")
    if after is not None:
        raise InputError("--exclude-worst: goes without --after, which it takes the place of")
    listed = read_ranking(ranking)
    first = open_state(config, before, store, progress)
    return first, *without_worst(first, listed, worst, store, progress)


def _trained(
    states: tuple[LabelState, LabelState, tuple[str, ...]],
    request: EffectRequest,
    store: Path,
    executor: Executor,
    weights: Path | None,
) -> RepairEffect:
    from drupe.labels.effect import train_effect

    before, after, excluded = states
    return train_effect(
        before,
        after,
        request,
        store,
        executor,
        excluded=excluded,
        weights_folder=weights,
        progress=progress_on(),
    )


def print_effect(found: RepairEffect) -> None:
    """Print what is compared, every figure, and what it means."""
    from drupe.evaluation.intervals import format_confidence, format_target
    from drupe.reporting.label_effect import effect_lines, effect_meaning, effect_rows

    effect = found.effect
    confidence = format_confidence(effect.confidence)
    for name, state in (("before", found.before), ("after", found.after)):
        print_line(f"{name}: {state.name} ({state.what})")
    for one in found.changed:
        if one.relabelled or one.left_out or one.added:
            print_line(
                f"  {one.split}: {one.relabelled:,} relabelled, {one.left_out:,} left out, "
                f"{one.added:,} added"
            )
    print_prose(
        f"{effect.groups:,} distinct test items, {effect.defects:,} defects, by the labels of "
        f"{effect.test_labels} on both sides; seeds {', '.join(map(str, effect.seeds))}"
    )
    print_line("")
    rows = [
        (one.name, one.before, one.after, one.difference, one.interval, one.items_interval)
        for one in effect_rows(found)
    ]
    columns = ("", "before", "after", "difference", "interval", "these seeds")
    print_fitting(columns, rows)
    print_line("")
    print_prose(effect_meaning(found), style="bold")
    print_prose(
        "Means over seeds, at thresholds certified for recall ≥ "
        f"{format_target(effect.min_recall)} at {confidence} confidence, each run on its own "
        f"calibration. Differences in percentage points with {confidence} intervals "
        "over test items, calibration defects and seeds; these seeds: without the latter."
    )
    for line in effect_lines(found):
        print_prose(line, style="yellow")
