"""What registers and variables hold, without a server."""

from __future__ import annotations

import math

from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.sinks.modbus import block, words
from drupe.line.station.sinks.opcua import VARIABLES, values

BEAT = Beat(70_000, 0x0001_0002)
ANSWER = LineAnswer(
    0x0001_0002, "a\udcff\n.png", "accept", "now", piece=0x0003_0004, score=0.12345, fault="odd\x1b"
)


def test_the_registers_of_an_answer() -> None:
    assert block(ANSWER, BEAT) == [1, 70_000 - 65_536, 1, 1, 1, 2, 3, 4, 1234, 1, 1, 2]
    assert words(2**32 + 7) == (0, 7)


def test_registers_without_an_answer_reject() -> None:
    dead = Beat(1, 9, ("dead",))
    assert block(None, dead) == [1, 1, 0, 3, 0, 0, 0, 0, 65_535, 0, 0, 0]


def test_the_variables_of_an_answer() -> None:
    said = values(ANSWER, BEAT)
    assert list(said) == list(VARIABLES)
    assert (said["Number"], said["NumberAgain"], said["Lane"]) == (65_538, 65_538, 1)
    assert (said["Item"], said["Fault"]) == ("a\\xff\\n.png", "odd\\x1b")


def test_variables_without_an_answer_reject() -> None:
    said = values(None, Beat(1, 9, ("dead",)))
    assert (said["Number"], said["Lane"], said["Valid"], said["Item"]) == (0, 3, False, "")
    assert math.isnan(said["Score"])
