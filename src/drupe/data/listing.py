"""The images of a dataset, whatever it is named by: a folder, a table, or several of them."""

from __future__ import annotations

from pathlib import Path

from drupe.data.discover import Listing, discover
from drupe.data.joined import is_joined, list_joined
from drupe.data.naming import Naming
from drupe.data.table import is_table
from drupe.data.table_listing import list_table


def list_dataset(
    root: Path, naming: Naming | str | None = None, *, either_defect: bool = False
) -> Listing:
    """List the images of the dataset ``root``.

    ``root`` is a folder (:func:`drupe.data.discover.discover`, which explains ``naming`` and
    ``either_defect``), a table (:func:`drupe.data.table_listing.list_table`), or the folder that
    stands for several of them (:func:`drupe.data.joined.list_joined`).

    Raises
    ------
    InputError
        With everything that is wrong with the dataset.
    """
    root = Path(root)
    if is_table(root):
        return list_table(root, naming, either_defect=either_defect)
    if is_joined(root):
        return list_joined(root, naming, either_defect=either_defect)
    return discover(root, naming, either_defect=either_defect)
