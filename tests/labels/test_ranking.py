from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np

from drupe.labels.neighbours import NearItems
from drupe.labels.ranking import (
    ScoredLabels,
    class_probabilities,
    is_ranking,
    rank_labels,
    read_ranking,
    write_ranking,
)

CLASSES = ("clean", "pit")


def scored(logits: list[float], labels: list[int], temperature: float = 1.0) -> ScoredLabels:
    return ScoredLabels(
        paths=tuple(f"{place}.png" for place in range(len(labels))),
        splits=("fit",) * len(labels),
        labels=np.array(labels),
        groups=np.arange(len(labels)),
        probabilities=class_probabilities(np.array(logits), temperature),
        classes=CLASSES,
    )


def test_probabilities_are_those_of_the_scores_at_the_run_s_temperature() -> None:
    found = class_probabilities(np.array([0.0, 2.0, -2.0]), 2.0)
    second = 1 / (1 + np.exp([0.0, -1.0, 1.0]))
    np.testing.assert_allclose(found, np.column_stack([1 - second, second]))


def test_the_least_self_confident_stand_first_with_what_speaks_against_them() -> None:
    ranking = rank_labels(scored([-3, -3, 3, 3, 3, -3, 0.1], [0, 0, 0, 1, 1, 1, 1]))
    assert [one.path for one in ranking[:3]] == ["2.png", "5.png", "6.png"]
    assert [one.rank for one in ranking] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.reason for one in ranking[:2]] == ["other class", "other class"]
    assert [one.reason for one in ranking[3:]] == ["agrees"] * 4
    first = ranking[0]
    assert (first.split, first.label) == ("fit", "clean")
    np.testing.assert_allclose(first.score + first.self_confidence, 1)
    np.testing.assert_allclose(first.margin, 2 * first.self_confidence - 1)


def test_an_item_that_reaches_no_class_is_unsure() -> None:
    ranking = rank_labels(scored([-3, -3, -3, 3, 3, 3, 0.1], [0, 0, 0, 1, 1, 1, 1]))
    assert (ranking[0].path, ranking[0].reason) == ("6.png", "unsure")


def test_the_surest_mistakes_keep_their_order() -> None:
    """1 less a float64 near 1 would be 0 for both."""
    ranking = rank_labels(scored([50, 60, -5, 5], [0, 0, 0, 1]))
    assert [one.path for one in ranking[:2]] == ["1.png", "0.png"]
    assert 0 < ranking[0].self_confidence < ranking[1].self_confidence


def test_equal_scores_are_ordered_by_path() -> None:
    ranking = rank_labels(scored([1, 1, 1, 1], [1, 1, 0, 0]))
    assert [one.path for one in ranking] == ["2.png", "3.png", "0.png", "1.png"]


def test_the_file_has_a_row_per_item(tmp_path) -> None:
    ranking = rank_labels(scored([-3, 3, -1], [0, 0, 1]))
    write_ranking(tmp_path / "labels.csv", ranking)
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(ranking[0].to_json())
    assert rows[0]["near_own"] == ""
    assert [row["path"] for row in rows] == [one.path for one in ranking]
    assert [float(row["self_confidence"]) for row in rows] == [
        one.self_confidence for one in ranking
    ]


def test_neighbours_and_odd_names_come_back_as_they_were(tmp_path) -> None:
    near = {"0.png": NearItems(("a, b.png", 'say "x".png'), ("c.png",))}
    ranking = rank_labels(scored([-3, 3, -1], [0, 0, 1]), near)
    ranking = (replace(ranking[0], path="=1+1.png"), *ranking[1:])
    write_ranking(tmp_path / "labels.csv", ranking)
    assert (tmp_path / "labels.csv").read_text().count("'=1+1.png") == 1
    assert read_ranking(tmp_path / "labels.csv") == ranking
    assert is_ranking(tmp_path / "labels.csv")


def test_rankings_of_earlier_versions_have_no_neighbours(tmp_path) -> None:
    ranking = rank_labels(scored([-3, 3, -1], [0, 0, 1]))
    write_ranking(tmp_path / "labels.csv", ranking)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    short = "\n".join(
        line.removesuffix(",near_own,near_other").removesuffix(",,") for line in lines
    )
    (tmp_path / "labels.csv").write_text(short + "\n")
    assert read_ranking(tmp_path / "labels.csv") == ranking
