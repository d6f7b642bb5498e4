"""Progress in a notebook: a bar in the cell's output, which becomes a line."""

from __future__ import annotations

import builtins
from typing import Any

import IPython.display
import pytest

from drupe.workbench import progress_display
from drupe.workbench.progress_display import NotebookProgress, progress_on


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that the cell showed, one state after another."""
    states: list[str] = []

    class Handle:
        def update(self, content: Any) -> None:
            states.append(content.data)

    def display(content: Any, display_id: bool) -> Handle:
        states.append(content.data)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    return states


def test_a_bar_moves_at_most_twice_a_second_and_ends_as_a_line(shown: list[str]) -> None:
    now = 0.0
    with NotebookProgress(lambda: now)("decode", 4, "<images>") as tracker:
        for seconds in (0.3, 0.3, 0.3):
            now += seconds
            tracker.advance(note="a<b")
        now += 0.1
        tracker.advance()
    first, moved, last = shown
    assert first.startswith('<progress value="0" max="4"></progress> decode: 0 of 4 &lt;images&gt;')
    assert moved.startswith('<progress value="2" max="4">')
    assert "a&lt;b" in moved
    assert last == "decode: 4 &lt;images&gt; in 1.0 s, 4/s, a&lt;b"


def test_what_stops_says_how_far_it_came(shown: list[str]) -> None:
    def interrupted() -> None:
        with NotebookProgress()("train", 10, "images") as tracker:
            tracker.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert shown[-1] == "train: stopped at 3 of 10 images"


def test_a_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        pass

    assert not isinstance(progress_on(), NotebookProgress)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    assert isinstance(progress_on(), NotebookProgress)
    assert progress_display.NOTEBOOK_EVERY == 0.5
