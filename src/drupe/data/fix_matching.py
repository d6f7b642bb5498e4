"""Where the pictures of fixes lie now: a fix is about a picture, whatever its file is called.

A fix knows its picture by the SHA-256 of the file. That alone doesn't say which file is meant,
since two files may be copies and only one of them be left out; so the path counts first, and a
moved picture is recognised only where nothing else could be meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.data.fixes import Fix, Fixes, fix_document
from drupe.data.label_history import revision_name

GONE = "its picture is not in this folder"
OTHER = "another picture has its name, and its own is not in this folder"
UNKNOWN = "what picture it was made for isn't known: it wasn't there when fixes began to name them"
CONTRADICTION = "fixes of this picture from other folders contradict each other"

Honoured = tuple[Fix, str]
"""A fix, and the path where its picture lies now."""

Unmatched = tuple[Fix, str]
"""A fix, and why it changes nothing."""


@dataclass(frozen=True)
class FixMatch:
    """The fixes of a dataset folder, each found in it or not.

    kept_in: the file of the folder's overlay, None where they come from none.
    """

    honoured: tuple[Honoured, ...] = ()
    unmatched: tuple[Unmatched, ...] = ()
    kept_in: Path | None = None

    @classmethod
    def by_path(cls, fixes: Fixes, known: Container[str]) -> FixMatch:
        """Return ``fixes`` that name images by nothing but their path, ``known`` or not."""
        wanted = [Fix(path, "exclude") for path in fixes.exclude]
        wanted += [Fix(path, "relabel", name) for path, name in fixes.relabel.items()]
        wanted.sort(key=lambda fix: fix.path)
        return cls(
            honoured=tuple((fix, fix.path) for fix in wanted if fix.path in known),
            unmatched=tuple(
                (fix, GONE)
                for fix in wanted
                if fix.path not in known and fix.action == "exclude"  # a relabel is an error
            ),
            kept_in=fixes.kept_in,
        )

    @property
    def all(self) -> tuple[Fix, ...]:
        """Every fix, as it was applied."""
        return tuple(fix for fix, _ in (*self.honoured, *self.unmatched))

    @property
    def revision(self) -> str:
        """The name of this state of the labels."""
        return revision_name(self.all)

    @property
    def fixes(self) -> Fixes:
        """The changes to make, by the paths of today."""
        return Fixes.of((replace(fix, path=path) for fix, path in self.honoured), self.kept_in)

    def to_json(self) -> dict[str, Any]:
        """Return counts of what is honoured, and each fix that isn't, with the reason why."""
        actions = [fix.action for fix, _ in self.honoured]
        return {
            "excluded": actions.count("exclude"),
            "relabelled": actions.count("relabel"),
            "revision": self.revision,
            "moved": sum(fix.path != path for fix, path in self.honoured),
            "unmatched": [
                {"path": fix.path, "change": fix.change, "why": why} for fix, why in self.unmatched
            ],
        }

    def listed(self) -> dict[str, Any]:
        """Return each fix with its path of today, or with why its picture can't be found."""

        def entry(fix: Fix) -> dict[str, Any]:
            document = fix_document(fix) | {"applied_to": fix.path}
            del document["path"], document["copies"]
            return document

        return {
            "honoured": [{"path": path, **entry(fix)} for fix, path in self.honoured],
            "unmatched": [{**entry(fix), "why": why} for fix, why in self.unmatched],
        }


def match_by_content(
    fixes: Iterable[Fix], paths: Sequence[str], digests: Sequence[str], kept_in: Path
) -> FixMatch:
    """Find the picture of each fix among files with the given paths and SHA-256 (hex).

    A picture in its place is taken first. One that isn't there is found under another path if the
    files of the same bytes leave no choice; else its fix is unmatched, and says which they are.
    """
    digest_at = dict(zip(paths, digests, strict=True))
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, digest in digest_at.items():
        if digest:
            places[digest].append(path)
    of_picture: defaultdict[str | None, list[Fix]] = defaultdict(list)
    for fix in fixes:
        of_picture[fix.sha256].append(fix)
    honoured: list[Honoured] = []
    unmatched: list[Unmatched] = []
    for sha256, group in of_picture.items():
        found, lost = _match_picture(group, places.get(sha256 or "", []), digest_at)
        honoured += found
        unmatched += lost
    return FixMatch(
        tuple(sorted(honoured, key=lambda one: one[1])),
        tuple(sorted(unmatched, key=lambda one: one[0].path)),
        kept_in,
    )


def _match_picture(
    group: Sequence[Fix], places: Sequence[str], digest_at: Mapping[str, str]
) -> tuple[list[Honoured], list[Unmatched]]:
    """Match the fixes of one picture, whose copies lie at ``places``."""
    in_place = [fix for fix in group if digest_at.get(fix.path) == fix.sha256 is not None]
    changes: defaultdict[str, set[str]] = defaultdict(set)
    for fix in in_place:
        changes[fix.path].add(fix.change)
    found = [(fix, fix.path) for fix in in_place if len(changes[fix.path]) == 1]
    lost = [(fix, CONTRADICTION) for fix in in_place if len(changes[fix.path]) > 1]
    moved = [fix for fix in group if fix not in in_place]
    untouched = {path for fix in group for path in fix.copies} - set(changes)
    free = [path for path in places if path not in changes and path not in untouched]
    if not free:
        return found, lost + [(fix, _why_gone(fix, digest_at)) for fix in moved]
    no_choice = (
        len(free) <= len(moved)
        and len({fix.change for fix in moved}) == 1
        and untouched <= set(places)
    )
    if no_choice:
        # As many fixes as places: which of the copies is which makes no difference.
        found += list(zip(moved, free, strict=False))
        return found, lost + [(fix, _why_gone(fix, digest_at)) for fix in moved[len(free) :]]
    listed = ", ".join(free)
    return found, lost + [(fix, f"which file is meant can't be told: {listed}") for fix in moved]


def _why_gone(fix: Fix, digest_at: Mapping[str, str]) -> str:
    if fix.sha256 is None:
        return UNKNOWN
    return OTHER if fix.path in digest_at else GONE
