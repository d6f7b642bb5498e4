"""Errors of a dataset folder: unreadable files, copies, leaks, contradictions, blanks.

The folder is read once, images are never held in memory, and nothing is compared with everything:
see :mod:`drupe.data.copies.near_duplicates` for how the search scales. An audit needs about 3 KB
of free disk in the store and 2 KB of memory an image beside some 400 MB, and no packed dataset.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.copy_rule import complete_linkage, identical_groups, join
from drupe.data.copies.near_duplicates import NearPairs, Pairs, find_near_duplicates
from drupe.data.copies.sketches import Sketches
from drupe.data.decode import BYTE
from drupe.data.discover import Listing
from drupe.data.file_digests import file_digests
from drupe.data.fix_matching import FixMatch
from drupe.data.fixes import Fix, Fixes
from drupe.data.inspection import Inspection, fetch_window, inspect_files
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import Overlay, match_fixes
from drupe.data.store_errors import writing_to
from drupe.progress import Progress, silent

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Audit:
    """Findings about the N images of a folder, after the fixes that were applied.

    copies: int32 [N], images with identical bytes share the smallest index among them; turned:
    likewise for identical pixels, after a quarter turn or a flip too; groups: likewise for those
    joined by near duplicates, complete linkage; near: pairs between ``turned`` groups.
    Unreadable files are alone in their groups, unless their bytes are identical. fixed: the fixes,
    and what became of them; wrong_fixes: (path, reason) of relabels that can't be honoured.
    """

    listing: Listing
    inspection: Inspection
    copies: Labels
    turned: Labels
    groups: Labels
    near: NearPairs
    excluded: int
    relabelled: int
    fixed: FixMatch
    wrong_fixes: tuple[tuple[str, str], ...]

    @property
    def has_errors(self) -> bool:
        """True where something would spoil training or judging.

        That is: unreadable files, blank images, contradictory labels, copies (identical or
        near) across train and val, a class without images, or relabels that can't be honoured.
        """
        return bool(
            self.inspection.unreadable
            or self.wrong_fixes
            or self.empty_classes
            or self.inspection.blank
            or self.contradictory_groups
            or self.leaked
        )

    @cached_property
    def empty_classes(self) -> list[str]:
        """Class folders of which the fixes have left nothing, such as ``train/pit``."""
        return [
            f"{split}/{name}"
            for split, counts in self._per_split().items()
            for name, count in counts.items()
            if not count
        ]

    @cached_property
    def contradictory_groups(self) -> list[list[int]]:
        """Groups of identical images (turned ones too) that lie in both classes."""
        labels = self.listing.is_defect
        return [group for group in _groups(self.turned) if len(set(labels[group].tolist())) == 2]

    @cached_property
    def leaked(self) -> dict[int, str]:
        """Index of every train image with a copy in val → why."""
        in_val, test = self.listing.in_val, self.listing.test_name
        reasons: dict[int, str] = {}
        members = {group[0]: group for group in _groups(self.turned)}
        for pair in zip(
            self.near.copies.first.tolist(), self.near.copies.second.tolist(), strict=True
        ):
            one, two = (members.get(label, [label]) for label in pair)
            for mine, theirs in ((one, two), (two, one)):
                val = next((index for index in theirs if in_val[index]), None)
                train = [index for index in mine if not in_val[index]]
                if val is not None:
                    text = f"near duplicate of {self.listing.paths[val]}, which is in {test}"
                    reasons |= {index: text for index in train if index not in reasons}
        for labels, kind in ((self.turned, "turned copy"), (self.copies, "identical")):
            for group in _groups(labels):
                val = next((index for index in group if in_val[index]), None)
                if val is not None:
                    preposition = "of" if kind == "turned copy" else "to"
                    text = f"{kind} {preposition} {self.listing.paths[val]}, which is in {test}"
                    reasons |= {index: text for index in group if not in_val[index]}
        return reasons

    @property
    def fingerprint(self) -> str:
        """The fingerprint that :class:`drupe.data.dataset.Dataset` has without unreadable files."""
        kept = np.ones(len(self.listing.paths), dtype=bool)
        kept[list(self.inspection.unreadable)] = False
        digests = [self.inspection.digests[index] for index in np.flatnonzero(kept)]
        return self.listing.select(kept).fingerprint(digests)

    def proposed_fixes(self) -> list[Fix]:
        """Return fixes for all errors and for copies within a split, sorted by path.

        Excluded are unreadable and blank files, both sides of contradictory labels, the train
        side of leaks, and all but one of identical images within a split and class. Near
        duplicates within a split stay: the split keeps them on one side.
        """
        listing = self.listing
        reasons: dict[int, str] = {}
        for group in _groups(self.turned):
            kept: dict[tuple[bool, bool], int] = {}
            for index in group:
                where = (bool(listing.in_val[index]), bool(listing.is_defect[index]))
                if kept.setdefault(where, index) != index:
                    reasons[index] = f"copy of {listing.paths[kept[where]]}"
        reasons |= self.leaked
        for group in self.contradictory_groups:
            for index in group:
                other = next(i for i in group if listing.is_defect[i] != listing.is_defect[index])
                reasons[index] = f"same image as {listing.paths[other]}, of the other class"
        reasons |= {index: "blank or tiny content" for index in self.inspection.blank}
        reasons |= {
            index: f"unreadable: {reason}" for index, reason in self.inspection.unreadable.items()
        }
        return [
            Fix(
                listing.paths[index],
                "exclude",
                reason=reasons[index],
                sha256=self.inspection.digests[index],
            )
            for index in sorted(reasons)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the whole audit: counts at the top, lists with paths under ``findings``.

        A set of k identical files counts as k(k-1)/2 pairs; near duplicates are counted between
        different images, each set of identical ones standing for one. ``alike`` lists pairs that
        are no copies but that a person may want to look at, such as two photographs of one object;
        they are neither errors nor fixed.
        """
        listing, found = self.listing, self.inspection
        near = [*self._turned_pairs(), *self._measured(self.near.copies)]
        return {
            "root": str(listing.named),
            "classes": {"clean": listing.classes[0], "defect": listing.classes[1]},
            "images": len(listing.paths),
            "fingerprint": self.fingerprint,
            "per_class": self._per_class(np.ones(len(listing.paths), dtype=bool)),
            "per_split": self._per_split(),
            "per_type": self._per_type(),
            "per_group": self._per_group(),
            "unreadable": len(found.unreadable),
            "exact_duplicate_pairs": sum(
                len(group) * (len(group) - 1) // 2 for group in _groups(self.copies)
            ),
            "cross_split_duplicate_pairs": sum(
                _pairs_across(listing.in_val[group]) for group in _groups(self.copies)
            ),
            "near_duplicate_pairs": len(near),
            "cross_split_near_duplicate_pairs": sum(pair["cross_split"] for pair in near),
            "contradictory_labels": sum(
                _pairs_across(listing.is_defect[group]) for group in self.contradictory_groups
            ),
            "blank_or_tiny": len(found.blank),
            "empty_classes": self.empty_classes,
            "largest_group": self._largest_group(),
            "content_box": found.content_box(),
            "sizes": {
                f"{width}x{height}": count
                for (width, height), count in found.size_counts().most_common()
            },
            "modes": dict(found.mode_counts().most_common()),
            "notes": list(listing.notes),
            "passed_over": listing.passed.to_json(),
            "fixes": {
                **self.fixed.to_json(),
                "excluded": self.excluded,
                "relabelled": self.relabelled,
                "wrong": [{"path": path, "reason": reason} for path, reason in self.wrong_fixes],
            },
            "search": {
                "nominated": self.near.nominated,
                "sifted": self.near.sifted,
                "dropped": self.near.dropped,
                "crowded": self.near.crowded,
            },
            "has_errors": self.has_errors,
            "findings": self._findings(near),
        }

    def _findings(self, near: list[dict[str, Any]]) -> dict[str, Any]:
        listing, found = self.listing, self.inspection
        counts, modes = found.size_counts(), found.mode_counts()
        common = counts.most_common(1)[0][0] if counts else None
        usual = modes.most_common(1)[0][0] if modes else ""
        return {
            "unreadable": [
                {"path": listing.paths[index], "reason": reason}
                for index, reason in sorted(found.unreadable.items())
            ],
            "exact_duplicates": [self._paths(group) for group in _groups(self.copies)],
            "cross_split_duplicates": [
                self._paths(group)
                for group in _groups(self.copies)
                if _pairs_across(listing.in_val[group])
            ],
            "near_duplicates": near,
            "alike": list(self._measured(self.near.alike)),
            "contradictory_labels": [self._paths(group) for group in self.contradictory_groups],
            "blank_or_tiny": self._paths(found.blank),
            "other_sizes": [
                {"path": path, "size": list(size)}
                for path, size in zip(listing.paths, found.sizes, strict=True)
                if size is not None and size != common
            ],
            "other_modes": [
                {"path": path, "mode": mode}
                for path, mode in zip(listing.paths, found.modes, strict=True)
                if mode and mode != usual
            ],
        }

    def _paths(self, indices: Sequence[int]) -> list[str]:
        return [self.listing.paths[index] for index in indices]

    def _per_class(self, members: NDArray[np.bool_]) -> dict[str, int]:
        defects = int(np.count_nonzero(self.listing.is_defect & members))
        clean, defect = self.listing.classes
        return {clean: int(np.count_nonzero(members)) - defects, defect: defects}

    def _per_split(self) -> dict[str, dict[str, int]]:
        in_val = self.listing.in_val
        if not self.listing.has_val:
            return {"train": self._per_class(~in_val)}
        return {
            "train": self._per_class(~in_val),
            self.listing.test_name: self._per_class(in_val),
        }

    def _per_type(self) -> dict[str, int]:
        """Type of defect → images, '' where it isn't known; empty where nothing tells of types."""
        of_defects = zip(self.listing.types or (), self.listing.is_defect.tolist(), strict=False)
        return dict(sorted(Counter(name for name, is_defect in of_defects if is_defect).items()))

    def _per_group(self) -> dict[str, dict[str, int]]:
        """Group that images come from → images of each class."""
        labelled = zip(self.listing.groups or (), self.listing.is_defect.tolist(), strict=False)
        counts = Counter(labelled)
        clean, defect = self.listing.classes
        return {
            name: {clean: counts[name, False], defect: counts[name, True]}
            for name in sorted({name for name, _ in counts})
        }

    def _largest_group(self) -> dict[str, Any]:
        """Size and paths of the largest group, by different images first, then by files."""
        largest: list[int] = []
        most = (1, 1)
        for group in _groups(self.groups):
            size = (len(set(self.copies[group].tolist())), len(group))
            if size > most:
                largest, most = group, size
        return {
            "images": most[0] if largest else 0,
            "files": len(largest),
            "paths": self._paths(largest),
        }

    def _turned_pairs(self) -> Iterator[dict[str, Any]]:
        """Pair each image with the first of the same pixels in another file or position."""
        for group in _groups(self.turned):
            for index in group[1:]:
                if self.copies[index] == index:
                    yield self._pair(group[0], index, kind="same pixels", correlation=1.0)

    def _measured(self, pairs: Pairs) -> Iterator[dict[str, Any]]:
        for row in range(len(pairs)):
            yield self._pair(
                int(pairs.first[row]),
                int(pairs.second[row]),
                kind="altered copy" if pairs is self.near.copies else "looks alike",
                correlation=round(float(pairs.correlation[row]), 4),
                evidence=round(float(pairs.evidence[row]), 2),
                overlap=round(float(pairs.overlap[row]), 4),
                degrees=round(float(pairs.degrees[row]), 1),
                flipped=bool(pairs.flipped[row]),
            )

    def _pair(self, one: int, two: int, **measured: Any) -> dict[str, Any]:
        listing = self.listing
        mine, theirs = (self._members.get(int(self.turned[i]), [i]) for i in (one, two))
        if mine is theirs:
            mine, theirs = [one], [two]
        splits = {(bool(listing.in_val[i]), bool(listing.in_val[j])) for i in mine for j in theirs}
        return {
            "first": listing.paths[one],
            "second": listing.paths[two],
            "cross_split": any(i != j for i, j in splits),
            "same_class": bool(listing.is_defect[one] == listing.is_defect[two]),
            **measured,
        }

    @cached_property
    def _members(self) -> dict[int, list[int]]:
        return {group[0]: group for group in _groups(self.turned)}


