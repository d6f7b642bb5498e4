"""One fingerprint for all that a dataset holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def fingerprint_items(
    paths: Sequence[str],
    classes: tuple[str, str],
    is_defect: Iterable[bool],
    in_val: Iterable[bool],
    digests: Sequence[str],
    *,
    types: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    weights: Iterable[float] | None = None,
) -> str:
    """SHA-256 (hex) over (path, class, split, digest) of the items, sorted by path.

    It changes with a byte of an image, a label, a name or a split, and with nothing else: not
    with the place of the folder or the times of its files. Where ``types`` of defects, the
    ``groups`` that items come from or ``weights`` are known, they count too.
    """
    total = hashlib.sha256()
    known = [("type", types), ("group", groups), ("weight", weights)]
    more = [(name, values) for name, values in known if values is not None]
    rows = zip(paths, is_defect, in_val, digests, *(values for _, values in more), strict=True)
    for path, defect, val, digest, *told in sorted(rows):
        split = "val" if val else "train"
        words = [path, classes[int(defect)], split, digest]
        words += [f"{name} {value}" for (name, _), value in zip(more, told, strict=True)]
        total.update("\0".join((*words, "")).encode())
    return total.hexdigest()
