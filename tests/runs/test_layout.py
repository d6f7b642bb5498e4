from __future__ import annotations

from pathlib import Path

import pytest

from drupe.runs.layout import RunFolder, is_leftover, runs_below, seed_folder

RUN = Path("runs/study/A/seed-1")


def test_what_lies_where() -> None:
    """As DESIGN's run directory has it: a store written before must be found."""
    run = RunFolder(seed_folder(Path("runs/study/A"), 1))
    assert run.path == RUN
    found = [run.record, run.config, run.epochs, run.weights, run.evaluation]
    assert [path.relative_to(RUN).as_posix() for path in found] == [
        "run.json",
        "config.yaml",
        "metrics.jsonl",
        "model.safetensors",
        "evaluation.json",
    ]
    assert run.predictions("test") == RUN / "predictions" / "test.csv"
    assert run.duplicates == RUN / "predictions" / "duplicates.json"
    assert run.checkpoint == RUN / "checkpoint" / "state.safetensors"
    assert run.training_files == RUN / "trained-on.txt"
    assert run.lock == RUN / ".lock"


def test_what_lies_beside_a_run() -> None:
    run = RunFolder(RUN)
    assert run.log == Path("runs/study/A/seed-1.log")
    assert run.order == Path("runs/study/A/seed-1.yaml")
    assert run.fold(2, 5) == Path("runs/study/A/seed-1-cross-fit-5/fold-2")


def test_the_runs_of_an_experiment_and_of_a_study(tmp_path: Path) -> None:
    for name in ("A/seed-2", "A/seed-1", "B/seed-1", "A/seed-1-cross-fit-2/fold-0", "C/other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "A" / "seed-3").mkdir()  # without a record

    def names(found: list[Path]) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in found]

    assert names(runs_below(tmp_path / "A")) == ["A/seed-1", "A/seed-2"]
    assert names(runs_below(tmp_path, "B")) == ["B/seed-1"]
    assert names(runs_below(tmp_path, "*")) == ["A/seed-1", "A/seed-2", "B/seed-1"]


@pytest.mark.parametrize("name", [".lock", "config.yaml", ".run.json.x1.tmp"])
def test_what_a_run_leaves_that_dies_early(name: str) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", ["run.json", "notes.tmp", "picture.png", "lock"])
def test_other_files_are_somebody_elses(name: str) -> None:
    assert not is_leftover(name)
