"""Sinks that die on the way of an accept, one after another, and what each of them is told."""

from __future__ import annotations

import threading

import pytest

from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.delivery import AnswerDelivery
from drupe.line.station.keeper import Keeper
from line_parts import Hands, ToldSink, wait_for

ACCEPT = LineAnswer(7, "piece-7", "accept", "now", decided="accept")
REJECT = LineAnswer(8, "piece-8", "reject", "now", decided="reject")


def keeper(sink: ToldSink, hands: Hands, **options) -> Keeper:
    made = Keeper(sink, lambda count: Beat(count, 0), hands.clock, **options)
    made.turn()
    return made


def delivery(hands: Hands, *sinks: ToldSink, optional: tuple[ToldSink, ...] = ()) -> AnswerDelivery:
    keepers = [keeper(one, hands, is_required=one not in optional) for one in sinks]
    return AnswerDelivery(keepers, "review", hands.clock)


def test_an_accept_that_all_take_goes_out() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    sent = delivery(hands, first, last).send(ACCEPT, hands.at + 1)
    assert (sent.answer, sent.missing) == (ACCEPT, ())
    assert first.answers == last.answers == [ACCEPT]


def test_an_accept_that_the_last_does_not_take_is_withdrawn_from_the_first() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    line = delivery(hands, first, last)
    last.fault = "no power"
    sent = line.send(ACCEPT, hands.at + 1)
    assert (sent.answer.lane, sent.missing) == ("review", ("last",))
    assert sent.answer.fault == "not taken by last: no power"
    assert [(one.lane, one.is_withdrawal) for one in first.answers] == [
        ("accept", False),
        ("review", True),
    ]
    assert line.withdrawn == 1


def test_an_accept_that_the_first_does_not_take_never_reaches_the_last() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    line = delivery(hands, first, last)
    first.fault = "disk full"
    sent = line.send(ACCEPT, hands.at + 1)
    assert last.lanes == ["review"]
    assert sent.answer.lane == "review"
    assert line.withdrawn == 0


def test_a_sink_that_is_slow_makes_the_next_be_told_no_accept() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    line = delivery(hands, first, last)

    def slow() -> None:
        hands.at += 2

    first.slow = slow
    sent = line.send(ACCEPT, hands.at + 1)
    assert sent.answer.fault == "late: first took too long"
    assert (first.lanes, last.lanes) == (["accept", "review"], ["review"])
    assert line.late_by == {"first": 1}


def test_an_accept_that_is_late_already_is_told_to_nobody() -> None:
    hands, only = Hands(), ToldSink()
    line = delivery(hands, only)
    assert line.send(ACCEPT, hands.at).answer.fault == "late: the decision took too long"
    assert only.lanes == ["review"]


def test_an_optional_sink_holds_nothing_up() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    line = delivery(hands, first, last, optional=(first,))
    first.fault = "disk full"
    assert line.send(ACCEPT, hands.at + 1).missing == ()
    assert last.lanes == ["accept"]


def test_a_reject_needs_nobody() -> None:
    hands, first, last = Hands(), ToldSink("first"), ToldSink("last")
    line = delivery(hands, first, last)
    first.fault = "disk full"
    sent = line.send(REJECT, hands.at)
    assert (sent.answer, sent.missing) == (REJECT, ("first",))
    assert last.answers == [REJECT]


def test_an_accept_that_may_have_arrived_is_withdrawn_when_the_sink_is_back(caplog) -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands, retry_s=1)
    sink.heard, sink.fault = True, "no word"
    assert kept.take(ACCEPT, 0.1, "reject") == "plc: no word"
    assert kept.take(REJECT, 0.1, "reject") == "plc: no word"
    assert sink.lanes == ["accept"]
    sink.heard, sink.fault = False, None
    kept.turn()
    assert sink.lanes == ["accept"]  # it isn't time to try again
    hands.at += 1
    kept.turn()
    withdrawal = sink.answers[-1]
    assert (withdrawal.number, withdrawal.lane, withdrawal.is_withdrawal) == (7, "reject", True)
    assert kept.take(REJECT, 0.1, "reject") is None
    assert (kept.deaths, kept.failed, kept.taken) == (1, 2, 1)
    assert "plc: is back" in caplog.text


