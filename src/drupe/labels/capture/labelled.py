"""A random sample of the line, labelled by people, as a folder that can certify a threshold."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from drupe.errors import InputError
from drupe.labels.capture.recheck import JudgedCapture
from drupe.labels.review.decisions import ReviewDecision
from drupe.labels.review.estimates import UNSETTLED

Unclear = Literal["defect", "leave-out"]


@dataclass(frozen=True)
class LabelledSample:
    """Pictures by class in ``folder``; nobody could tell ``unclear``; ``bad`` are left out.

    sample_rate: the probability with which each decision of the line came into it.
    """

    folder: Path
    classes: dict[str, int]
    unclear: int
    bad: int
    sample_rate: float

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {
            "folder": str(self.folder),
            "classes": self.classes,
            "unclear": self.unclear,
            "bad": self.bad,
            "sample_rate": self.sample_rate,
        }


def write_labelled(judged: JudgedCapture, out: Path, unclear: Unclear = "defect") -> LabelledSample:
    """Copy the random sample of all lanes to ``out/CLASS``, with the labels that people gave.

    It is like the line, so a threshold may be certified on it. All that is kept of one lane alone
    (every review) isn't, and stays away. What nobody could tell counts as a defect, or is left out;
    bad pictures are left out.

    Raises:
        InputError: a sample that isn't judged whole, one class alone, or an ``out`` that holds
            something.
    """
    decision_of = {one.item.path: one for one in judged.decisions}
    missing = [path for path in judged.collection.sample if path not in decision_of]
    waiting = [
        path
        for path in judged.collection.sample
        if path in decision_of and decision_of[path].is_open
    ]
    if missing or waiting:
        raise InputError(
            f"{judged.folder}: all {len(judged.collection.sample):,} pictures of the random sample "
            f"must be judged, or it isn't random any more: {len(waiting):,} wait, {len(missing):,} "
            "are not in this review (--controls)"
        )
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: must be a new or empty folder, got one with files")
    sample = [decision_of[path] for path in judged.collection.sample]
    labels = [_label(one, judged.queue.classes, unclear) for one in sample]
    counts = Counter(label for label in labels if label)
    if len(counts) < 2:
        raise InputError(
            f"{judged.folder}: the random sample must hold both classes, got "
            f"{', '.join(counts) or 'no pictures'} alone: collect for longer, or keep a larger "
            "share (sample=)"
        )
    for one, label in zip(sample, labels, strict=True):
        if label:
            target = out / label / Path(one.item.path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(judged.crops / one.item.path, target)
    return LabelledSample(
        out,
        dict(counts),
        unclear=sum(one.outcome in UNSETTLED for one in sample),
        bad=sum(one.outcome == "bad" for one in sample),
        sample_rate=judged.collection.sample_rate,
    )


def _label(one: ReviewDecision, classes: tuple[str, str], unclear: Unclear) -> str | None:
    if one.outcome in UNSETTLED:
        return classes[1] if unclear == "defect" else None
    return one.found_class(classes)
