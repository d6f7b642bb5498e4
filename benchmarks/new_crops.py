"""What becomes of the old crops when new ones come, and of a fix list when the next week's come.

    python benchmarks/new_crops.py crops                    # 500 crops held back, then added
    python benchmarks/new_crops.py crops --added 100

Prints one JSON row. Two questions to a labelled folder, whose files are only linked to:

``sides``: without ``--added`` crops and then with them, how many of the old ones are on another
side (fit, calibration, test or dropped) than before, and how many of the new ones are on each; with
the folder's own val/ as the test split and with all three drawn. Duplicates are searched anew.

``fixes``: the crops are dealt into two weeks, and those of week 47 get the names that those of week
46 have. A list that excludes or relabels 100 crops of week 46 is applied there; how many items of
each week does it change?
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.copy_rule import duplicate_groups
from drupe.data.dataset import Dataset, open_dataset
from drupe.data.discover import Listing
from drupe.data.fixes import Fix, write_fix_list
from drupe.data.listing import list_dataset
from drupe.data.overlay import active_fixes, apply_fixes
from drupe.data.split import split_dataset
from provenance import circumstances

SIDES = ("fit", "calibration", "test", "dropped")
FIXES = 100


def main() -> None:
    options = parse()
    head = circumstances("new_crops.py", "numpy", "pillow")
    listing = list_dataset(options.data)
    with tempfile.TemporaryDirectory(prefix="drupe-new-", dir=options.folder) as scratch:
        folder = Path(scratch)
        row = {
            "benchmark": "new_crops",
            **head,
            "images": len(listing.paths),
            "added": options.added,
            "seed": options.seed,
            "sides": sides(folder, listing, options),
            "fixes": fixes(folder, listing, options),
        }
    print(json.dumps(row))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of labelled crops")
    parser.add_argument("--added", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of what is held back")
    parser.add_argument("--size", type=int, default=128, help="side of the crops in pixels")
    parser.add_argument("--folder", type=Path, default=None, help="where packs are made")
    return parser.parse_args()


def link(listing: Listing, items: Sequence[int], root: Path, names: Sequence[int] = ()) -> Path:
    """Make ``root`` a folder of links to the ``items``, named as the items ``names`` are."""
    for item, named in zip(items, names or items, strict=True):
        place = root / listing.paths[named]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to((listing.root / listing.paths[item]).resolve())
    return root


def sides(folder: Path, listing: Listing, options: argparse.Namespace) -> dict[str, Any]:
    order = np.random.default_rng(options.seed).permutation(len(listing.paths))
    old = link(listing, order[options.added :].tolist(), folder / "old")
    every = link(listing, order.tolist(), folder / "all")
    before, after = (with_groups(root, folder / "store", options.size) for root in (old, every))
    found = {}
    for name, has_val in (("own val", True), ("all drawn", False)):
        if has_val and not before[0].has_val:
            continue
        was, now = (side_of(dataset, groups, has_val) for dataset, groups in (before, after))
        found[name] = {
            "old_items": len(was),
            "old_items_on_another_side": sum(was[path] != now[path] for path in was),
            "new_items": dict(Counter(side for path, side in now.items() if path not in was)),
        }
    return found


def with_groups(root: Path, store: Path, size: int) -> tuple[Dataset, NDArray[np.int32]]:
    dataset = open_dataset(root, store=store, size=size)
    return dataset, duplicate_groups(dataset.images, dataset.digests)


def side_of(dataset: Dataset, groups: NDArray[np.int32], has_val: bool) -> dict[str, str]:
    """Return path → side, as a run with the defaults has it."""
    split = split_dataset(
        dataset.is_defect,
        dataset.in_val & has_val,
        has_val,
        groups,
        dataset.digests,
        holdout=0.25,
        test_share=0.2,
        seed=0,
    )
    return {dataset.paths[index]: side for side in SIDES for index in getattr(split, side)}


def fixes(folder: Path, listing: Listing, options: argparse.Namespace) -> dict[str, Any]:
    random = np.random.default_rng(options.seed)
    weeks: tuple[list[int], list[int]] = ([], [])
    # Crops of one class and split change names, so that a name's label stays what it was.
    strata = [
        np.flatnonzero((listing.is_defect == defect) & (listing.in_val == val))
        for defect in (False, True)
        for val in (False, True)
    ]
    for members in strata:
        dealt = random.permutation(members)[: len(members) // 2 * 2].tolist()
        weeks[0].extend(dealt[::2])
        weeks[1].extend(dealt[1::2])
    week46 = link(listing, weeks[0], folder / "week46")
    week47 = link(listing, weeks[1], folder / "week47", names=weeks[0])
    store = folder / "store"
    first = open_dataset(week46, store=store, size=options.size)
    chosen = random.choice(len(first.paths), FIXES, replace=False).tolist()
    changes = [
        Fix(first.paths[index], "exclude")
        if number % 2
        else Fix(first.paths[index], "relabel", first.classes[1 - int(first.is_defect[index])])
        for number, index in enumerate(chosen)
    ]
    write_fix_list(folder / "fixes.csv", changes)
    apply_fixes(week46, store, folder / "fixes.csv")
    found = {}
    for name, root in (("week 46", week46), ("week 47", week47)):
        plain = open_dataset(root, store=store, size=options.size)
        fixed = open_dataset(root, store=store, size=options.size, fixes=active_fixes(root, store))
        label = dict(zip(fixed.paths, fixed.is_defect.tolist(), strict=True))
        found[name] = {
            "items": len(plain.paths),
            "names_in_the_list": sum(one.path in set(plain.paths) for one in changes),
            "excluded": len(plain.paths) - len(fixed.paths),
            "relabelled": sum(
                label.get(path, is_defect) != is_defect
                for path, is_defect in zip(plain.paths, plain.is_defect.tolist(), strict=True)
            ),
        }
    return found


if __name__ == "__main__":
    main()
