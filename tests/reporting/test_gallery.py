from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drupe.evaluation.predictions import Predictions
from drupe.reporting.gallery import MOST_OF_A_KIND, find_mistakes
from drupe.reporting.pictures import Pictures
from drupe.reporting.study_files import read_study_files
from study_folder import write_study_run, write_verdict

CLASSES = ("clean", "pit")
NO_PICTURES = Pictures(None)


def table(clean: list[float], defects: list[float]) -> Predictions:
    scores = np.array(clean + defects, np.float32)
    paths = [f"val/clean/{i}.png" for i in range(len(clean))]
    paths += [f"val/pit/{i}.png" for i in range(len(defects))]
    is_defect = np.arange(scores.size) >= len(clean)
    return Predictions(tuple(paths), is_defect, None, scores, CLASSES)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    write_study_run(folder, "A", 1, test=table([0.1, 0.6, 0.95], [0.9, 0.4, 0.02, 0.7]))
    write_study_run(folder, "A", 2, test=table([0.2, 0.4, 0.97], [0.8, 0.3, 0.04, 0.7]))
    write_study_run(folder, "B", 1, test=table([0.2, 0.3, 0.92], [0.8, 0.6, 0.09, 0.4]))
    return folder


def test_misses_come_first_and_suspected_labels_first_among_them(study):
    gallery = find_mistakes(read_study_files(study), NO_PICTURES)

    assert [item.path for item in gallery.mistakes] == [
        "val/pit/2.png",
        "val/pit/1.png",
        "val/pit/3.png",
        "val/clean/2.png",
        "val/clean/1.png",
    ]
    assert [item.suspected for item in gallery.mistakes] == [True, False, False, True, False]
    assert (gallery.misses, gallery.false_rejects, gallery.left_out) == (3, 2, 0)
    assert gallery.mistakes[0].other == "clean"
    assert gallery.mistakes[3].other == "pit"


def test_the_agreement_is_by_model(study):
    gallery = find_mistakes(read_study_files(study), NO_PICTURES)
    second = gallery.mistakes[1]
    assert [(one.model, one.wrong) for one in second.agreement] == [("A", 2), ("B", 0)]
    assert second.wrong == (0, 1)
    assert second.median == pytest.approx(0.4)
    assert second.reason == "labelled pit; 2 of 3 runs wrong at 0.5, median score 0.4"


def test_runs_that_list_the_items_in_another_order_are_aligned(study):
    turned = table([0.1, 0.6, 0.95], [0.9, 0.4, 0.02, 0.7])
    turned = turned.take(np.arange(len(turned))[::-1])
    write_study_run(study, "A", 1, test=turned)
    gallery = find_mistakes(read_study_files(study), NO_PICTURES)
    assert {item.path: item.wrong for item in gallery.mistakes}["val/pit/2.png"] == (0, 1, 2)


def test_a_defect_below_the_certified_threshold_is_marked(tmp_path):
    folder = tmp_path / "small"
    write_study_run(folder, "A", 1, test=table([0.1, 0.00001], [0.9, 0.00002, 0.45]))
    write_verdict(folder, {"A": [1]})

    gallery = find_mistakes(read_study_files(folder), NO_PICTURES)

    marked = {item.path: item.missed_when_certified for item in gallery.mistakes}
    # The clean one is rejected there, the other defect missed at 0.5 alone.
    assert marked == {"val/pit/1.png": (0,), "val/pit/2.png": (), "val/clean/0.png": ()}


def test_what_is_not_shown_is_counted(tmp_path):
    folder = tmp_path / "small"
    clean = [0.1] * 5
    defects = [0.2] * (MOST_OF_A_KIND + 30) + [0.9]
    write_study_run(folder, "A", 1, test=table(clean, defects))
    gallery = find_mistakes(read_study_files(folder), NO_PICTURES)
    assert len(gallery.mistakes) == MOST_OF_A_KIND
    assert gallery.misses == MOST_OF_A_KIND + 30
    assert gallery.left_out == 30


def test_pictures_are_bounded_and_stay_inside_the_dataset(small_synthetic, tmp_path):
    inside = sorted(small_synthetic.rglob("*.png"))[:3]
    paths = [path.relative_to(small_synthetic).as_posix() for path in inside]
    pictures = Pictures(small_synthetic)
    first = pictures.of(paths[0])
    assert first is not None
    assert first.startswith("data:image/webp;base64,")

    assert pictures.of("../" + small_synthetic.name + "/" + paths[0]) is None
    named = Pictures(small_synthetic / "train", elsewhere={"../" + paths[0]})
    assert named.of("../" + paths[0]) is not None
    assert pictures.of("val/nowhere.png") is None
    full = Pictures(small_synthetic, room=1)
    assert full.of(paths[0]) is not None
    assert full.of(paths[1]) is None
    assert full.of(paths[0]) is not None  # made already


def test_only_finished_runs_count(study):
    record = (study / "B/seed-1/run.json").read_text()
    (study / "B/seed-1/run.json").write_text(record.replace('"done"', '"interrupted"'))
    assert [run.key for run in read_study_files(study).runs] == ["A/seed-1", "A/seed-2"]
    assert replace(read_study_files(study).items, classes=CLASSES).classes == CLASSES
