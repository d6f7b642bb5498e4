"""One reviewer's way through a queue: what is shown now, what comes after an answer.

What the page gets to know is what :meth:`ReviewSession.state` returns: no label, no score and no
reason before the end.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from drupe.errors import InputError
from drupe.labels.review.answers import (
    JUDGEMENTS,
    AnswerLog,
    ReviewAnswer,
    standing,
)
from drupe.labels.review.pictures import ReviewPictures, picture_png
from drupe.labels.review.queue import ReviewQueue, Showing

RECENT = 20
"""Answers whose median time tells how long the rest will take."""

LONGEST_LOOK = 600.0
"""Seconds: whoever looks longer has left the desk."""

REVEALED = 200
"""Pictures, at most, that the page names at the end."""


class RefusedAnswerError(InputError):
    """An answer that can't be taken: about another picture than the one that is shown."""


class ReviewSession:
    """Leads ``reviewer`` through ``order``; ``log`` keeps the answers, ``given`` came before.

    ``now``: gives the time in UTC (ISO 8601); ``is_third``: this
    is the third look at what others disagree on.
    """

    def __init__(
        self,
        queue: ReviewQueue,
        order: Sequence[Showing],
        reviewer: str,
        pictures: ReviewPictures,
        log: AnswerLog,
        given: Sequence[ReviewAnswer],
        now: Callable[[], str],
        *,
        is_third: bool = False,
    ) -> None:
        self._queue, self._order, self._reviewer = queue, tuple(order), reviewer
        self._pictures, self._log, self._now, self._is_third = pictures, log, now, is_third
        self._places = {one.id: place for place, one in enumerate(self._order)}
        held = standing(given).items()  # in the order of answering
        self._held = {name: one for name, one in held if name in self._places}
        self._place = 0
        self._seen: dict[str, str] = {}
        self._recent: deque[float] = deque(
            (min(one.seconds, LONGEST_LOOK) for one in self._held.values()), RECENT
        )
        self._go_on()

    @property
    def is_finished(self) -> bool:
        """Whether everything has an answer."""
        return self._place >= len(self._order)

    @property
    def answered(self) -> int:
        """How many showings have an answer."""
        return len(self._held)

    def state(self) -> dict[str, Any]:
        """Return what the page shows: one picture and its neighbours by opaque ids, and progress.

        seconds_left: None before the first answer.
        """
        current = None if self.is_finished else self._order[self._place]
        left = len(self._order) - len(self._held)
        pace = statistics.median(self._recent) if self._recent else None
        return {
            "reviewer": self._reviewer,
            "classes": list(self._queue.classes),
            "types": list(self._queue.request.types),
            "answered": len(self._held),
            "total": len(self._order),
            "seconds_left": None if pace is None else round(pace * left, 1),
            "can_undo": bool(self._held),
            "showing": current.id if current else None,
            "strip": neighbour_ids(self._queue, current) if current else [],
        }

    def answer(self, showing: str, judgement: str, type: str, seconds: float) -> dict[str, Any]:
        """Take an answer about the picture that is shown, and return the state after it.

        The same answer sent twice counts once: the page may not have heard that it was kept.

        Raises:
            RefusedAnswerError: about another picture, or one that couldn't be shown.
            InputError: no such answer or type.
        """
        last = next(reversed(self._held.values()), None)
        if last and (last.showing, last.judgement, last.type) == (showing, judgement, type):
            return self.state()
        if self.is_finished or showing != self._order[self._place].id:
            raise RefusedAnswerError(f"showing: must be the picture that is shown, got {showing!r}")
        kept = next((one for one in JUDGEMENTS if one == judgement), None)
        if kept is None:
            allowed = ", ".join(JUDGEMENTS)
            raise InputError(f"judgement: must be one of {allowed}, got {judgement!r}")
        if type and (kept != "defect" or type not in self._queue.request.types):
            raise InputError(f"type: must be one of the review's types, of a defect, got {type!r}")
        seen = self._seen.get(showing, "")
        if not seen and kept in ("good", "defect"):
            raise RefusedAnswerError("judgement: the picture was not shown, so it can't be judged")
        look = min(max(seconds, 0.0), LONGEST_LOOK)
        one = self._line(showing, kept, type, look, seen)
        self._log.append(one)
        self._held[showing] = one
        self._recent.append(look)
        self._go_on()
        return self.state()

    def undo(self) -> dict[str, Any]:
        """Take the last answer back, show its picture again, and return the state."""
        if self._held:
            showing = next(reversed(self._held))
            self._log.append(self._line(showing, None, "", 0.0, ""))
            del self._held[showing]
            self._place = self._places[showing]
        return self.state()

    def picture(self, name: str) -> bytes | None:
        """Return the PNG of the picture that is shown or of a neighbour; None for any other id.

        At the end, also what :meth:`revealed` names. The pixels are those of the file, whose bytes
        never reach the page.

        Raises:
            UnreadableImageError: the file is gone, damaged, or not the one that was drawn.
        """
        if self.is_finished:
            place = self._places.get(name)
            if place is None:
                return None
            item = self._queue.items[self._order[place].item]
            return picture_png(self._pictures.read_drawn(item))
        current = self._order[self._place]
        item = self._queue.items[current.item]
        if name == current.id:
            content = picture_png(self._pictures.read_drawn(item))
            self._seen[name] = item.sha256
            return content
        names = neighbour_ids(self._queue, current)
        if name not in names:
            return None
        path = item.neighbours[names.index(name)]
        return picture_png(self._pictures.read(path))

    def revealed(self) -> dict[str, Any] | None:
        """Return, at the end alone, how the answers differ from the labels; None before it."""
        if not self.is_finished:
            return None
        differing = []
        for showing in self._order:
            item, one = self._queue.items[showing.item], self._held[showing.id]
            found = {"good": self._queue.classes[0], "defect": self._queue.classes[1]}
            judged = found.get(str(one.judgement))
            if judged != item.label and not showing.is_repeat:
                differing.append(
                    {
                        "id": showing.id,
                        "path": item.path,
                        "label": item.label,
                        "judgement": one.judgement,
                        "type": one.type,
                        "score": item.score,
                        "why": "drawn at random" if item.role == "control" else item.reason,
                    }
                )
        return {
            "looks": len(self._order),
            "differing": len(differing),
            "items": differing[:REVEALED],
        }

    def _go_on(self) -> None:
        """Move on to the first showing without an answer."""
        self._place = next(
            (
                i
                for i, one in enumerate(self._order[self._place :], self._place)
                if one.id not in self._held
            ),
            len(self._order),
        )

    def _line(
        self, showing: str, judgement: Any, type: str, seconds: float, seen: str
    ) -> ReviewAnswer:
        return ReviewAnswer(
            review=self._queue.id,
            reviewer=self._reviewer,
            showing=showing,
            judgement=judgement,
            type=type,
            at=self._now(),
            seconds=round(seconds, 3),
            seen=seen,
            is_third=self._is_third,
        )


def neighbour_ids(queue: ReviewQueue, showing: Showing) -> list[str]:
    """Return an opaque id for each neighbour of the picture shown."""
    count = len(queue.items[showing.item].neighbours)
    names = (f"{queue.id} {showing.id} {place}" for place in range(count))
    return [hashlib.sha256(name.encode()).hexdigest()[:20] for name in names]
