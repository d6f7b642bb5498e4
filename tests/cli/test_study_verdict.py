from __future__ import annotations

import pytest

from drupe.cli.verdict import print_verdict
from drupe.study.definition.protocol import Deviation
from drupe.study.execution.journal import Journal
from drupe.study.verdict.assess import assess
from run_files import decided
from study_files import FakeExecutor, finish, schedule, small_study, succeed, work_on

STUDY = {
    "study": "phase2",
    "question": "Does a modern network, label smoothing or a better threshold beat the baseline?",
    "baseline": {"experiment": "BASE", "name": "ResNet50"},
    "criteria": {"accuracy": 0.9405, "latency_ms": 30, "size_mb": 150},
    "seeds": [42, 123, 456],
    "experiments": [
        {"id": "BASE"},
        {"id": "EXP-001", "kind": "threshold", "of": "BASE"},
        {"id": "EXP-002A", "config": {"training": {"label_smoothing": 0.1}}},
        {"id": "EXP-002B", "config": {"training": {"label_smoothing": 0.2}}},
        {"id": "EXP-004", "when": {"none_of": ["EXP-002A"], "meet": "accuracy"}},
    ],
    "comparisons": [{"a": "EXP-002A", "b": "BASE"}, {"a": "EXP-004", "b": "BASE"}],
}
WRONG = {"BASE": 70, "EXP-002A": 60, "EXP-002B": 660}


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    def does(job):
        if job.task.name == "EXP-002A seed 123":
            return -9
        if job.task.kind != "train":
            return succeed(job)
        test = decided(1226, range(566, 566 + WRONG[job.task.experiment]), defects=566)
        text = "the scores come from 5 networks" if job.task.experiment == "EXP-002A" else None
        finish(job.task, test, decided(1500, defects=700, prefix="train"), approximate=text)
        return 0

    folder = tmp_path_factory.mktemp("study")
    work = work_on(small_study(folder, **STUDY), folder / "store")
    schedule(work, FakeExecutor(does))
    deviation = Deviation(seen="now", what="study.margin: 0.02 -> 0.05")
    return assess(work, Journal(work.folder).outcomes(), [deviation])


@pytest.fixture
def printed(verdict, monkeypatch, capsys):
    def at(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "dumb")
        print_verdict(verdict)
        return capsys.readouterr().out

    return at


@pytest.mark.parametrize("columns", [80, 200])
def test_every_experiment_and_criterion_is_a_row_that_fits(printed, columns) -> None:
    text = printed(columns)

    headings = [line.split("  ")[0] for line in text.splitlines() if "verdict" in line]
    assert headings == [
        "accuracy ≥ 94.05 %",
        "recall ≥ 99 %",
        "latency p95 < 30 ms",
        "size < 150 MB",
        "accuracy ≥ BASE (94.05 %)",
    ]
    rows = [line for line in text.splitlines() if line.startswith("EXP-002A  ")]
    assert len(rows) == 5  # figures and four criteria
    assert all(len(row) <= columns for row in rows)


def test_every_figure_stands_beside_its_verdict(printed) -> None:
    lines = [" ".join(line.split()) for line in printed(80).splitlines()]

    for line in (
        "EXP-002A 2 95.1 % 93.7-96.3 0.0 100 % 90.9 % 0.955",
        "BASE undecided 94.3 % (93.0-95.4) 25,183 images",
        "EXP-002A pass +0.8 (+0.3 to +1.4)",
        "EXP-001 pass misses 0 of 566",
        "EXP-002A undecided misses 0 of 566, approx. 299 fresh defects (--data)",
        "EXP-002A pass 1.00 ms",
        "EXP-004 undecided not measured",
        "failed: EXP-002A seed 123: killed by signal 9",
        "deviation from the protocol: study.margin: 0.02 -> 0.05",
        "EXP-002A - BASE +0.8 +0.2 to +1.5 0.0039 0.9 yes",
        "EXP-004 - BASE: not compared, no finished run of one of them",
        "EXP-002B: collapsed to one decision for every item: seeds 42, 123, 456",
    ):
        assert line in lines
