from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from drupe.data.decode import UnreadableImageError
from drupe.errors import InputError
from drupe.labels.review.answers import answers_file, open_log, read_answers
from drupe.labels.review.pictures import ReviewPictures
from drupe.labels.review.queue import draw_queue, order_for, read_queue
from drupe.labels.review.session import RefusedAnswerError, ReviewSession
from review_files import AT, CLASSES, answer, nominees, request, small_queue, write_crops


@pytest.fixture
def start(tmp_path):
    """Start (or go on with) the review of ann; every call is a process of its own."""
    queue = small_queue(tmp_path / "crops")
    logs = []

    def begin() -> ReviewSession:
        while logs:
            logs.pop().__exit__(None, None, None)
        logs.append(open_log(tmp_path, "ann"))
        log = logs[-1].__enter__()
        given = read_answers(answers_file(tmp_path, "ann"), queue)
        return ReviewSession(
            queue,
            order_for(queue, "ann"),
            "ann",
            ReviewPictures(tmp_path / "crops"),
            log,
            given,
            lambda: AT,
        )

    begin.queue, begin.folder = queue, tmp_path
    yield begin
    while logs:
        logs.pop().__exit__(None, None, None)


def look_and_say(session: ReviewSession, judgement: str = "good", type: str = ""):
    showing = session.state()["showing"]
    session.picture(showing)
    return session.answer(showing, judgement, type, 2.0)


def test_to_the_end_with_a_restart_after_every_answer(start) -> None:
    total = len(start.queue.showings)
    shown = []
    for count in range(total):
        session = start()
        state = session.state()
        assert (state["answered"], state["total"]) == (count, total)
        assert state["seconds_left"] == (None if count == 0 else 2.0 * (total - count))
        shown.append(state["showing"])
        look_and_say(session)
    assert shown == [one.id for one in order_for(start.queue, "ann")]
    session = start()
    assert session.is_finished
    assert session.state()["showing"] is None
    revealed = session.revealed()
    assert revealed is not None
    pits = {item.path for item in start.queue.items if item.label == "pit"}
    assert {one["path"] for one in revealed["items"]} == pits


def test_nothing_that_the_page_gets_tells_label_score_or_reason(start) -> None:
    session = start()
    for _ in start.queue.showings:
        text = json.dumps(session.state() | {"classes": []})
        for item in start.queue.items:
            assert item.path not in text
            assert item.sha256 not in text
        for word in ("suspect", "control", "score", "other class", "label", "repeat"):
            assert word not in text
        assert session.revealed() is None
        look_and_say(session)


def test_an_answer_is_on_disk_before_the_next_picture_is_given(start) -> None:
    session = start()
    first, second = (one.id for one in order_for(start.queue, "ann")[:2])
    assert session.picture(second) is None
    look_and_say(session)
    kept = read_answers(answers_file(start.folder, "ann"), start.queue)
    assert [(one.showing, one.judgement, one.at) for one in kept] == [(first, "good", AT)]
    item = start.queue.items[order_for(start.queue, "ann")[0].item]
    assert kept[0].seen == item.sha256
    assert session.picture(second) is not None


def test_a_third_look_is_kept_as_one(start) -> None:
    queue, folder = start.queue, start.folder
    with open_log(folder, "eve") as log:
        order = order_for(queue, "eve")[:1]
        session = ReviewSession(
            queue,
            order,
            "eve",
            ReviewPictures(folder / "crops"),
            log,
            (),
            lambda: AT,
            is_third=True,
        )
        look_and_say(session)
    (one,) = read_answers(answers_file(folder, "eve"), queue)
    assert one.is_third


def test_undo_shows_the_picture_again_and_keeps_what_was_said(start) -> None:
    session = start()
    first = look_and_say(session, "defect", "stem")
    before = session.state()["showing"]
    state = session.undo()
    assert state["answered"] == 0
    assert state["showing"] == order_for(start.queue, "ann")[0].id != before
    look_and_say(start(), "good")
    kept = read_answers(answers_file(start.folder, "ann"), start.queue)
    assert [one.judgement for one in kept] == ["defect", None, "good"]
    assert first["can_undo"]
    assert not start().undo()["can_undo"]
    assert start().undo()["answered"] == 0


