from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from drupe.line.station.answers import Beat
from drupe.line.station.sources.source import LineItem
from line_parts import ACCEPTED, REJECTED, ListSource, ToldSink, found, station, wait_for
from line_stand_in import images, stand_in


def run(line, **options) -> None:
    line.run(threading.Event(), **options)


def test_every_item_is_numbered_decided_and_told(tmp_path) -> None:
    sink = ToldSink()
    line = station(tmp_path, ListSource(found(ACCEPTED, 0.5, REJECTED)), sink)
    run(line)
    assert [(one.number, one.item, one.lane) for one in sink.answers] == [
        (1, "piece-1", "accept"),
        (2, "piece-2", "review"),
        (3, "piece-3", "reject"),
    ]
    assert sink.answers[0].score == pytest.approx(0.102, abs=1e-3)
    said = line.to_json()
    assert (said["items"], said["accept"], said["faults"], said["undelivered"]) == (3, 1, 0, 0)
    assert said["sinks"][0]["taken"] == 3
    assert said["sinks"][0]["p99_ms"] is not None


def test_nothing_is_valid_before_the_line_runs_and_after_it(tmp_path) -> None:
    sink = ToldSink()
    line = station(tmp_path, ListSource(found(ACCEPTED)), sink)
    assert "the line isn't running" in line.reasons()
    run(line)
    assert not sink.beats[0].is_valid
    assert not sink.beats[-1].is_valid
    assert sink.closed == 1


def test_the_piece_of_the_plc_is_found_in_the_name(tmp_path) -> None:
    sink = ToldSink()
    items = [*found(ACCEPTED), LineItem("without", images(ACCEPTED)[0])]
    source = {"generator": {"function": "a:b"}, "piece": r"piece-(\d+)"}
    run(station(tmp_path, ListSource(items), sink, source=source))
    assert [(one.piece, one.lane) for one in sink.answers] == [(1, "accept"), (0, "review")]
    assert "holds no piece's number" in sink.answers[1].fault


def test_a_group_that_is_no_number_is_a_fault(tmp_path) -> None:
    sink = ToldSink()
    source = {"generator": {"function": "a:b"}, "piece": r"(.*)"}
    run(station(tmp_path, ListSource(found(ACCEPTED)), sink, source=source))
    assert (sink.answers[0].piece, sink.answers[0].lane) == (0, "review")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (LineItem("a", np.zeros((2, 2), np.uint8)), "must be uint8"),
        (LineItem("a", "nowhere.png"), "can't be read"),
        (LineItem("a", None, "the source gave no image"), "the source gave no image"),
        (LineItem("a", object()), "must be a path"),
    ],
)
def test_what_cannot_be_decided_is_never_accepted(tmp_path, item, reason) -> None:
    sink, seen = ToldSink(), []
    classifier = stand_in()
    classifier.watch(_Refusals(seen))
    run(station(tmp_path, ListSource([item]), sink, classifier=classifier, on_fault="reject"))
    (answer,) = sink.answers
    assert (answer.lane, answer.decided, answer.score) == ("reject", None, None)
    assert reason in answer.fault
    assert [one for one, _ in seen] == [["a"]]


class _Refusals:
    def __init__(self, seen) -> None:
        self.seen = seen

    def saw(self, batch, found, items, seconds) -> None:
        raise AssertionError(items)

    def refused(self, items, reason, lane) -> None:
        self.seen.append((items, lane))


def test_a_backend_that_breaks_is_a_fault_of_one_item(tmp_path) -> None:
    sink, classifier = ToldSink(), stand_in()
    answers = iter([RuntimeError("no memory")])

    def broken(batch):
        for error in answers:
            raise error
        return (np.full(len(batch), 0.1, np.float32),)

    classifier._session.outputs = broken
    run(station(tmp_path, ListSource(found(ACCEPTED, ACCEPTED)), sink, classifier=classifier))
    assert sink.lanes == ["review", "accept"]
    assert sink.answers[0].fault == "RuntimeError: no memory"


def test_a_log_that_cannot_be_written_accepts_nothing(tmp_path) -> None:
    from drupe.line.log.writer import LogError

    class Full(_Refusals):
        def saw(self, *given) -> None:
            raise LogError("the disk is full")

    sink, classifier = ToldSink(), stand_in()
    classifier.watch(Full([]))
    run(station(tmp_path, ListSource(found(ACCEPTED)), sink, classifier=classifier))
    assert (sink.lanes, sink.answers[0].fault) == (["review"], "the disk is full")


def test_a_required_sink_that_is_dead_lets_nothing_be_accepted(tmp_path) -> None:
    alive, dead = ToldSink("alive"), ToldSink("dead")
    dead.fault = "no power"
    line = station(tmp_path, ListSource(found(ACCEPTED, REJECTED)), alive, dead)
    run(line)
    assert alive.lanes == ["review", "reject"]
    assert alive.answers[0].fault == "not valid: dead: no power"
    assert alive.answers[0].decided == "accept"
    assert not any(beat.is_valid for beat in alive.beats)
    assert line.to_json()["undelivered"] == 2