def audit(
    root: Path,
    naming: Naming | str | None = None,
    fixes: Overlay | Fixes | None = None,
    *,
    store: Path,
    white_level: int = BYTE,
    workers: int | None = None,
    progress: Progress = silent,
) -> Audit:
    """Audit the dataset folder ``root``.

    Images of any size are compared, large ones shrunk to 128 pixels. ``white_level``: the value of
    a white pixel; above 255, grey files of 9 to 16 bits are wanted, and others a finding. Items
    that ``fixes`` exclude are left out and relabelled ones judged by their new label. ``store``
    takes a scratch file that is gone afterwards; ``workers`` threads decode (None: a few more than
    cores).

    Raises
    ------
    InputError
        The folder is no dataset (see :func:`drupe.data.listing.list_dataset`), or the store can't
        be written to. Faulty images never raise: they are findings.
    """
    listing = list_dataset(Path(root), naming)
    before = len(listing.paths)
    fixed = _matched(fixes, listing, Path(store), workers, progress)
    changes = fixes if isinstance(fixes, Fixes) else fixed.fixes
    wrong = changes.wrong_relabels(frozenset(listing.paths), listing.meanings)
    listing, relabelled = _with_fixes(listing, changes, {path for path, _ in wrong})
    scratch = Path(store) / "audit"
    with writing_to(Path(store)):
        scratch.mkdir(parents=True, exist_ok=True)
        sketches = Sketches(len(listing.paths), scratch)
    with sketches:
        found = inspect_files(
            listing.root,
            listing.paths,
            sketches,
            workers=workers,
            progress=progress,
            white_level=white_level,
        )
        # Who has neither bytes nor pixels is named by a number, like nobody else.
        copies = identical_groups([digest or i for i, digest in enumerate(found.digests)])
        turned = join(copies, identical_groups([key or i for i, key in enumerate(found.keys)]))
        near = find_near_duplicates(
            sketches,
            lambda rows: np.stack(
                [fetch_window(listing.root / listing.paths[i], white_level) for i in rows]
            ),
            np.unique(turned).astype(np.intp),
            progress,
        )
    return Audit(
        listing=listing,
        inspection=found,
        copies=copies,
        turned=turned,
        groups=complete_linkage(turned, near.copies.first, near.copies.second),
        near=near,
        excluded=before - len(listing.paths),
        relabelled=relabelled,
        fixed=fixed,
        wrong_fixes=tuple(wrong),
    )


