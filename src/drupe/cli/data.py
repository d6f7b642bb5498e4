"""``drupe data``: make a set, fetch the public one, and find what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from drupe.cli.audit import print_audit, print_fix_list
from drupe.cli.console import print_json, print_line, print_note, stdout, table
from drupe.cli.options import STORE, Datasets, Defect, Good, Group, Json, Store, examples
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.data.audit import Audit
    from drupe.data.synthetic.truth import Truth

WhiteLevel = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=255,
        max=65_535,
        help="Value of a white pixel, as in input.white_level; above 255: grey files of 9 to 16 "
        "bits.",
    ),
]

FixList = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write proposed fixes as CSV, to edit.")
]
Apply = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Honour a fix list from now on, beside earlier ones; no image is touched.",
    ),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="With --apply: take all earlier fixes back.")
]
Html = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write a page too: what was found as pictures, fixes to choose."
    ),
]

app = typer.Typer(no_args_is_help=True, help="Make, fetch and audit folders of labelled crops.")


@app.command(
    epilog=examples(
        "drupe data synth crops",
        "drupe data synth faulty --images 400 --leaks 5 --corrupt 3",
        "drupe data synth typed --types 3 --groups 5 --bad-group 2",
    )
)
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the set.")],
    images: Annotated[int, typer.Option(metavar="N", help="Files in all, faults included.")] = 2000,
    size: Annotated[int, typer.Option(metavar="S", help="Pixels: crops are S × S.")] = 128,
    seed: Annotated[int, typer.Option(metavar="N", help="Same seed, same files.")] = 0,
    label_noise: Annotated[
        float, typer.Option(metavar="P", help="Share of crops with the wrong label.")
    ] = 0.0,
    label_noise_kind: Annotated[
        Literal["random", "lookalike"],
        typer.Option(help="Those crops: any, or such that look like the label that they get."),
    ] = "random",
    leaks: Annotated[int, typer.Option(metavar="N", help="Files of train copied into val.")] = 0,
    duplicates: Annotated[
        int, typer.Option(metavar="N", help="Files copied within their class and split.")
    ] = 0,
    near_duplicates: Annotated[
        int, typer.Option(metavar="N", help="Crops copied turned or flipped, a little changed.")
    ] = 0,
    contradictions: Annotated[
        int, typer.Option(metavar="N", help="Files copied into the other class.")
    ] = 0,
    blanks: Annotated[int, typer.Option(metavar="N", help="Crops without a fruit.")] = 0,
    corrupt: Annotated[int, typer.Option(metavar="N", help="Files that don't decode.")] = 0,
    types: Annotated[
        int, typer.Option(metavar="K", help="Types of defects: 2 pit, stem; 3 split as well.")
    ] = 1,
    groups: Annotated[
        int, typer.Option(metavar="N", help="Cameras, a folder each: --group 'camera-([0-9]+)'.")
    ] = 0,
    bad_group: Annotated[
        int, typer.Option(metavar="K", help="Camera that is out of focus, from 1.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Draw synthetic cherries. With the faults asked for; truth.json says which file has which."""
    from drupe.data.synthetic.generation import synthesise

    truth = synthesise(
        folder,
        images=images,
        size=size,
        seed=seed,
        label_noise=label_noise,
        label_noise_kind=label_noise_kind,
        leaks=leaks,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        contradictions=contradictions,
        blanks=blanks,
        corrupt=corrupt,
        types=types,
        groups=groups,
        bad_group=bad_group,
        progress=progress_on(),
    )
    if as_json:
        print_json({"folder": str(folder), **truth.to_json()})
    else:
        _print_truth(folder, truth)


def _print_truth(folder: Path, truth: Truth) -> None:
    faults = [
        [name.replace("_", " "), len(found)]
        for name, found in truth.to_json().items()
        if isinstance(found, list) and found and name not in ("types", "groups", "shows")
    ]
    print_line(f"{folder}: {truth.images:,} images of {truth.size} × {truth.size} pixels")
    if faults:
        stdout().print(table(["fault", "files or pairs"], faults))
        print_line(f"which is which: {folder / 'truth.json'}")