def test_an_optional_sink_that_is_dead_changes_nothing(tmp_path) -> None:
    alive, dead = ToldSink("alive"), ToldSink("dead")
    dead.fault = "no power"
    line = station(tmp_path, ListSource(found(ACCEPTED)), dead, alive, optional=(dead,))
    run(line)
    assert alive.lanes == ["accept"]
    assert line.to_json()["undelivered"] == 0


def test_an_overdue_challenge_lets_nothing_be_accepted(tmp_path) -> None:
    sink = ToldSink()
    run(station(tmp_path, ListSource(found(ACCEPTED)), sink, faults=(lambda: "challenge: late",)))
    assert sink.answers[0].fault == "not valid: challenge: late"


def test_a_late_decision_is_not_accepted_and_says_who_was_late(tmp_path) -> None:
    class Slow(_Refusals):
        def saw(self, *given) -> None:
            time.sleep(0.05)

    sink, classifier = ToldSink(), stand_in()
    classifier.watch(Slow([]))
    timing = {"deadline_ms": 30, "heartbeat_ms": 10, "queue": 1}
    items = found(ACCEPTED, REJECTED, ACCEPTED)
    line = station(tmp_path, ListSource(items), sink, classifier=classifier, timing=timing)
    run(line)
    assert sink.lanes == ["review", "reject", "review"]
    assert "late: " in sink.answers[0].fault
    assert line.tally.late == 3
    assert line.delivery.late_by["the decision"] >= 1


def test_a_sink_that_hangs_takes_valid_from_the_others(tmp_path) -> None:
    free, hangs = ToldSink("free"), ToldSink("hangs")
    release = threading.Event()
    hangs.slow = release.wait
    timing = {"deadline_ms": 20, "heartbeat_ms": 5}
    line = station(tmp_path, ListSource(found(ACCEPTED)), free, hangs, timing=timing)
    worker = threading.Thread(target=run, args=(line,))
    worker.start()
    try:
        wait_for(lambda: any("the line hangs, in hangs" in why for why in line.reasons()))
        wait_for(lambda: not free.beats[-1].is_valid)
    finally:
        release.set()
        worker.join()


def test_a_memory_that_cannot_be_written_accepts_nothing(tmp_path, monkeypatch) -> None:
    sink = ToldSink()
    line = station(tmp_path, ListSource(found(ACCEPTED, ACCEPTED)), sink)
    begin, failing = line._journal.begin, iter([True])

    def full(item, stamp):
        number = begin(item, stamp)
        for _ in failing:
            raise OSError(28, "No space left on device", "journal.jsonl")
        return number

    monkeypatch.setattr(line._journal, "begin", full)
    run(line)
    assert sink.lanes == ["review", "accept"]
    assert "the line's memory: journal.jsonl: No space left" in sink.answers[0].fault
    assert [one.number for one in sink.answers] == [1, 2]


def test_an_end_that_cannot_be_noted_stops_accepting(tmp_path, monkeypatch) -> None:
    sink = ToldSink()
    line = station(tmp_path, ListSource(found(ACCEPTED)), sink)

    def full(number, lane):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(line._journal, "end", full)
    run(line)
    assert any("the line's memory" in why for why in line.reasons())


def test_what_a_dead_process_had_begun_is_withdrawn(tmp_path) -> None:
    sink = ToldSink()
    first = station(tmp_path, ListSource([]), sink)
    first._journal.begin("piece-7")
    first._journal._timer.stop()
    import os

    os.close(first._journal._lock)  # as a killed process leaves it
    again = station(tmp_path, ListSource(found(ACCEPTED)), sink)
    run(again)
    withdrawn, answer = sink.answers
    assert (withdrawn.number, withdrawn.item, withdrawn.lane) == (1, "piece-7", "review")
    assert withdrawn.is_withdrawal
    assert (answer.number, answer.lane) == (10_002, "accept")
    assert again.to_json()["interrupted"] == 1


def test_so_many_items_and_no_more(tmp_path) -> None:
    sink = ToldSink()
    run(station(tmp_path, ListSource(found(*[ACCEPTED] * 5)), sink), most_items=2)
    answered = [one for one in sink.answers if one.lane == "accept"]
    assert len(answered) == 2


def test_what_waits_at_the_stop_is_answered_not_decided(tmp_path) -> None:
    sink, stop = ToldSink(), threading.Event()
    sink.slow = lambda: (stop.set(), time.sleep(0.05))
    line = station(tmp_path, ListSource(found(ACCEPTED, ACCEPTED, ACCEPTED)), sink)
    line.run(stop)
    assert sink.lanes == ["accept", "review", "review"]
    assert sink.answers[1].fault == "the line isn't running"


def test_a_beat_with_a_reason_is_not_valid() -> None:
    assert Beat(1, 1).is_valid
    assert not Beat(1, 1, ("dead",)).is_valid
