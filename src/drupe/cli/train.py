"""``drupe train``: one experiment with one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_warning
from drupe.cli.options import (
    STORE,
    Data,
    Defect,
    Good,
    Group,
    Json,
    Labels,
    Store,
    WeightsFolder,
    examples,
    naming_keys,
    one_dataset,
)
from drupe.workbench.progress_display import progress_on

EXAMPLES = examples(
    "drupe train balanced --data crops",
    "drupe train fast training.epochs=6 --data crops",
    "drupe train examples/lite0.yaml --data crops",
    "drupe train examples/lite0.yaml input.crop=96 --data crops --seed 1",
    "drupe train examples/lite0.yaml --data crops --resume",
    "drupe train fast --data week46 --data week47/labels.csv",
    "drupe train balanced --data crops --good clean --group 'camera-([0-9]+)'",
    "drupe train balanced training.init=RUN --data crops --out runs/next",
    "drupe train balanced tracking.tensorboard=board --data crops",
    "torchrun --nproc-per-node 2 -m drupe train lite0.yaml --data crops",
)


def train(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.yaml",
            help="What to train: an experiment file, or fast, balanced or best.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys laid on top of the file: training.epochs=3"),
    ] = None,
    data: Data = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of weights, order and augmentation.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run directory; default STORE/runs/train/EXPERIMENT/seed-N."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Start, continue, or do nothing when done.")
    ] = False,
    labels: Labels = None,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Train a network, judge it on calibration and test, and save both in a run directory.

    A killed run continues with --resume and ends in the very same weights.
    """
    from drupe.cli.evaluation import print_trained
    from drupe.training.preparation import with_named_labels
    from drupe.training.run import train_run
    from drupe.training.tracking.following import followed
    from drupe.workbench import runs

    root = one_dataset(data, store)
    keys = naming_keys(defect, good, group) | ({"root": str(root)} if root else {})
    keys |= {"labels": labels} if labels else {}
    given = {"data": keys} | ({} if seed is None else {"seed": seed})
    config = with_named_labels(runs.experiment(experiment, overrides or [], **given), store)
    for caveat in config.caveats:
        print_warning(caveat)
    folder = out or runs.default_folder(config, store)
    with followed(config, folder) as callbacks:
        outcome = train_run(
            config,
            folder,
            store,
            resume=resume,
            weights_folder=weights,
            progress=progress_on(),
            callbacks=callbacks,
        )
    if outcome.is_main:
        print_trained(folder, outcome, as_json=json)
