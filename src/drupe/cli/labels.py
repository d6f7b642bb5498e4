"""``drupe labels``: which labels may be wrong, for a person to look at."""

from __future__ import annotations

from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli import label_apply, label_effect, label_review
from drupe.cli.console import print_fitting, print_json, print_line, print_prose
from drupe.cli.executors import Address, ExecutorName, choose_executor
from drupe.cli.options import STORE, DataNow, Json, Store, WeightsFolder, examples, one_dataset
from drupe.errors import shortened
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.evaluation.holding import ThresholdHolders
    from drupe.labels.run_ranking import LabelRanking

app = typer.Typer(
    no_args_is_help=True, help="Find labels that may be wrong, judge them, and mend them."
)

HOLDERS_SHOWN = 20
"""Defects that hold the threshold before the answer only counts."""

NO_CERTIFICATE = (
    "Leaving calibration or test items out because a model disagrees with their label voids the "
    "certificate. Correcting only those that it names favours it: certify on newly collected crops "
    "after that (drupe threshold RUN --data DIR)."
)


@app.command(
    epilog=examples(
        "drupe labels rank --run drupe-store/runs/train/lite0/seed-42",
        "drupe labels rank --run RUN --top 50 --out labels.csv",
        "drupe labels rank --run RUN --folds 3 --json",
        "drupe labels rank --run RUN --seeds 3 --executor ray --address HOST:PORT",
    )
)
def rank(
    run: Annotated[Path, typer.Option(metavar="RUN", help="A finished run on the labels.")],
    data: DataNow = None,
    folds: Annotated[
        int,
        typer.Option(
            metavar="K", min=2, max=20, help="Train K networks, each on all folds but one."
        ),
    ] = 5,
    seeds: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=20, help="Networks of each fold, whose answers are averaged."
        ),
    ] = 1,
    executor: ExecutorName = "local",
    address: Address = None,
    parallel: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Networks at once without a GPU (per node); else 1."),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Items to show.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Where all items go; default labels.csv in the run."),
    ] = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Order all items by how little networks that never saw them agree with the label.

    Trains K folds, or takes those that drupe threshold --cross-fit K has left. Imported runs and
    ensembles rank by themselves what they have never seen.
    """
    from drupe.files import check_replaceable, unless_read_only
    from drupe.labels.ranking import write_ranking
    from drupe.labels.run_ranking import Folds, rank_run
    from drupe.runs.layout import RunFolder

    path = RunFolder(run).label_ranking if out is None else out
    if out is not None:
        check_replaceable(path)
    root = one_dataset(data, store)
    chosen = choose_executor(executor, address, parallel, store, weights)
    # A cluster prints what befalls its nodes; stdout is for the answer.
    with redirect_stdout(StringIO()):
        wanted = Folds(folds, seeds, chosen, weights)
        found = rank_run(run, wanted, store, data_root=root, progress=progress_on())
    if as_json:
        print_json(
            {
                "run": str(run),
                "folds": folds,
                "seeds": seeds,
                "csv": str(path),
                **found.to_json(top),
            }
        )
    else:
        print_ranking(found, top, path)
    with nullcontext() if out is not None else unless_read_only(path, "the whole ranking (--out)"):
        write_ranking(path, found.ranking)


def print_ranking(found: LabelRanking, top: int, path: Path) -> None:
    """Print the first ``top`` items, how many labels are wrong, and what holds the threshold."""
    rows = [
        (one.path, one.split, one.label, f"{one.self_confidence:.2g}", one.reason)
        for one in found.ranking[:top]
    ]
    print_fitting(("path", "split", "label", "p(label)", "scores"), rows, texts=(0, 1, 2, 4))
    print_line("")
    print_prose(
        "p(label): the probability of the item's own label, from networks that never saw the item. "
        f"Their AUROC is {found.auroc:.4f} here; near 0.5 they know nothing, and neither does what "
        "follows."
    )
    for one in found.wrong:
        print_prose(
            f"{one.label}: an estimated {one.wrong:.0f} of {one.items:,} labels are wrong "
            f"(95 % interval {one.low:.0f} to {one.high:.0f})."
        )
    print_prose(
        "The estimate (confident learning) rests on the same scores: a hard item that is labelled "
        "right counts as wrong where the networks are sure of the other class. Where they often "
        "err, that can be several times too many."
    )
    print_line("")
    if found.holders:
        _print_holders(found.holders, {one.path: one.rank for one in found.ranking})
    else:
        print_prose(f"What holds the threshold: {found.no_holders}.")
    print_line(f"all {len(found.ranking):,} items: {path}")


def _print_holders(holders: ThresholdHolders, rank_of: dict[str, int]) -> None:
    from drupe.evaluation.intervals import format_confidence, format_percent, format_target

    certificate, without = holders.certificate, holders.without
    claim = (
        f"recall ≥ {format_target(certificate.min_recall)} at "
        f"{format_confidence(certificate.confidence)} confidence"
    )
    count = len(holders.paths)
    these = "This defect" if count == 1 else f"These {count:,} defects"
    print_prose(
        f"{these} of the run's own calibration hold{'s' if count == 1 else ''} the threshold at "
        f"{certificate.threshold:.4g} for {claim}, where clean yield is "
        f"{format_percent(certificate.clean_yield.rate)}:"
    )
    places = [(path, rank_of.get(path)) for path in holders.paths]
    lines = [f"  {path}" + (f" (rank {place:,})" if place else "") for path, place in places]
    for line in shortened(lines, HOLDERS_SHOWN, "more, in --json"):
        print_line(line)
    if without is None:
        print_prose("Leaving so many out, too few defects would be left for a certificate.")
    else:
        print_prose(
            "If all of these labels are wrong, the threshold without them would be "
            f"{without.threshold:.4g} and clean yield {format_percent(without.clean_yield.rate)}."
        )
    print_prose(NO_CERTIFICATE)


app.command(epilog=label_review.EXAMPLES)(label_review.review)
app.command(epilog=label_apply.APPLY_EXAMPLES)(label_apply.apply)
app.command(epilog=label_apply.HISTORY_EXAMPLES)(label_apply.history)
app.command(epilog=label_effect.EXAMPLES)(label_effect.effect)
