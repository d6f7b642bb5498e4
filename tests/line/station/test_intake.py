from __future__ import annotations

import threading

from drupe.line.station.intake import ItemIntake
from drupe.line.station.sources.source import LineItem
from line_parts import Hands, ListSource, found, wait_for


def intake(source, size: int = 2, hands: Hands | None = None) -> ItemIntake:
    return ItemIntake(source, size, 0.01, (hands or Hands()).clock, lambda: "sink modbus")


def taken(queue: ItemIntake) -> list:
    wait_for(lambda: queue.is_ended)
    return list(iter(lambda: queue.next(0), None))


def test_what_finds_the_queue_full_loses_its_image_and_says_who_is_slow() -> None:
    source = ListSource(found(0.1, 0.1, 0.1, 0.1))
    source.waits = False
    queue = intake(source)
    queue.start()
    items = [one.item for one in taken(queue)]
    assert [one.name for one in items] == ["piece-1", "piece-2", "piece-3", "piece-4"]
    assert [one.image is None for one in items] == [False, False, True, True]
    assert items[3].fault == "late: 2 images waited already, for sink modbus"
    assert queue.overruns == 2


def test_a_source_that_can_wait_is_held_up_and_loses_nothing() -> None:
    queue = intake(ListSource(found(*[0.1] * 9)))
    queue.start()
    wait_for(lambda: queue._is_held_up)
    hands_fault = queue.fault()
    items = []
    while len(items) < 9:
        if (one := queue.next(1)) is not None:
            items.append(one.item)
    assert all(one.image is not None for one in items)
    assert (hands_fault, queue.overruns) == (None, 0)
    assert queue.next(0) is None


def test_a_source_that_fails_is_dead_until_it_gives_again() -> None:
    class Failing(ListSource):
        calls = 0

        def items(self, stop):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("unplugged")
            go.wait()
            yield from super().items(stop)
            on.wait()

    go, on = threading.Event(), threading.Event()
    queue = intake(Failing(found(0.1)))
    queue.start()
    wait_for(lambda: queue.failures == 1)
    assert queue.fault() == "list: ValueError: unplugged"
    go.set()
    wait_for(lambda: queue.fault() is None)
    on.set()
    assert len(taken(queue)) == 1


def test_a_silent_source_is_dead() -> None:
    class Silent(ListSource):
        silent_after_s = 5.0

        def items(self, stop):
            stop.wait()
            yield from ()

    hands = Hands()
    queue = intake(Silent([]), hands=hands)
    queue.start()
    assert queue.fault() is None
    hands.at += 6
    assert queue.fault() == "list: has been silent for 6.0 s"
    queue.stop()
    wait_for(lambda: queue.is_ended)
    assert queue.fault() is None


def test_what_is_still_there_at_the_next_start_is_not_taken_at_the_stop() -> None:
    class Keeping(ListSource):
        keeps = True

    queue = intake(Keeping(found(*[0.1] * 5)))
    queue.start()
    wait_for(lambda: queue._is_held_up)
    queue.stop()
    queue._thread.join()
    assert len(list(iter(lambda: queue.next(0), None))) == 2


def test_a_stop_ends_a_source_that_goes_on() -> None:
    class Endless(ListSource):
        def items(self, stop):
            while True:
                yield None

    queue = intake(Endless([]))
    queue.start()
    queue.stop()
    queue._thread.join(5)
    assert not queue._thread.is_alive()


def test_items_without_images_are_bounded_too(monkeypatch) -> None:
    monkeypatch.setattr("drupe.line.station.intake.MOST_WAITING", 3)
    source = ListSource([LineItem(str(n), None, "no image") for n in range(5)])
    source.waits = False
    queue = intake(source)
    queue.start()
    wait_for(lambda: queue._is_held_up)
    assert len(queue._waiting) == 3
    assert len([queue.next(1) for _ in range(5)]) == 5
