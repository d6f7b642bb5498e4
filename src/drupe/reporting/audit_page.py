"""The page of an audit: what it found as pictures side by side, to look at and to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from drupe.data.audit import Audit
from drupe.data.fixes import Fix, outside
from drupe.reporting.page_parts import page_parts
from drupe.reporting.pictures import Pictures
from drupe.templates import template_environment

SCRIPTS = ("charts.js", "fixes.js", "picture.js", "audit.js", "page.js", "start_audit.js")

MOST_CASES = 40
"""Cases shown of each kind of finding; the others are counted."""

MOST_PICTURES = 6
"""Pictures shown of each case."""

MOST_FIXES = 60
MOST_LINES = 50

NEAR = {"same pixels": "the same pixels in another file, turned or mirrored"}
"""What is said of a pair's kind where nothing was measured."""


@dataclass(frozen=True)
class AuditShot:
    """One picture of a case: its ``label``, and the ``others`` that it may be given instead.

    ``note``: what is found of it alone; ``proposed``: why the audit would exclude it, if so.
    ``picture`` None: it can't be read, or the page is full.
    """

    path: str
    sha256: str
    label: str
    others: tuple[str, ...]
    split: str
    note: str
    proposed: str
    picture: str | None


@dataclass(frozen=True)
class AuditCase:
    """Pictures that belong together, of ``size`` in all, and in ``words`` why."""

    shots: tuple[AuditShot, ...]
    size: int
    words: str


@dataclass(frozen=True)
class AuditKind:
    """A kind of finding: ``count`` as the command counts it, and the first of ``size`` cases.

    ``severity``: error, warning or hint.
    """

    anchor: str
    title: str
    severity: str
    count: int
    size: int
    explanation: str
    cases: tuple[AuditCase, ...]

    @property
    def is_single(self) -> bool:
        """True where every case is one picture."""
        return all(case.size == 1 for case in self.cases)


@dataclass(frozen=True)
class AuditFix:
    """A fix in force, with who made it where that is known."""

    path: str
    change: str
    reason: str
    who: str
    picture: str | None


@dataclass(frozen=True)
class AuditLines:
    """Findings without a picture: the first lines, and how many there are."""

    title: str
    is_error: bool
    size: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class AuditPage:
    """All that the page shows. ``document``: what ``drupe data audit --json`` prints."""

    document: Mapping[str, Any]
    kinds: tuple[AuditKind, ...]
    texts: tuple[AuditLines, ...]
    fixes: tuple[AuditFix, ...]
    proposed: int

    @property
    def name(self) -> str:
        """The folder, as it was named."""
        return str(self.document["root"])

    @property
    def shots(self) -> list[AuditShot]:
        """Every picture of every case, in the order of the page."""
        return [shot for kind in self.kinds for case in kind.cases for shot in case.shots]

    @property
    def has_room(self) -> bool:
        """False where pictures are missing because the page is full, or none could be read."""
        return all(shot.picture for shot in self.shots if not shot.note)

    def page_data(self) -> dict[str, Any]:
        """Return what the page's scripts read."""
        shots = [
            {
                "path": shot.path,
                "sha256": shot.sha256,
                "others": shot.others,
                "reason": shot.proposed or "looked at on the audit's page",
                "isProposed": bool(shot.proposed),
            }
            for shot in self.shots
        ]
        return {"charts": [], "shots": shots}


def build_audit_page(found: Audit) -> AuditPage:
    """Collect the page of an audit; pictures are read from the dataset anew."""
    document = found.to_json()
    proposed = found.proposed_fixes()
    shown = _Shown(found, {fix.path: fix.reason for fix in proposed})
    return AuditPage(
        document=document,
        kinds=tuple(kind for kind in _kinds(document, shown) if kind.size),
        texts=tuple(one for one in _texts(document) if one.size),
        fixes=tuple(
            _fix(fix, path, shown.pictures) for fix, path in found.fixed.honoured[:MOST_FIXES]
        ),
        proposed=len(proposed),
    )


class _Shown:
    """Makes cases of the pictures of an audit, the first ones of many."""

    def __init__(self, found: Audit, proposed: Mapping[str, str]) -> None:
        self.found, self.proposed = found, proposed
        listing = found.listing
        known = (*listing.paths, *(path for _, path in found.fixed.honoured))
        self.pictures = Pictures(listing.root, elsewhere=outside(known))
        self.place = {path: index for index, path in enumerate(listing.paths)}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.found.listing.meanings)

    def kind(
        self,
        anchor: str,
        title: str,
        severity: str,
        count: int,
        explanation: str,
        cases: Sequence[tuple[Sequence[str], str]],
        notes: Mapping[str, str] | None = None,
    ) -> AuditKind:
        """Return a kind of finding; ``cases``: the paths of each, and words about it."""
        first = tuple(
            AuditCase(
                tuple(self._shot(path, notes or {}) for path in paths[:MOST_PICTURES]),
                len(paths),
                words,
            )
            for paths, words in cases[:MOST_CASES]
        )
        return AuditKind(anchor, title, severity, count, len(cases), explanation, first)

    def _shot(self, path: str, notes: Mapping[str, str]) -> AuditShot:
        listing, index = self.found.listing, self.place[path]
        label = (listing.types[index] if listing.types else "") or listing.classes[
            int(listing.is_defect[index])
        ]
        return AuditShot(
            path=path,
            sha256=self.found.inspection.digests[index],
            label=label,
            others=tuple(name for name in self.labels if name != label),
            split=listing.test_name if listing.in_val[index] else "train",
            note=notes.get(path, ""),
            proposed=self.proposed.get(path, ""),
            picture=self.pictures.of(path),
        )


