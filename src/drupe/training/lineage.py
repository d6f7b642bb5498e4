"""The run before this one on the same data, and which items have joined or left since.

That is the run whose weights this one goes on from, or else the latest finished run of the same
dataset, which ``STORE/latest/`` names.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from drupe.data.store_errors import writing_to
from drupe.errors import InputError
from drupe.files import read_json, write_json
from drupe.runs.items import Item, ItemChanges, item_changes, read_items, write_items
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import PreparedData, require_root


def changes_since(
    config: ExperimentConfig, data: PreparedData, store: Path, folder: Path
) -> ItemChanges | None:
    """Return what has changed since the run before this one; None where there is none to tell.

    ``folder``: of this run. Runs that leave a fold or most items out are compared with their
    ancestor alone: their sides differ by design.
    """
    ancestor = config.training.init
    before = ancestor.run if ancestor else None
    if before is None and _has_all_items(config):
        before = _latest(require_root(config.data), store, folder)
    items = None if before is None else read_items(before)
    return None if before is None or items is None else item_changes(before, items, _items(data))


def keep_items(config: ExperimentConfig, data: PreparedData, store: Path, folder: Path) -> None:
    """Write down the items of the finished run in ``folder``, and that it is the latest one.

    Raises :class:`InputError` where the store can't be written to.
    """
    write_items(folder, _items(data))
    if _has_all_items(config):
        root = require_root(config.data)
        with writing_to(store):
            document = {"data": str(root), "run": str(folder.absolute())}
            write_json(_latest_file(root, store), document)


def _items(data: PreparedData) -> list[Item]:
    dataset, split = data.dataset, data.split
    sides = {
        int(index): side
        for side in ("fit", "calibration", "test", "dropped")
        for index in getattr(split, side)
    }
    types = dataset.types or ("",) * len(dataset.paths)
    return [
        Item(digest, kind or dataset.classes[int(is_defect)], sides.get(index, "dropped"))
        for index, (digest, is_defect, kind) in enumerate(
            zip(dataset.digests, dataset.is_defect, types, strict=True)
        )
    ]


def _has_all_items(config: ExperimentConfig) -> bool:
    data = config.data
    return not data.inner and data.limit is None and config.calibration.left_out is None


def _latest_file(root: Path, store: Path) -> Path:
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return store / "latest" / f"{key}.json"


def _latest(root: Path, store: Path, folder: Path) -> Path | None:
    """Return the latest finished run of the dataset ``root``; none where it is ``folder``."""
    try:
        document = read_json(_latest_file(root, store))
        run = Path(document["run"])
    except (InputError, KeyError, TypeError):  # none, or damaged: it only makes for a hint
        return None
    return None if run == folder.absolute() else run
