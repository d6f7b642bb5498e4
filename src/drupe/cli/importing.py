"""``drupe import``: a network trained elsewhere, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_line, print_note, stderr
from drupe.cli.options import (
    STORE,
    Data,
    Defect,
    Good,
    Group,
    Json,
    Store,
    examples,
    naming_keys,
    one_dataset,
)
from drupe.errors import InputError, shortened
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.runs.record import ImportRecord

LEFT_SHOWN = 8
"""Names of tensors that a message lists before it only counts."""

EXAMPLES = examples(
    "drupe import best.pt --architecture resnet50 --out runs/BASE \\",
    "    --trained-on unknown --data crops",
    "drupe import best.pt input.range=imagenet input.size=224 data.sizes=resize \\",
    "    --architecture resnet50 --out runs/BASE --trained-on files.txt --data crops",
    "drupe import best.pt --classes pit,clean --picked-on-test ...",
)


Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="A state dict: .pt, .pth or .safetensors.")
]
Architecture = Annotated[
    str, typer.Option(metavar="NAME", help="Whose weights they are: resnet50, or a timm name.")
]
Out = Annotated[Path, typer.Option(metavar="RUN", help="Run directory to write.")]
TrainedOn = Annotated[
    str,
    typer.Option(
        metavar="FILE|unknown",
        help="List of the training files: paths or folders below --data, or SHA-256 digests, "
        "one a line. Where it is unknown, or they overlap calibration, nothing is certified "
        "on calibration.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Keys of input, data and calibration: input.range=unit, input.crop=96",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Class of each output; without it, in sorted order."),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Which state dict, where the file holds several."),
]
PickedOnTest = Annotated[
    bool,
    typer.Option(
        "--picked-on-test", help="Its epoch was picked on val/: its figures are optimistic."
    ),
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the run; without it, the file's.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="It was trained with, if known.")]


def import_network(
    checkpoint: Checkpoint,
    architecture: Architecture,
    out: Out,
    trained_on: TrainedOn,
    settings: Settings = None,
    data: Data = None,
    classes: Classes = None,
    key: Key = None,
    picked_on_test: PickedOnTest = False,
    name: Name = None,
    seed: Seed = 0,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Import a network trained elsewhere: check its weights, judge it, save it as a run.

    No pickled code is ever run. Where the run is already there, nothing is redone.
    """
    from drupe.cli.evaluation import (
        print_data,
        print_evaluation,
        print_run_json,
        print_skipped,
    )
    from drupe.configuration import merge, parse_overrides
    from drupe.runs.record import read_record
    from drupe.training.imported import ImportRequest, import_checkpoint
    from drupe.training.trained_on import UNKNOWN

    given: dict[str, Any] = {"root": str(one_dataset(data, store))} if data else {}
    given |= naming_keys(defect, good, group)
    request = ImportRequest(
        checkpoint=checkpoint,
        architecture=architecture,
        trained_on=None if trained_on == UNKNOWN else Path(trained_on),
        classes=_pair(classes),
        key=key,
        picked_on_test=picked_on_test,
        name=name,
        seed=seed,
        settings=merge(parse_overrides(settings or []), {"data": given}),
    )
    outcome = import_checkpoint(request, out, store, progress=progress_on())
    record = read_record(out)
    assert record is not None
    assert record.imported is not None
    print_skipped(outcome.skipped)
    print_data(record)
    _warn_of_import(record.imported)
    warn_of_order(
        outcome.evaluation.auroc,
        f"the order of its classes {','.join(record.imported.class_order)} (--classes), and "
        "input.range",
    )
    if json:
        print_run_json(out, outcome.evaluation, outcome.skipped, record.imported)
        return
    print_line(f"{'Done before' if outcome.already_done else 'Run'}: {out}")
    print_evaluation(outcome.evaluation, record.imported)


def _warn_of_import(imported: ImportRecord) -> None:
    """Say on stderr what became of its weights otherwise than expected."""
    if imported.flushed_weights:
        print_note(f"{imported.flushed_weights:,} subnormal weights became zero")
    if imported.left:
        listed = ", ".join(shortened(list(imported.left), LEFT_SHOWN))
        print_note(f"{len(imported.left):,} tensors beside the network's were left: {listed}")


def warn_of_order(auroc: float, said: str) -> None:
    """Ask on stderr whether what was ``said`` is right, where clean items rank above defects."""
    from drupe.evaluation.metrics import LIKE_CHANCE

    if auroc < LIKE_CHANCE:
        stderr().print(
            f"AUROC {auroc:.3f}: it ranks defects below clean items. Is {said} what it was "
            "trained with?",
            style="yellow",
            markup=False,
        )


def _pair(classes: str | None) -> tuple[str, str] | None:
    if classes is None:
        return None
    names = [name.strip() for name in classes.split(",")]
    if len(names) != 2:
        raise InputError(f"--classes: must be two names A,B, got {classes!r}")
    return names[0], names[1]
