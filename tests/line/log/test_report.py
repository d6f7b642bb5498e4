from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.line.log.report import report_log
from drupe.line.log.writer import DecisionLog
from line_stand_in import images, stand_in

DAY = 1_795_000_000  # 2026-11-18T11:06:40Z


def test_counts_of_a_day(tmp_path) -> None:
    times = iter([DAY, DAY, DAY, DAY + 3600, DAY + 86400, *[DAY + 86400] * 9])
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path, clock=lambda: next(times)):
        for score in (0.1, 0.9, 0.5):
            classifier.decide(images(score)[0])
        classifier.watchers.refused(["a|b"], "no such file", "review")
        classifier.watchers.refused(None, "no frame", None)
    report = report_log(tmp_path, "2026-11-18")
    assert report.lanes == {"accept": 1, "reject": 1}
    assert {hour: dict(counts) for hour, counts in report.hours.items()} == {
        "2026-11-18 11": {"accept": 1},
        "2026-11-18 12": {"reject": 1},
    }
    assert report.starts == 1
    document = report_log(tmp_path).to_json()
    assert document["lanes"] == {"accept": 1, "review": 2, "reject": 1, "no decision": 1}
    assert document["faults"] == {"no such file": 1, "no frame": 1}
    assert document["sources"][0]["images"] == 5
    assert document["verified"]["passed"] is True
    page = report_log(tmp_path).to_markdown()
    assert "| 2026-11-19 11 | 0 | 2 | 0 | 1 |" in page
    assert "| all | 1 | 2 | 1 | 1 |" in page
    assert "Yes: 7 lines are as they were written" in page
    with pytest.raises(InputError, match="must be a day such as"):
        report_log(tmp_path, "yesterday")


def test_a_page_of_a_changed_log_says_so(written) -> None:
    path = written / "decisions-00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"piece 3", b"piece 4"))
    assert "**No, at 1 places.**" in report_log(written).to_markdown()
