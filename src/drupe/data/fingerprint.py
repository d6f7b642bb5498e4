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
) -> str:
    """SHA-256 (hex) over (path, class, split, digest) of the items, sorted by path.

    It changes with a byte of an image, a label, a name or a split, and with nothing else: not
    with the place of the folder or the times of its files.
    """
    total = hashlib.sha256()
    for path, defect, val, digest in sorted(zip(paths, is_defect, in_val, digests, strict=True)):
        split = "val" if val else "train"
        total.update("\0".join((path, classes[int(defect)], split, digest, "")).encode())
    return total.hexdigest()
