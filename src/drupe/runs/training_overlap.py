"""The training files of a network from elsewhere, against the data that it is judged on.

A certificate holds for scores of items that the network never saw; this is where it is said
whether they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer


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
    ``unseen``: a person says that it has learnt from none of the items; nothing checks it.
    """

    trained_on: Overlap | None
    picked_on_test: bool
    unseen: bool = False

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``unseen`` out where it isn't said: earlier imports stay recognised."""
        document: dict[str, Any] = write(self)
        return document if self.unseen else {k: v for k, v in document.items() if k != "unseen"}

    @property
    def in_sample(self) -> str | None:
        """The reason why its calibration scores certify nothing, None where they can."""
        if self.unseen:
            return None
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
    def test_unseen(self) -> bool:
        """Whether it is known, or said, that it has learnt from no test item."""
        return self.unseen or (self.trained_on is not None and not self.trained_on.test)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The reasons why its test figures are optimistic, for whoever reads them."""
        found = []
        if self.picked_on_test:
            found.append("the checkpoint was picked on the test split: its figures are optimistic")
        if self.unseen:
            found.append(
                "that it has learnt from none of these images is somebody's word (--unseen), which "
                "nothing can check: if it has, certificate and figures are too good"
            )
        elif self.trained_on is None:
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
