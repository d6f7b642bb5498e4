from __future__ import annotations

import json

import pytest

from drupe.errors import InputError
from drupe.study.definition.protocol import DEVIATIONS, LOCK, freeze, read_deviations, read_protocol
from study_files import STUDY, small_study

DATA = "d" * 64


def test_the_same_study_deviates_from_nothing(tmp_path) -> None:
    assert freeze(small_study(tmp_path), tmp_path, DATA) == []
    frozen = (tmp_path / LOCK).read_bytes()

    assert freeze(small_study(tmp_path), tmp_path, DATA) == []
    assert (tmp_path / LOCK).read_bytes() == frozen
    assert not (tmp_path / DEVIATIONS).exists()
    assert set(read_protocol(tmp_path).configs) == {"A", "B"}


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"margin": 0.05}, ["study.margin: 0.02 -> 0.05"]),
        ({"seeds": [1]}, ["study.seeds: [1, 2] -> [1]"]),
        ({"criteria": {"recall": 0.9}}, ["study.criteria.recall: 0.99 -> 0.9"]),
        ({"experiments": [{"id": "A"}]}, ["B: taken out after the protocol was frozen"]),
        (
            {"experiments": [{"id": "A"}, {"id": "B"}, {"id": "C"}]},
            ["C: added after the protocol was frozen"],
        ),
        (
            {
                "experiments": [
                    {"id": "A"},
                    {"id": "B", "config": {"training": {"label_smoothing": 0.1}}},
                ]
            },
            ["B.training.label_smoothing: 0.0 -> 0.1"],
        ),
        # How, not what, is computed, and where results are also written down.
        ({"retries": 3}, []),
        ({"tracking": {"mlflow": "file:runs"}}, []),
        ({"defaults": {**STUDY["defaults"], "training": {"threads": 3}}}, []),
        ({"defaults": {**STUDY["defaults"], "data": {"root": "elsewhere"}}}, []),
    ],
)
def test_what_changes_later_is_a_deviation_for_ever(tmp_path, changes, seen) -> None:
    freeze(small_study(tmp_path), tmp_path, DATA)

    assert [item.what for item in freeze(small_study(tmp_path, **changes), tmp_path, DATA)] == seen
    # Changed back, it was changed all the same; and each is reported once.
    assert [item.what for item in freeze(small_study(tmp_path), tmp_path, DATA)] == seen
    freeze(small_study(tmp_path, **changes), tmp_path, DATA)
    assert [item.what for item in read_deviations(tmp_path)] == seen


def test_another_version_of_the_code_is_a_deviation(tmp_path) -> None:
    freeze(small_study(tmp_path), tmp_path, DATA)
    document = json.loads((tmp_path / LOCK).read_text())
    document["versions"]["torch"] = "1.0"
    (tmp_path / LOCK).write_text(json.dumps(document))

    (found,) = freeze(small_study(tmp_path), tmp_path, DATA)

    assert found.what.startswith("versions.torch: 1.0 -> ")


def test_other_data_is_refused_and_nothing_written(tmp_path) -> None:
    freeze(small_study(tmp_path), tmp_path, DATA)
    frozen = (tmp_path / LOCK).read_bytes()

    with pytest.raises(InputError, match=r"started with \(dddddddddddd\), got other images"):
        freeze(small_study(tmp_path, margin=0.05), tmp_path, "e" * 64)

    assert (tmp_path / LOCK).read_bytes() == frozen
    assert not (tmp_path / DEVIATIONS).exists()


def test_the_folder_of_another_study_is_refused(tmp_path) -> None:
    freeze(small_study(tmp_path), tmp_path, DATA)

    with pytest.raises(InputError, match="another study of this name, with the experiments A, B"):
        freeze(small_study(tmp_path, experiments=[{"id": "X"}]), tmp_path, DATA)


def test_a_damaged_lock_is_named(tmp_path) -> None:
    (tmp_path / LOCK).write_text("{}")

    with pytest.raises(InputError, match=LOCK):
        freeze(small_study(tmp_path), tmp_path, DATA)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        (DEVIATIONS, None),
        (DEVIATIONS, 5),
        (DEVIATIONS, {"seen": "x"}),
        (DEVIATIONS, [{"seen": "x"}]),
        (LOCK, []),
        (LOCK, {"spec": {}}),
    ],
)
def test_what_no_study_wrote_is_refused_by_name(tmp_path, name: str, document: object) -> None:
    freeze(small_study(tmp_path), tmp_path, DATA)
    if isinstance(document, dict) and name == LOCK:
        document = json.loads((tmp_path / LOCK).read_text()) | document
    (tmp_path / name).write_text(json.dumps(document))
    with pytest.raises(InputError, match=name):
        (read_protocol if name == LOCK else read_deviations)(tmp_path)