def test_an_answer_sent_twice_counts_once(start) -> None:
    session = start()
    showing = session.state()["showing"]
    session.picture(showing)
    once = session.answer(showing, "good", "", 1.0)
    assert session.answer(showing, "good", "", 1.0) == once
    assert len(read_answers(answers_file(start.folder, "ann"), start.queue)) == 1


def test_answers_out_of_turn_or_out_of_bounds_are_refused(start) -> None:
    session = start()
    showing = session.state()["showing"]
    later = order_for(start.queue, "ann")[3].id
    with pytest.raises(RefusedAnswerError, match="not shown"):
        session.answer(showing, "good", "", 1.0)
    session.picture(showing)
    with pytest.raises(RefusedAnswerError, match="must be the picture that is shown"):
        session.answer(later, "good", "", 1.0)
    with pytest.raises(InputError, match="judgement: must be one of good"):
        session.answer(showing, "fine", "", 1.0)
    for judgement, type in (("good", "stem"), ("defect", "rust")):
        with pytest.raises(InputError, match="type: must be one of"):
            session.answer(showing, judgement, type, 1.0)
    assert session.answer(showing, "defect", "pit", 1e9)["answered"] == 1
    assert read_answers(answers_file(start.folder, "ann"), start.queue)[0].seconds == 600


def test_pictures_are_the_files_pixels_and_nothing_else(start) -> None:
    session = start()
    state = session.state()
    item = start.queue.items[order_for(start.queue, "ann")[0].item]
    file = start.folder / "crops" / item.path
    png = session.picture(state["showing"])
    assert png is not None
    with Image.open(file) as wanted, Image.open(io.BytesIO(png)) as got:
        assert np.array_equal(np.asarray(wanted), np.asarray(got))
        assert got.info == {}
    (neighbour,) = state["strip"]
    assert session.picture(neighbour) is not None
    for name in ("", "../queue.json", item.path, item.sha256, start.queue.id):
        assert session.picture(name) is None


def test_a_picture_that_was_changed_can_only_be_left_open(start) -> None:
    session = start()
    showing = session.state()["showing"]
    item = start.queue.items[order_for(start.queue, "ann")[0].item]
    file = start.folder / "crops" / item.path
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(file)
    with pytest.raises(UnreadableImageError, match="another picture"):
        session.picture(showing)
    with pytest.raises(RefusedAnswerError):
        session.answer(showing, "defect", "", 1.0)
    assert session.answer(showing, "bad", "", 1.0)["answered"] == 1
    assert read_answers(answers_file(start.folder, "ann"), start.queue)[0].seen == ""


@pytest.mark.slow
def test_50_000_pictures_are_answered_as_fast_as_50(tmp_path) -> None:
    (path,) = write_crops(tmp_path / "crops", 1)
    one = nominees(tmp_path / "crops", [path, path])[0]
    wanted = request(1000, 50_000, 500)
    queue = draw_queue([one] * 50_000, "crops", CLASSES, wanted)
    queue.write(tmp_path)
    queue = read_queue(tmp_path)
    order = order_for(queue, "ann")
    with open_log(tmp_path, "ann") as log:
        given = [answer(queue, showing.id, "good") for showing in order[:45_000]]
        answers_file(tmp_path, "ann").write_text(
            "".join(line.model_dump_json() + "\n" for line in given)
        )
        started = time.perf_counter()
        given = read_answers(answers_file(tmp_path, "ann"), queue)
        session = ReviewSession(
            queue, order, "ann", ReviewPictures(tmp_path / "crops"), log, given, lambda: AT
        )
        assert session.state()["answered"] == 45_000
        assert time.perf_counter() - started < 10
        times = []
        for _ in range(50):
            at = time.perf_counter()
            look_and_say(session)
            times.append(time.perf_counter() - at)
    assert sorted(times)[25] < 0.05
