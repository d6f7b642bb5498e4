"""Where a monotone condition begins to hold."""

from __future__ import annotations

import pytest

from drupe.evaluation.bisection import crossing, smallest_above


@pytest.mark.parametrize("start", [0, 1, 7, 100])
@pytest.mark.parametrize("further", [1, 2, 3, 10, 1000])
def test_the_smallest_is_found_with_few_looks(start: int, further: int) -> None:
    looked_at: list[int] = []

    def holds(number: int) -> bool:
        looked_at.append(number)
        return number >= start + further

    assert smallest_above(start, holds) == start + further
    assert len(looked_at) <= 2 * (start + further).bit_length() + 1


def test_a_search_ends() -> None:
    assert smallest_above(0, lambda number: number >= 1000, most=1024) == 1000
    assert smallest_above(0, lambda number: number >= 1000, most=1023) is None


@pytest.mark.parametrize("place", [-0.9, 0.0, 1 / 3, 0.999])
def test_a_crossing_is_approached_from_below(place: float) -> None:
    found = crossing(lambda x: x >= place, -1.0, 1.0)
    assert found <= place
    assert place - found < 1e-15
