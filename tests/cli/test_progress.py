from __future__ import annotations

import io
import re
from dataclasses import dataclass

import pytest
from rich.console import Console

from drupe.workbench.progress_display import (
    PlainProgress,
    TerminalProgress,
    per_second,
    progress_on,
)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_plain_lines_come_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock)("decode", 3676, "images") as tracker:
        for _ in range(24):
            clock.now += 1
            tracker.advance(100, note="cherry.png")
        tracker.advance(1276)
    assert stream.getvalue().splitlines() == [
        "decode: 200 of 3,676 images, 100/s, 35 s left, cherry.png",
        "decode: 1,200 of 3,676 images, 100/s, 25 s left, cherry.png",
        "decode: 2,200 of 3,676 images, 100/s, 15 s left, cherry.png",
        "decode: 3,676 images in 24 s, 153/s, cherry.png",
    ]


def test_quick_work_is_one_plain_line(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock)("decode", 20, "images") as tracker:
        for _ in range(20):
            clock.now += 0.0625
            tracker.advance()
    assert stream.getvalue() == "decode: 20 images in 1 s, 16/s\n"


def test_work_that_fails_says_how_far_it_came(clock: Clock) -> None:
    stream = io.StringIO()

    def work() -> None:
        with PlainProgress(stream, clock)("decode", 10, "images") as tracker:
            tracker.advance(4)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert stream.getvalue().splitlines()[-1] == "decode: stopped at 4 of 10 images"


def test_nothing_counted_is_no_division_by_zero(clock: Clock) -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock)("decode", 0, "images"):
        pass
    assert stream.getvalue().splitlines()[-1] == "decode: 0 images in 0.0 s"


def test_a_terminal_gets_bars_and_each_leaves_one_line(clock: Clock) -> None:
    stream = Terminal()
    console = Console(file=stream, width=100, force_terminal=True, color_system=None)
    progress = TerminalProgress(console, clock)
    with progress("run", 2, "epochs") as outer:
        for _ in range(2):
            with progress("epoch", 64, "images") as inner:
                clock.now += 2
                inner.advance(64, note="loss [0.5]")
            outer.advance()
    text = stream.getvalue()
    assert text.count("epoch: 64 images in 2 s, 32/s, loss [0.5]") == 2
    assert text.count("run: 2 epochs in 4 s, 0.5/s") == 1
    assert "\x1b[?25h" in text, "the cursor must come back"


def test_a_terminal_that_is_40_columns_wide_keeps_bars_on_one_line(clock: Clock) -> None:
    stream = Terminal()
    console = Console(file=stream, width=40, force_terminal=True, color_system=None)
    with TerminalProgress(console, clock)("decode", 100_000, "images") as tracker:
        clock.now += 1
        tracker.advance(12_000, note="a/very/long/path/to/one/of/the/images.png")
        console.print(end="")  # draws
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).splitlines()
    assert all(len(line.split("\r")[-1]) <= 40 for line in lines)


def test_the_stream_and_its_terminal_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_on(io.StringIO()), PlainProgress)
    assert isinstance(progress_on(Terminal()), TerminalProgress)
    monkeypatch.setenv("TERM", "dumb")  # can't move its cursor: bars would leave empty lines
    assert isinstance(progress_on(Terminal()), PlainProgress)


@pytest.mark.parametrize(
    ("rate", "text"), [(0.346, "0.35/s"), (9.96, "10/s"), (850.2, "850/s"), (12345, "12,345/s")]
)
def test_rates_have_the_digits_that_mean_something(rate: float, text: str) -> None:
    assert per_second(rate) == text
