from __future__ import annotations

import json

import numpy as np
import pytest

from drupe.deployment.drift import CalibrationScores
from drupe.errors import InputError
from drupe.line.watch.monitor import LineMonitor
from drupe.line.watch.prometheus import prometheus_registry
from line_stand_in import images, stand_in


def calibration() -> CalibrationScores:
    random = np.random.default_rng(0)
    clean, defect = random.beta(2, 6, 2000), random.beta(6, 2, 2000)
    return CalibrationScores(
        np.sort(np.rint(clean * 255) / 255).astype(np.float32),
        np.sort(np.rint(defect * 255) / 255).astype(np.float32),
    )


class Clock:
    now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def monitored(state=None, **options) -> tuple[LineMonitor, Clock]:
    clock = Clock()
    classifier = stand_in(calibration())
    monitor = LineMonitor(classifier, state, look_seconds=1000, clock=clock, **options)
    monitor.decide = classifier.decide
    return monitor, clock


def test_counts_lanes_faults_and_latency() -> None:
    monitor, _ = monitored()
    monitor.decide(images(0.1, 0.2, 0.9))
    monitor.decide(images(0.5)[0])
    with pytest.raises(InputError):
        monitor.decide(np.zeros((2, 2), np.uint8))
    said = monitor.snapshot()
    assert said["lanes"] == {"accept": 2, "reject": 1, "review": 1, "none": 1}
    assert said["faults"] == {"unreadable or refused": 1}
    assert sum(said["latency_counts"]) == 2
    monitor.close()


def test_drift_alarms_once_and_is_acknowledged() -> None:
    heard = []
    monitor, clock = monitored(on_alarm=lambda kind, what: heard.append((kind, what)))
    random = np.random.default_rng(1)
    for _ in range(60):
        clock.now += 3600
        monitor.decide(images(*np.clip(random.beta(2, 6, 500) + 0.15, 0, 1)))
        monitor.look()
    assert [kind for kind, _ in heard] == ["drift"]
    assert "no share of defects explains" in monitor.alarms["drift"]
    monitor.acknowledge()
    assert monitor.alarms == {}
    for _ in range(60):
        clock.now += 3600
        monitor.decide(images(*random.beta(2, 6, 500)))
        monitor.look()
    assert monitor.alarms == {}
    monitor.close()


def test_missed_defects_alarm() -> None:
    monitor, clock = monitored()
    for number in range(120):
        clock.now += 3600
        monitor.look()
        monitor.label("accept" if number % 3 == 0 else "reject", is_defect=True)
        monitor.label("accept", is_defect=False)
    monitor.look()
    assert "of 16 labelled defects were accepted" in monitor.alarms["recall"]
    assert (monitor.recall.misses, monitor.recall.defects) == (40, 120)
    assert monitor.recall.bounds[1] < 0.85
    monitor.close()


def test_state_survives_a_restart_and_another_bundle_does_not_take_it(tmp_path) -> None:
    state = tmp_path / "monitor.json"
    monitor, clock = monitored(state)
    monitor.decide(images(0.1, 0.9))
    monitor.label("reject", is_defect=True)
    clock.now += 61
    monitor.look()  # a minute: saved without being closed
    before = monitor.snapshot()
    assert json.loads(state.read_text()) == before
    again, _ = monitored(state)
    assert again.snapshot() == before
    again.decide(images(0.1))
    again.close()
    assert json.loads(state.read_text())["lanes"]["accept"] == 2
    document = json.loads(state.read_text())
    for changed, message in (
        ({"bundle": "e" * 64}, "bundle: the state of another one"),
        ({"schema_version": 9}, "as this Drupe writes it"),
        ({"latency_counts": [1]}, "damaged"),
        ({"drift": {"log_bets": [[0.0]]}}, "evidence: must have the shape"),
        ({"recall": {}}, "evidence: must have the shape"),
    ):
        state.write_text(json.dumps(document | changed))
        with pytest.raises(InputError, match=message):
            monitored(state)


def test_a_state_that_can_not_be_written_is_an_alarm(tmp_path) -> None:
    monitor, clock = monitored(tmp_path / "folder")
    (tmp_path / "folder").mkdir()
    clock.now += 61
    monitor.look()
    assert "can't be written" in monitor.alarms["monitor"]
    assert monitor.decide(images(0.1)[0]) == "accept"


def test_prometheus_is_told() -> None:
    from prometheus_client import generate_latest

    monitor, _ = monitored()
    monitor.decide(images(0.1, 0.2, 0.9))
    monitor.look()
    monitor.label("reject", is_defect=True)
    page = generate_latest(prometheus_registry(monitor)).decode()
    for line in (
        'drupe_images_total{lane="accept"} 2.0',
        'drupe_alarm{kind="drift"} 0.0',
        'drupe_decision_seconds_bucket{le="+Inf"} 1.0',
        "drupe_drift_evidence ",
        'drupe_recall{bound="high"} 1.0',
    ):
        assert line in page
    monitor.close()


def test_prometheus_is_told_of_several_by_name() -> None:
    from prometheus_client import generate_latest

    top, side = monitored()[0], monitored()[0]
    top.decide(images(0.1, 0.2))
    side.decide(images(0.9))
    registry = prometheus_registry(lambda: {"top": top, "side": side})
    page = generate_latest(registry).decode()
    assert 'drupe_images_total{lane="accept",model="top"} 2.0' in page
    assert 'drupe_images_total{lane="reject",model="side"} 1.0' in page
    assert page.count("# HELP drupe_images_total") == 1
    assert "drupe_recall" not in page
    top.close()
    side.close()


def test_a_process_that_goes_elsewhere_keeps_its_state_where_it_began(
    tmp_path, monkeypatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monitor, _ = monitored("state.json")
    monkeypatch.chdir(tmp_path / "there")
    monitor.close()
    assert list((tmp_path / "there").iterdir()) == []
    assert (tmp_path / "here" / "state.json").exists()
