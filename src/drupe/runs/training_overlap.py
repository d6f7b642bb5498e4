"""The training files of a network from elsewhere, against the data that it is judged on.

A certificate holds for scores of items that the network never saw; this is where it is said
whether they are.
"""

from __future__ import annotations

from pydantic import BaseModel, Field


class Overlap(BaseModel):
    """Training files that were named, and how many items of each split are among them or copies.

    ``named``: distinct files in the list; ``sha256`` (hex): of their sorted digests; ``fit``,
    ``calibration``, ``test``: items.
    """

    named: int = Field(ge=1)
    sha256: str
    fit: int = Field(ge=0)
    calibration: int = Field(ge=0)
    test: int = Field(ge=0)


class Seen(BaseModel):
    """All that is known of an imported network's training; ``trained_on`` is None: nothing.

    ``picked_on_test``: its epoch (or the checkpoint among several) was picked on the test split.
    """

    trained_on: Overlap | None
    picked_on_test: bool

    @property
    def in_sample(self) -> str | None:
        """The reason why its calibration scores certify nothing, None where they can."""
        if self.trained_on is None:
            return (
                "the files that this imported network was trained on are unknown, so its "
                "calibration scores may be those of training images"
            )
        if self.trained_on.calibration:
            return (
                f"this imported network was trained on {self.trained_on.calibration:,} of its "
                "calibration items (copies counted too), whose scores are therefore in-sample"
            )
        return None

    @property
    def caveats(self) -> tuple[str, ...]:
        """The reasons why its test figures are optimistic, for whoever reads them."""
        found = []
        if self.picked_on_test:
            found.append("the checkpoint was picked on the test split: its figures are optimistic")
        if self.trained_on is None:
            found.append(
                "its training files are unknown: if test items are among them, its figures are "
                "optimistic"
            )
        elif self.trained_on.test:
            found.append(
                f"it was trained on {self.trained_on.test:,} of the test items (copies counted "
                "too): its figures are in-sample"
            )
        return tuple(found)