@app.command(
    epilog=examples(
        "drupe data fetch cherries",
        "drupe data fetch cherries --source /mnt/cherry_classification",
    )
)
def fetch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the set.")],
    source: Annotated[
        str | None, typer.Option(metavar="URL", help="Another git repository of the same shape.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="SHA", help="Another revision; counts aren't checked.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch the public cherry set. At its pinned revision, every file checked against it.

    Where it was interrupted, the same command goes on.
    """
    from drupe.data import fetch as public_set

    source, revision = source or public_set.SOURCE, revision or public_set.REVISION
    print_note(f"fetching {source} at {revision}")
    fetched = public_set.fetch(
        folder,
        source=source,
        revision=revision,
        progress=progress_on(),
    )
    if as_json:
        print_json({"folder": str(folder), **fetched.to_json()})
        return
    stdout().print(table(["folder", "images"], list(fetched.counts.items())))
    print_line(f"{folder}: {fetched.source} at {fetched.revision}")


@app.command(
    epilog=examples(
        "drupe data audit crops",
        "drupe data audit week46 week47/labels.csv",
        "drupe data audit crops --fix-list fixes.csv",
        "drupe data audit crops --html audit.html",
        "drupe data audit crops --apply fixes.csv",
        "drupe data audit crops --apply all-fixes.csv --replace",
        "drupe data audit crops --good clean --group 'camera-([0-9]+)'",
    )
)
def audit(
    data: Datasets,
    defect: Defect = None,
    good: Good = None,
    group: Group = None,
    fix_list: FixList = None,
    apply: Apply = None,
    replace: Replace = False,
    html: Html = None,
    white_level: WhiteLevel = 255,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Find what is wrong with a set. Unreadable files, duplicates, leaks, contradictory labels,
    blank crops, odd sizes and modes; exit 1 if there are errors.
    """
    from drupe.data.audit import audit as examine
    from drupe.data.fixes import write_fix_list
    from drupe.data.joined import join_datasets
    from drupe.data.naming import Naming
    from drupe.data.overlay import active_fixes, apply_fixes, audit_path
    from drupe.derived import sealed
    from drupe.files import check_replaceable, unless_read_only, write_json

    folder = join_datasets(data, store)
    if replace and not apply:
        raise InputError("--replace: needs --apply FILE, the fixes to put in place of all others")
    for file in filter(None, (fix_list, html)):
        check_replaceable(file)
    if html:
        import drupe.reporting.audit_page  # noqa: F401 (what it lacks is said before the work)
    naming = Naming(defect, tuple(good or ()), group=group)
    if apply:
        applied = apply_fixes(
            folder, store, apply, naming=naming, replace_earlier=replace, progress=progress_on()
        )
        for line in applied.lines():
            print_note(line)
    fixes = active_fixes(folder, store)
    found = examine(
        folder, naming, fixes, white_level=white_level, store=store, progress=progress_on()
    )
    if fix_list:
        proposals = found.proposed_fixes()
        write_fix_list(fix_list, proposals)
        print_note(f"{len(proposals):,} proposed fixes: {fix_list}")
    if html:
        _write_page(html, found)
    document = found.to_json()
    if as_json:
        print_json(document)
    else:
        print_audit(document)
    with unless_read_only(store, "the audit"):
        write_json(audit_path(folder, store), sealed(document))
    if found.has_errors:
        raise typer.Exit(1)


def _write_page(file: Path, found: Audit) -> None:
    """Write the page of an audit, and say on stderr where it lies."""
    from drupe.files import write_text
    from drupe.reporting.audit_page import build_audit_page, render_audit_page

    write_text(file, render_audit_page(build_audit_page(found)))
    print_note(f"page: {file} ({file.stat().st_size / 1e6:.1f} MB)")


@app.command(
    epilog=examples(
        "drupe data fixes crops",
        "drupe data fixes crops --json",
        "drupe data fixes crops --clear",
    )
)
def fixes(
    data: Datasets,
    clear: Annotated[bool, typer.Option("--clear", help="Take all of them back.")] = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """List the fixes that hold for a folder, and why. Also those whose picture isn't there.

    A fix holds for a picture, whatever its file is called, and never for another of the same name.
    """
    from drupe.data.joined import join_datasets
    from drupe.data.overlay import clear_fixes, find_fixes

    folder = join_datasets(data, store)
    if clear:
        count = clear_fixes(folder, store, progress=progress_on())
        if as_json:
            print_json({"folder": str(folder), "taken_back": count})
        else:
            print_line(f"{folder}: {count:,} fixes taken back")
        return
    found = find_fixes(folder, store, progress=progress_on())
    if as_json:
        print_json({"folder": str(folder), **found.listed()})
    else:
        print_fix_list(folder, found)
