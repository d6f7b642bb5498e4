from __future__ import annotations

import json
import os

from drupe.line.station.configuration import ChallengeSettings
from drupe.line.station.passed_challenge import PassedChallenge
from line_parts import Hands


def write(records, *passed: bool, time: str = "2026-11-18T11:40:00.000000Z") -> None:
    records.write_text("".join(json.dumps({"time": time, "passed": one}) + "\n" for one in passed))
    os.utime(records, ns=(records.stat().st_mtime_ns + 10**9,) * 2)


def test_nothing_is_accepted_without_a_challenge_passed_lately(tmp_path) -> None:
    records, hands = tmp_path / "challenges.jsonl", Hands()
    hands.at = 0  # 2026-11-18T11:06:40Z
    gate = PassedChallenge(ChallengeSettings(records=records, within_hours=2), hands.clock)
    assert gate.fault() == f"challenge: none was made yet ({records})"
    write(records, False, True, time="2026-11-18T10:06:40.000000Z")
    assert gate.fault() is None
    hands.at += 2 * 3600
    assert gate.fault() == "challenge: the last one was passed 3.0 hours ago, must be within 2"
    write(records, True, False)
    assert gate.fault() == "challenge: the last one was failed"


def test_records_that_are_empty_or_damaged_accept_nothing(tmp_path) -> None:
    records = tmp_path / "challenges.jsonl"
    gate = PassedChallenge(ChallengeSettings(records=records), Hands().clock)
    records.write_text("")
    assert gate.fault() == "challenge: none was made yet"
    records.write_text("no record\n")
    os.utime(records, ns=(1, 1))
    assert "must be the record of a challenge" in str(gate.fault())
    write(records, True, time="yesterday")
    assert "Invalid isoformat" in str(gate.fault())
