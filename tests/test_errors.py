"""Messages that a person reads: how a long list ends."""

from __future__ import annotations

import pytest

from drupe.errors import shortened


@pytest.mark.parametrize(
    ("lines", "limit", "shown"),
    [
        ([], 2, []),
        (["a", "b"], 2, ["a", "b"]),
        (["a", "b", "c"], 2, ["a", "b", "… and 1 more"]),
        (["  a", "    b", "c"], 2, ["  a", "    b", "    … and 1 more"]),
        ([*"a" * 1202], 1, ["a", "… and 1,201 more"]),
    ],
)
def test_a_long_list_ends_with_the_number_of_the_others(
    lines: list[str], limit: int, shown: list[str]
) -> None:
    assert shortened(lines, limit) == shown


def test_the_line_that_counts_can_say_what_or_where() -> None:
    assert shortened(["a", "b"], 1, "more sizes") == ["a", "… and 1 more sizes"]