def _kinds(document: Mapping[str, Any], shown: _Shown) -> Iterable[AuditKind]:
    """Yield what can be seen, the worst first: they get the pictures where the page is full."""
    yield from _errors(document, shown)
    yield from _warnings(document, shown)
    alike = document["findings"]["alike"]
    yield shown.kind(
        "alike",
        "Pairs that look alike",
        "hint",
        len(alike),
        "No copies, perhaps two pictures of one object: nothing may be wrong.",
        _pairs(alike),
    )


def _errors(document: Mapping[str, Any], shown: _Shown) -> Iterable[AuditKind]:
    found = document["findings"]
    across = [pair for pair in found["near_duplicates"] if pair["cross_split"]]
    yield shown.kind(
        "contradictions",
        "Pairs with the same image in both classes",
        "error",
        document["contradictory_labels"],
        "One label of each is wrong. Exclude both, or relabel the wrong one and keep one of them.",
        _groups(found["contradictory_labels"]),
    )
    yield shown.kind(
        "leaks",
        "Pairs of identical files across train and val",
        "error",
        document["cross_split_duplicate_pairs"],
        "What a network learnt from is no test of it: exclude the train side.",
        _groups(found["cross_split_duplicates"]),
    )
    yield shown.kind(
        "near-leaks",
        "Pairs of near duplicates across train and val",
        "error",
        len(across),
        "One picture, altered, on both sides: exclude the train side.",
        _pairs(across),
    )
    unreadable = {item["path"]: item["reason"] for item in found["unreadable"]}
    yield shown.kind(
        "unreadable",
        "Unreadable files",
        "error",
        document["unreadable"],
        "Damaged, or of a kind that isn't taken.",
        [([path], "") for path in unreadable],
        unreadable,
    )
    yield shown.kind(
        "blank",
        "Blank or nearly blank images",
        "error",
        document["blank_or_tiny"],
        "They show next to nothing.",
        [([path], "") for path in found["blank_or_tiny"]],
    )


def _warnings(document: Mapping[str, Any], shown: _Shown) -> Iterable[AuditKind]:
    found, largest = document["findings"], document["largest_group"]
    above = {
        tuple(group)
        for name in ("cross_split_duplicates", "contradictory_labels")
        for group in found[name]
    }
    yield shown.kind(
        "copies",
        "Pairs of identical files in all",
        "warning",
        document["exact_duplicate_pairs"],
        "Below are those of one class and split.",
        _groups(group for group in found["exact_duplicates"] if tuple(group) not in above),
    )
    within = [pair for pair in found["near_duplicates"] if not pair["cross_split"]]
    yield shown.kind(
        "near-copies",
        "Pairs of near duplicates within a split",
        "warning",
        len(within),
        "They stay: the split keeps them on one side, and of copies one counts.",
        _pairs(within),
    )
    yield shown.kind(
        "largest-group",
        "Images in the largest group of near duplicates",
        "warning",
        largest["images"],
        "Many different images in one group would mean that the search took others for copies.",
        _groups([largest["paths"]] if largest["images"] > 2 else []),
    )
    sizes = {one["path"]: "{} × {} pixels".format(*one["size"]) for one in found["other_sizes"]}
    modes = {one["path"]: one["mode"] for one in found["other_modes"]}
    for anchor, title, notes in (
        ("sizes", "Images of another size than most", sizes),
        ("modes", "Files of another format or mode than most", modes),
    ):
        counted = ", ".join(f"{name} ({count:,})" for name, count in document[anchor].items())
        cases = [([path], "") for path in notes]
        yield shown.kind(anchor, title, "warning", len(cases), f"In all: {counted}.", cases, notes)


def _groups(groups: Iterable[Sequence[str]]) -> list[tuple[Sequence[str], str]]:
    return [(paths, "") for paths in groups]


def _pairs(pairs: Iterable[Mapping[str, Any]]) -> list[tuple[Sequence[str], str]]:
    return [((pair["first"], pair["second"]), _measured(pair)) for pair in pairs]


def _measured(pair: Mapping[str, Any]) -> str:
    """Return how alike two pictures are, and how one lies on the other."""
    words = [NEAR.get(pair["kind"], f"correlation {pair['correlation']:.2f}")]
    if pair.get("degrees"):
        words.append(f"turned by {pair['degrees']:.0f}°")
    if pair.get("flipped"):
        words.append("mirrored")
    if not pair["same_class"]:
        words.append("in different classes")
    return ", ".join(words)


def _texts(document: Mapping[str, Any]) -> Iterable[AuditLines]:
    fixes = document["fixes"]
    for title, is_error, lines in (
        (
            "Fixes that can't be honoured",
            True,
            [f"{one['path']}: {one['reason']}" for one in fixes["wrong"]],
        ),
        ("Classes without an image", True, document["empty_classes"]),
        (
            "Fixes that match no picture",
            False,
            [f"{one['path']}: {one['change']}: {one['why']}" for one in fixes["unmatched"]],
        ),
    ):
        yield AuditLines(title, is_error, len(lines), tuple(lines[:MOST_LINES]))


def _fix(fix: Fix, path: str, pictures: Pictures) -> AuditFix:
    origin = fix.origin
    who = ""
    if origin:
        people = ", ".join(origin.reviewers) or "somebody"
        who = f"{people}, {origin.at[:10]}, review {origin.review} ({origin.cause})"
    return AuditFix(path, fix.change, fix.reason, who, pictures.of(path))


def render_audit_page(page: AuditPage) -> str:
    """Return the page: one HTML file that asks nothing of a network."""
    environment = template_environment("drupe.reporting", {}, is_html=True)
    template = environment.get_template("audit.html.j2")
    return template.render(page=page, **page_parts(SCRIPTS, has_charts=False))