def _matched(
    fixes: Overlay | Fixes | None,
    listing: Listing,
    store: Path,
    workers: int | None,
    progress: Progress,
) -> FixMatch:
    """Return what becomes of ``fixes``; only an overlay's are found by the files' bytes."""
    digests: Sequence[str] = ()
    if isinstance(fixes, Overlay):
        digests = file_digests(
            listing.root, listing.paths, store=store, workers=workers, progress=progress
        ).digests
    return match_fixes(fixes, listing.paths, digests)


def _with_fixes(listing: Listing, fixes: Fixes, wrong: set[str]) -> tuple[Listing, int]:
    """Return the listing after ``fixes`` without the ``wrong`` ones, and how many it relabels."""
    kept = np.array([path not in fixes.exclude for path in listing.paths], dtype=bool)
    names = {path: name for path, name in fixes.relabel.items() if path not in wrong}
    return listing.relabelled(names).select(kept), len(names)


def _groups(labels: Labels) -> list[list[int]]:
    """Members of each group of two or more, groups in the order of their first members."""
    copies = np.flatnonzero(np.bincount(labels, minlength=len(labels))[labels] > 1)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index in copies.tolist():
        members[int(labels[index])].append(index)
    return list(members.values())


def _pairs_across(sides: NDArray[np.bool_]) -> int:
    """Pairs with one member on each side."""
    counts = Counter(sides.tolist())
    return counts[True] * counts[False]