def test_a_sink_that_dies_of_what_it_is_owed_stays_dead() -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands, retry_s=0)
    sink.heard, sink.fault = True, "no word"
    kept.take(ACCEPT, 0.1, "reject")
    sink.fault = None

    def die() -> None:
        raise TimeoutError("again")

    sink.slow = die
    kept.turn()
    assert kept.fault() == "plc: TimeoutError: again"
    sink.slow = lambda: None
    kept.turn()
    assert (kept.fault(), len(kept._owed)) == (None, 0)


def test_a_withdrawal_that_does_not_arrive_stays_owed() -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands, retry_s=0)
    sink.fault = "no word"
    kept.take(ACCEPT.instead("review", "not taken by b", is_withdrawal=True), 0.1, "review")
    sink.fault = None
    kept.turn()
    assert [one.fault for one in sink.answers] == ["not taken by b"]


def test_a_withdrawal_that_finds_the_sink_dead_or_busy_is_told_later() -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands, retry_s=0)
    withdrawal = ACCEPT.instead("review", "not taken by b", is_withdrawal=True)
    kept.take(ACCEPT, 0.1, "review")
    with kept._lock:
        assert kept.take(withdrawal, 0.01, "review") == "plc: is busy with its heartbeat"
    kept.turn()
    assert sink.lanes == ["accept", "review"]
    sink.fault = "cable"
    kept.turn()
    assert kept.take(withdrawal, 0.1, "review") == "plc: cable"
    assert kept.take(REJECT, 0.1, "review") == "plc: cable"
    sink.fault = None
    kept.turn()
    assert sink.lanes == ["accept", "review", "review"]


def test_a_heartbeat_notices_a_death() -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands)
    kept.turn()
    assert [beat.count for beat in sink.beats] == [1, 2]
    sink.fault = "cable"
    kept.turn()
    assert kept.fault() == "plc: cable"
    assert kept.to_json()["deaths"] == 1


def test_a_sink_that_is_busy_is_not_told() -> None:
    hands, sink = Hands(), ToldSink("plc")
    kept = keeper(sink, hands)
    with kept._lock:
        assert kept.take(ACCEPT, 0.01, "review") == "plc: is busy with its heartbeat"
    assert sink.answers == []


def test_a_sink_that_died_while_an_answer_waited_is_not_told() -> None:
    hands, sink, said = Hands(), ToldSink("plc"), []
    kept = keeper(sink, hands)
    kept._lock.acquire()
    waits = threading.Thread(target=lambda: said.append(kept.take(ACCEPT, 5, "review")))
    waits.start()
    kept._fault = "cable"
    kept._lock.release()
    waits.join()
    assert (said, sink.answers) == (["plc: cable"], [])


def test_a_sink_that_cannot_be_closed_says_so_and_one_that_hangs_is_left(caplog) -> None:
    class Closing(ToldSink):
        def close(self, beat) -> None:
            raise OSError(5, "Input/output error")

    hands = Hands()
    kept = keeper(Closing("a"), hands)
    kept.stop()
    assert "a: couldn't be told that the line stops (Input/output error)" in caplog.text
    kept.sink.fault = "cable"
    kept.turn()
    assert kept.fault() == "a: cable"
    assert "a: couldn't be let go of (Input/output error)" in caplog.text

    hanging = keeper(ToldSink("b", timeout_s=0.01), hands)
    with hanging._lock:
        hanging.stop()
    assert hanging.sink.closed == 0


def test_the_heartbeat_has_a_thread_of_its_own() -> None:
    sink = ToldSink()
    kept = Keeper(sink, lambda count: Beat(count, 0), Hands().clock, heartbeat_s=0.001)
    kept.start()
    wait_for(lambda: len(sink.beats) > 3)
    kept.stop()
    assert sink.closed == 1


@pytest.mark.parametrize("lane", ["accept", "reject"])
def test_busy_with_is_cleared(lane) -> None:
    hands = Hands()
    line = delivery(hands, ToldSink())
    line.send(LineAnswer(1, "a", lane, "now"), hands.at + 1)
    assert line.busy_with is None
