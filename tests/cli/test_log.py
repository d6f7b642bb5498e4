from __future__ import annotations

import json

from drupe.line.log.writer import DecisionLog
from line_stand_in import images, stand_in


def test_verify_and_report(quick, tmp_path) -> None:
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path / "log", clock=lambda: 1_795_000_000):
        classifier.decide(images(0.1, 0.9))
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    result = quick("log", "verify", "log")
    assert result.code == 0
    assert "log: 4 lines in 1 files are as they were written" in result.stdout
    assert quick("log", "verify", "log", "--key", "key").code == 1
    report = quick("log", "report", "log", "--day", "2026-11-18")
    assert report.code == 0
    assert report.stdout.startswith("# Decisions on 2026-11-18")
    document = json.loads(quick("log", "report", "log", "--json").stdout)
    assert document["images"] == 2

    path = tmp_path / "log" / "decisions-00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"accept", b"review"))
    result = quick("log", "verify", "log", "--json")
    assert result.code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert (problem["file"], problem["line"]) == ("decisions-00000001.jsonl", 3)
    assert "NOT as it was written" in quick("log", "verify", "log").stdout
    assert quick("log", "report", "log").code == 1
    assert quick("log", "verify", "absent").code == 2
