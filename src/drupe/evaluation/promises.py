"""What is asked of types of defects and groups, applied to the items of a calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from drupe.errors import InputError, suggest
from drupe.evaluation.certificate import Promise
from drupe.evaluation.predictions import Predictions


def promises_about(
    table: Predictions,
    of_types: Sequence[tuple[str, float]],
    in_each_group: float | None,
    known_types: Iterable[str] = (),
) -> tuple[Promise, ...]:
    """Return the promises about the slices of ``table``.

    of_types: type of defect → recall to promise; in_each_group: recall to promise in every group of
    ``table``, None: in none. known_types: types that ``table`` may have no defect of.

    Raises:
        InputError: a type that isn't known, or items that don't tell their group.
    """
    promises = []
    problems = unknown_types("min_recall", [name for name, _ in of_types], table, known_types)
    if of_types:
        types = np.array(table.types if table.types is not None else [""] * len(table), np.str_)
        promises += [Promise("type", name, recall, types == name) for name, recall in of_types]
    if in_each_group is not None:
        groups = np.array(table.groups if table.groups is not None else [""] * len(table), np.str_)
        without = int(np.count_nonzero(groups == ""))
        if without:
            problems.append(
                "per_group: every calibration item must tell its group (--group PATTERN in "
                f"training, a column group in a CSV), got {without:,} of {len(table):,} without"
            )
        promises += [
            Promise("group", str(name), in_each_group, groups == name) for name in np.unique(groups)
        ]
    if problems:
        raise InputError(problems)
    return tuple(promises)


def unknown_types(
    key: str, names: Sequence[str], table: Predictions, known_types: Iterable[str] = ()
) -> list[str]:
    """Say which of the ``names`` are types of defects neither in ``table`` nor known otherwise.

    key: what the names were given for.
    """
    known = sorted({*(table.types or ()), *known_types} - {""})
    got = f"got {', '.join(known)}" if known else "got none: no types are known"
    return [
        f"{key}: {name}: must be a type of defect in calibration, {got}{suggest(name, known)}"
        for name in names
        if name not in known
    ]
