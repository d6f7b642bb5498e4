from __future__ import annotations

from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.reporting import labels_section as section
from drupe.reporting.report import Source, build_report, build_run_report, render
from review_files import write_crops
from study_folder import write_study_run


def ranked(paths: list[str]) -> list[RankedLabel]:
    """Rank the crops: every third is doubtful, every third one unsure; splits in turn."""
    reasons = ("other class", "unsure", "agrees")
    rows = [
        RankedLabel(
            rank=rank,
            path=path,
            split=section.SPLITS[rank % 3],
            label=path.partition("/")[0],
            score=0.5,
            self_confidence=0.01 * rank,
            margin=-0.5,
            reason=reasons[rank % 2 if rank < 9 else 2],
            near_other=(paths[-rank],) if rank % 4 == 0 else (),
        )
        for rank, path in enumerate(paths, 1)
    ]
    return rows


@pytest.fixture
def crops(tmp_path: Path) -> tuple[Path, list[str]]:
    return tmp_path / "crops", write_crops(tmp_path / "crops", 20)


def test_doubtful_labels_of_all_splits_are_shown(tmp_path, crops, monkeypatch) -> None:
    root, paths = crops
    monkeypatch.setattr(section, "SHOWN", 3)
    run = write_study_run(tmp_path / "runs", "A", 1)
    rows = ranked(paths)
    write_ranking(run / "labels.csv", rows)
    report = build_run_report([run], root, tmp_path)
    found = report.labels
    assert found is not None
    assert found.doubtful == 4
    assert [one.item.rank for one in found.shown] == [2, 4, 6]
    assert [row[0] for row in found.rows] == list(section.SPLITS)
    assert [sum(int(row[column]) for row in found.rows) for column in (1, 2, 3)] == [20, 4, 4]
    assert all(one.picture for one in found.shown)
    assert [one.near for one in found.shown] == ["", paths[-4], ""]
    assert [bool(one.beside) for one in found.shown] == [False, True, False]
    html = render(report)
    assert 'href="#labels"' in html
    assert "The 3 most doubtful of 4" in html
    assert f"drupe labels review {run / 'labels.csv'} --out review" in html


def test_of_two_runs_the_later_and_of_a_study_the_first_ranked_one_is_shown(
    tmp_path, crops
) -> None:
    _, paths = crops
    runs = [write_study_run(tmp_path / "runs", "A", seed) for seed in (1, 2)]
    assert build_run_report(runs, None, tmp_path).labels is None
    assert 'href="#labels"' not in render(build_run_report(runs, None, tmp_path))
    write_ranking(runs[1] / "labels.csv", ranked(paths))
    study = build_report(tmp_path / "runs", Source("s.yaml", (), None, tmp_path))
    assert study.labels is not None
    assert study.labels.run == str(runs[1])
    write_ranking(runs[0] / "labels.csv", [])
    later = build_run_report(runs, None, tmp_path).labels
    assert later is not None
    assert later.run == str(runs[1])
    alone = build_run_report(runs[:1], None, tmp_path)
    assert alone.labels is not None
    assert (alone.labels.doubtful, alone.labels.rows) == (0, ())
    assert "<summary>All" not in render(alone)


def test_paths_out_of_the_folder_are_named_and_not_read(tmp_path, crops) -> None:
    root, paths = crops
    run = write_study_run(tmp_path / "runs", "A", 1)
    away = (root / paths[0]).as_posix()
    write_ranking(run / "labels.csv", ranked([paths[0], away]))
    (one,) = build_run_report([run], root, tmp_path).labels.shown
    assert (one.item.path, one.picture) == (away, None)


def test_a_damaged_ranking_is_named(tmp_path) -> None:
    run = write_study_run(tmp_path / "runs", "A", 1)
    (run / "labels.csv").write_text("rank,path\n")
    with pytest.raises(InputError, match=r"labels\.csv: must be a ranking"):
        build_run_report([run], None, tmp_path)
