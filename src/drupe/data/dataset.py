"""A labelled folder, opened: labels, digests and one array of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import BYTE
from drupe.data.discover import Listing
from drupe.data.file_digests import file_digests
from drupe.data.fix_matching import FixMatch
from drupe.data.fixes import Fixes
from drupe.data.image_contract import Channels, ImageContract, RawPixel, Sizes
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import Overlay, match_fixes
from drupe.data.pack import Unreadable, open_pack
from drupe.data.walk import PassedOver
from drupe.errors import InputError, shortened
from drupe.progress import Progress, silent
from drupe.sides import Size

SHOWN = 20
"""Problems of one kind that a message names before it only counts."""


@dataclass(frozen=True)
class Dataset:
    """N labelled images of H × W pixels and C channels, sorted by path.

    root: the folder, or that of the table; classes: (clean, defect); paths: POSIX, relative to
    ``root``; is_defect and in_val: bool [N], after fixes; has_val: whether the dataset brings its
    own test split; digests: SHA-256 (hex) of each file's bytes; fingerprint: SHA-256 (hex) over
    path, class, split and digest of all items; images: [N, H, W, C], a read-only memory map: uint8,
    or uint16 where ``white_level``, the value of a white pixel, lies above 255; skipped: (path,
    reason) of files left out because they couldn't be read; cache: the folder of the pack, where
    what derives from the pixels may be kept; test_name, notes and passed: as a
    :class:`drupe.data.discover.Listing` has them; fixed: the fixes, and what became of them. types
    [N]: each item's type of defect, '' for clean items and where it isn't known; origins [N]: the
    group that each comes from, such as a camera; weights: float64 [N], above 0, how much each
    counts in training; all None where nothing tells.
    """

    root: Path
    classes: tuple[str, str]
    paths: tuple[str, ...]
    is_defect: NDArray[np.bool_]
    in_val: NDArray[np.bool_]
    has_val: bool
    digests: tuple[str, ...]
    fingerprint: str
    images: np.memmap[Any, np.dtype[RawPixel]]
    skipped: tuple[tuple[str, str], ...]
    cache: Path
    white_level: int = BYTE
    test_name: str = "val"
    notes: tuple[str, ...] = ()
    passed: PassedOver = field(default_factory=PassedOver)
    fixed: FixMatch = field(default_factory=FixMatch)
    types: tuple[str, ...] | None = None
    origins: tuple[str, ...] | None = None
    weights: NDArray[np.float64] | None = None


def open_dataset(
    root: Path,
    *,
    store: Path,
    size: Size,
    naming: Naming | str | None = None,
    unreadable: Unreadable = "error",
    sizes: Sizes = "refuse",
    channels: Channels = "rgb",
    white_level: int = BYTE,
    fixes: Overlay | Fixes | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Open the dataset in ``root``; the first time, decode it into ``STORE/packed/``.

    Parameters
    ----------
    root
        A folder or table that :func:`drupe.data.listing.list_dataset` understands.
    store
        Folder for packs and digests; made where missing.
    size
        Side of the images in pixels, or (height, width).
    naming
        How names are to be read; a mere name is that of the defect class, None: found by name.
    unreadable
        "error" refuses files that don't decode; "skip" lists them in ``Dataset.skipped``.
    sizes, channels, white_level
        Those of a :class:`drupe.data.image_contract.ImageContract`.
    fixes
        Images to leave out and labels to change; the files stay as they are. Those of an overlay
        are found by content, and what isn't there is listed in ``Dataset.fixed``. Of mere paths, a
        label to change must be there.
    workers
        Threads; None: a few more than there are cores.

    Raises
    ------
    InputError
        With everything found wrong with the folder, its images, the fixes or the store.
    """
    listing = list_dataset(Path(root), naming)
    root = listing.root
    found = file_digests(root, listing.paths, store=store, workers=workers, progress=progress)
    fixed = match_fixes(fixes, listing.paths, found.digests)
    digest_at = dict(zip(listing.paths, found.digests, strict=True))
    if fixes is not None:
        listing = _fixed(listing, fixes if isinstance(fixes, Fixes) else fixed.fixes)
        _check_classes(listing, "after the fixes")
    digests = [digest_at[path] for path in listing.paths]
    pack = open_pack(
        root,
        listing.paths,
        digests,
        store=store,
        contract=ImageContract(size, sizes, channels, white_level),
        unreadable=unreadable,
        workers=workers,
        progress=progress,
    )
    skipped = tuple((listing.paths[index], pack.skipped[index]) for index in sorted(pack.skipped))
    kept = np.isin(np.arange(len(listing.paths)), list(pack.skipped), invert=True)
    listing = listing.select(kept)
    if skipped:
        _check_classes(listing, f"after skipping {len(skipped):,} unreadable files", skipped)
    kept_digests = tuple(digests[index] for index in np.flatnonzero(kept))
    return Dataset(
        root=root,
        classes=listing.classes,
        paths=listing.paths,
        is_defect=listing.is_defect,
        in_val=listing.in_val,
        has_val=listing.has_val,
        digests=kept_digests,
        fingerprint=listing.fingerprint(kept_digests),
        images=pack.images,
        skipped=skipped,
        cache=pack.folder,
        white_level=white_level,
        test_name=listing.test_name,
        notes=listing.notes,
        passed=listing.passed,
        fixed=fixed,
        types=listing.types,
        origins=listing.groups,
        weights=listing.weights,
    )


def _fixed(listing: Listing, fixes: Fixes) -> Listing:
    """Return ``listing`` with labels changed and paths left out."""
    place = {path: index for index, path in enumerate(listing.paths)}
    wrong = fixes.wrong_relabels(place, listing.meanings)
    if wrong:
        source = fixes.kept_in or "fixes"
        remedy = f"{source}: holds the fixes applied to {listing.named}; correct the fix list and "
        remedy += f"give it again: drupe data audit {listing.named} --apply FILE"
        problems = shortened([f"{source}: {path}: {reason}" for path, reason in wrong], SHOWN)
        raise InputError(problems + ([remedy] if fixes.kept_in else []))
    kept = np.ones(len(listing.paths), dtype=bool)
    kept[[place[path] for path in fixes.exclude if path in place]] = False
    return listing.relabelled(fixes.relabel).select(kept)


def _check_classes(listing: Listing, when: str, skipped: Sequence[tuple[str, str]] = ()) -> None:
    splits = {"train": ~listing.in_val}
    splits |= {listing.test_name: listing.in_val} if listing.has_val else {}
    problems = [
        f"{listing.named}: class {name} must have images in {split}, got none {when}"
        for split, members in splits.items()
        for name, label in zip(listing.classes, (False, True), strict=True)
        if not np.any(members & (listing.is_defect == label))
    ]
    if problems:
        raise InputError(
            problems + shortened([f"  {path}: {reason}" for path, reason in skipped], SHOWN)
        )
