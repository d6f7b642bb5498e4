"""Applying a review: its decisions become fixes of the dataset that can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.data.file_digests import file_digests
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import Applied, active_fixes, add_fixes, match_fixes
from drupe.errors import InputError
from drupe.labels.review.answers import read_all_answers
from drupe.labels.review.decisions import ReviewFixes, Rule, decide, review_fixes
from drupe.labels.review.estimates import (
    DesignEstimate,
    ReviewedRates,
    estimate_noise,
    estimate_rates,
)
from drupe.labels.review.preparation import labels_of
from drupe.labels.review.quality import ReviewQuality, review_quality
from drupe.labels.review.queue import read_queue
from drupe.progress import Progress, silent


@dataclass(frozen=True)
class AppliedReview:
    """What a review says and changes; ``applied`` is None where nothing was written.

    ``noise``: estimates of the wrong labels from the pictures that were drawn at random.
    """

    review: str
    root: Path
    rule: Rule
    changes: ReviewFixes
    quality: ReviewQuality
    noise: tuple[DesignEstimate, ...]
    applied: Applied | None

    def to_json(self) -> dict[str, Any]:
        """Return the whole as one document."""
        return {
            "review": self.review,
            "folder": str(self.root),
            "rule": self.rule,
            "written": self.applied is not None,
            **self.changes.to_json(),
            "quality": self.quality.to_json(),
            "noise": [one.to_json() for one in self.noise],
        }


def reviewed_rates(
    folder: Path, rule: Rule, threshold: float, further: Sequence[Path] = ()
) -> ReviewedRates:
    """Estimate recall and clean yield of the test pictures at ``threshold`` from a review.

    Raises:
        InputError: no review, damaged answers, or no test pictures with scores.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"--threshold: must be in [0, 1], got {threshold:g}")
    queue = read_queue(folder)
    return estimate_rates(
        queue, decide(queue, read_all_answers(folder, queue, further), rule), threshold
    )


def apply_review(
    folder: Path,
    rule: Rule,
    store: Path,
    *,
    data: Path | None = None,
    further: Sequence[Path] = (),
    dry_run: bool = False,
    progress: Progress = silent,
) -> AppliedReview:
    """Add what the review in ``folder`` found to the fixes of its dataset.

    ``data``: where that lies now; ``further``: answers files from elsewhere.

    Raises:
        InputError: no review, damaged answers, nobody has answered, or the dataset is gone or has
            other classes.
    """
    queue = read_queue(folder)
    answers = read_all_answers(folder, queue, further)
    if not answers:
        raise InputError(f"{folder}: must hold answers, got none: drupe labels review takes them")
    root = Path(queue.root) if data is None else data
    if not root.exists():
        raise InputError(f"{root}: no such dataset; say where the pictures lie now: --data DIR")
    naming = Naming(None if queue.good else queue.classes[1], queue.good)
    listing = list_dataset(root, naming)
    if listing.classes != queue.classes:
        raise InputError(
            f"{root}: the classes (clean, defect) must be {', '.join(queue.classes)}, as when the "
            f"review was drawn, got {', '.join(listing.classes)}"
        )
    found = file_digests(listing.root, listing.paths, store=store, progress=progress).digests
    matched = match_fixes(active_fixes(root, store), listing.paths, found)
    label_of: dict[str, str | None] = {**labels_of(listing, matched.fixes)}
    label_of |= dict.fromkeys(matched.fixes.exclude & label_of.keys())
    left_out = {
        path
        for fix, path in matched.honoured
        if fix.action == "exclude" and (fix.origin is None or fix.origin.review != queue.id)
    }
    decisions = decide(queue, answers, rule)
    digest_of = dict(zip(listing.paths, found, strict=True))
    changes = review_fixes(queue, decisions, label_of, digest_of, left_out, set(listing.meanings))
    applied = None
    if not dry_run and changes.fixes:
        why = f"review {queue.id} by {', '.join(sorted(answers))} ({rule})"
        applied = add_fixes(
            root,
            store,
            changes.fixes,
            source=str(folder),
            why=why,
            naming=naming,
            progress=progress,
        )
    return AppliedReview(
        queue.id,
        root,
        rule,
        changes,
        review_quality(queue, answers),
        estimate_noise(queue, decisions),
        applied,
    )
