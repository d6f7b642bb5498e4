"""What reviewers answered: a file per reviewer that only grows, a line per answer.

A line is on the disk before the next picture is shown. Taking an answer back is a line too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drupe.errors import InputError, shortened
from drupe.files import write_text
from drupe.labels.review.queue import ReviewQueue

ANSWERS_FOLDER = "answers"
LONGEST_NAME = 60
SHOWN = 10
"""Wrong lines named in a message before it only counts."""

Judgement = Literal["good", "defect", "unclear", "bad"]
JUDGEMENTS: tuple[Judgement, ...] = get_args(Judgement)
WORDS: dict[Judgement, str] = {
    "good": "good",
    "defect": "defect",
    "unclear": "can't tell",
    "bad": "bad picture",
}


class ReviewAnswer(BaseModel):
    """A line of an answers file.

    review: the queue's id; judgement: None takes the showing's answer back; type: kind of defect;
    at: UTC (ISO 8601); seconds: from the picture's appearance to the answer; seen: SHA-256 (hex) of
    the file that was shown, empty where it couldn't be; is_third: it was shown because others had
    disagreed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    review: str
    reviewer: str
    showing: str
    judgement: Judgement | None
    type: str = ""
    at: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    seen: str = ""
    is_third: bool = False


class AnswerLog:
    """The answers file of one reviewer, open for more; made by :func:`open_log`."""

    def __init__(self, stream: BufferedWriter) -> None:
        self._stream = stream

    def append(self, answer: ReviewAnswer) -> None:
        """Write a line; when this returns it is on the disk."""
        self._stream.write(answer.model_dump_json().encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def check_reviewer(name: str) -> None:
    """Raise an :class:`InputError` unless ``name`` can stand in a record and a file name."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(
            f"--reviewer: must be a name of 1 to {LONGEST_NAME} printable characters, got {name!r}"
        )


def answers_file(folder: Path, reviewer: str) -> Path:
    """Return where a reviewer's answers are kept in a review's folder."""
    return folder / ANSWERS_FOLDER / f"{quote(reviewer, safe='').replace('.', '%2E')}.jsonl"


@contextmanager
def open_log(folder: Path, reviewer: str) -> Iterator[AnswerLog]:
    """Open the reviewer's answers file for more, for this process alone.

    A line that was cut off when a process died was never acknowledged: it is taken away.

    Raises:
        InputError: another process has it open, or the name can't be one.
    """
    check_reviewer(reviewer)
    path = answers_file(folder, reviewer)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        raise InputError(
            f"{path}: another process is taking the answers of {reviewer}; close it, or review as "
            "somebody else: --reviewer NAME"
        ) from None
    try:
        _make_whole(path)
        with path.open("ab") as stream:
            yield AnswerLog(stream)
    finally:
        lock.release()


def read_answers(path: Path, queue: ReviewQueue) -> tuple[ReviewAnswer, ...]:
    """Read an answers file; a last line without an end was never acknowledged and is left out.

    Raises:
        InputError: no such file, or lines that are damaged, of another review, of another
            reviewer than the first, or of no showing.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    known = {one.id for one in queue.showings}
    answers: list[ReviewAnswer] = []
    problems: list[str] = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            one = ReviewAnswer.model_validate_json(line)
        except ValidationError as error:
            problems.append(f"{path}, line {number}: must be an answer, got {_first(error)}")
            continue
        wrong = _mismatch(one, answers[0] if answers else one, queue, known)
        if wrong:
            problems.append(f"{path}, line {number}: {wrong}")
        answers.append(one)
    if problems:
        raise InputError(shortened(problems, SHOWN))
    return tuple(answers)


def read_all_answers(
    folder: Path, queue: ReviewQueue, further: Sequence[Path] = ()
) -> dict[str, dict[str, ReviewAnswer]]:
    """Return reviewer → showing → answer, of the review's folder and of ``further`` files.

    Raises:
        InputError: what :func:`read_answers` raises, of all files; two files of one reviewer.
    """
    found: dict[str, dict[str, ReviewAnswer]] = {}
    source: dict[str, Path] = {}
    problems: list[str] = []
    for path in [*sorted((folder / ANSWERS_FOLDER).glob("*.jsonl")), *further]:
        try:
            answers = read_answers(path, queue)
        except InputError as error:
            problems += error.problems
            continue
        if not answers:
            continue
        reviewer = answers[0].reviewer
        if reviewer in found:
            problems.append(
                f"{path}: must be of another reviewer than {source[reviewer]}, got {reviewer!r}"
            )
        found[reviewer], source[reviewer] = standing(answers), path
    if problems:
        raise InputError(problems)
    return found


def standing(answers: Iterable[ReviewAnswer]) -> dict[str, ReviewAnswer]:
    """Return showing → answer for those that hold: not taken back, the latest of several."""
    held: dict[str, ReviewAnswer] = {}
    for one in answers:
        held.pop(one.showing, None)
        if one.judgement is not None:
            held[one.showing] = one
    return held


def _mismatch(
    one: ReviewAnswer, first: ReviewAnswer, queue: ReviewQueue, known: set[str]
) -> str | None:
    if one.review != queue.id:
        return f"must be an answer of the review {queue.id}, got one of {one.review}"
    if one.showing not in known:
        return f"must be about a showing of the review, got {one.showing!r}"
    if one.reviewer != first.reviewer:
        return f"must be of the reviewer {first.reviewer!r}, got {one.reviewer!r}"
    if one.type and (one.judgement != "defect" or one.type not in queue.request.types):
        allowed = ", ".join(queue.request.types) or "none"
        return f"type: must be one of {allowed}, of a defect, got {one.type!r}"
    return None


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: {detail['msg']}" if where else json.dumps(detail["msg"])


def _make_whole(path: Path) -> None:
    """Make the file where there is none, and take away a last line without an end."""
    if not path.exists():
        write_text(path, "")  # its name, too, is on the disk before the first answer
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
