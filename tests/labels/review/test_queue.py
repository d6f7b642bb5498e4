from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from drupe.errors import InputError
from drupe.labels.review.queue import (
    LEAST_DISTANCE,
    ReviewQueue,
    draw_queue,
    order_for,
    read_queue,
)
from review_files import CLASSES, nominees, request

PATHS = [f"{'clean' if i % 3 else 'pit'}/{i}.png" for i in range(300)]


def drawn(splits: int = 1, **wanted: int) -> ReviewQueue:
    return draw_queue(nominees(None, PATHS, splits), "crops", CLASSES, request(**wanted))


def test_suspects_come_for_certain_and_controls_by_a_known_probability() -> None:
    queue = drawn(splits=3, suspects=10, controls=60)
    roles = Counter(item.role for item in queue.items)
    assert roles == {"suspect": 10, "control": 60}
    assert [item.path for item in queue.items if item.role == "suspect"] == PATHS[:10]
    assert len({item.path for item in queue.items}) == 70
    for stratum in queue.strata:
        of_it = [item for item in queue.items if queue.stratum_of(item) == stratum]
        assert sum(item.role == "control" for item in of_it) == stratum.controls
        assert stratum.probability == stratum.controls / (stratum.items - stratum.suspects)
    assert sum(stratum.items for stratum in queue.strata) == 300


def test_every_other_picture_is_drawn_equally_often() -> None:
    times = Counter(
        item.path for seed in range(400) for item in drawn(suspects=0, controls=60, seed=seed).items
    )
    # 400 draws with probability 1/5 each: mean 80, deviation 8.
    assert set(times) == set(PATHS)
    assert all(45 <= count <= 115 for count in times.values())


def test_a_stratum_of_few_gets_one_control_and_none_more_than_it_has() -> None:
    paths = [*(f"clean/{i}.png" for i in range(500)), "pit/0.png"]
    queue = draw_queue(nominees(None, paths), "crops", CLASSES, request(suspects=0, controls=20))
    assert {one.label: one.controls for one in queue.strata} == {"clean": 19, "pit": 1}
    whole = draw_queue(nominees(None, paths), "crops", CLASSES, request(suspects=2, controls=9999))
    assert len(whole.items) == 501
    assert all(one.is_whole and one.probability == 1.0 for one in whole.strata)


def test_repeats_come_again_later_and_under_another_name() -> None:
    queue = drawn(suspects=20, controls=80, repeats=30)
    again = [one for one in queue.showings if one.is_repeat]
    assert len(queue.showings) == 130
    assert len({one.id for one in queue.showings}) == 130
    assert len({one.item for one in again}) == 30
    for reviewer in ("ann", "bob"):
        order = order_for(queue, reviewer)
        assert sorted(one.id for one in order) == sorted(one.id for one in queue.showings)
        place = {one.id: index for index, one in enumerate(order)}
        first = {one.item: place[one.id] for one in order if not one.is_repeat}
        assert all(place[one.id] - first[one.item] >= LEAST_DISTANCE for one in again)
    assert order_for(queue, "ann") != order_for(queue, "bob")
    assert order_for(queue, "ann") == order_for(queue, "ann")


def test_suspects_and_controls_are_mixed() -> None:
    queue = drawn(suspects=50, controls=50, repeats=0)
    order = order_for(queue, "ann")
    early = sum(queue.items[one.item].role == "suspect" for one in order[:50])
    assert 12 <= early <= 38


@pytest.mark.parametrize(("suspects", "controls", "repeats"), [(1, 0, 5), (0, 2, 9), (3, 0, 1)])
def test_a_tiny_queue_has_an_order(suspects: int, controls: int, repeats: int) -> None:
    queue = drawn(suspects=suspects, controls=controls, repeats=repeats)
    assert len(order_for(queue, "ann")) == len(queue.showings)


def test_same_request_same_queue_and_it_is_read_as_written(tmp_path) -> None:
    queue = drawn(seed=5)
    assert queue == drawn(seed=5)
    assert queue.items != drawn(seed=6).items
    queue.write(tmp_path)
    assert read_queue(tmp_path) == queue


def test_nothing_to_show_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="nothing to show"):
        drawn(suspects=0, controls=0)
    with pytest.raises(InputError, match="must be the folder of a review"):
        read_queue(tmp_path)


def test_a_damaged_queue_is_refused(tmp_path) -> None:
    queue = drawn()
    broken = queue.model_copy(update={"items": queue.items[:2]})
    broken.write(tmp_path)
    with pytest.raises(InputError, match="showings must be of its 2 items"):
        read_queue(tmp_path)
    with pytest.raises(ValidationError):
        ReviewQueue.model_validate({**queue.model_dump(), "more": 1})
