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
    problems, promises = [], []
    if of_types:
        types = np.array(table.types if table.types is not None else [""] * len(table), np.str_)
        known = sorted({*types.tolist(), *known_types} - {""})
        for name, recall in of_types:
            if name not in known:
                got = f"got {', '.join(known)}" if known else "got none: no types are known"
                problems.append(
                    f"min_recall: {name}: must be a type of defect in calibration, {got}"
                    f"{suggest(name, known)}"
                )
            promises.append(Promise("type", name, recall, types == name))
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
