from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.grouping import read_duplicates, write_duplicates


def test_groups_survive_the_file(tmp_path):
    paths = ("a", "b", "c", "d", "e")
    groups = np.array([7, 3, 7, 9, 3], dtype=np.int32)
    file = tmp_path / "predictions" / "duplicates.json"
    write_duplicates(file, {"test": (paths, groups)})

    assert read_duplicates(file, "test", paths).tolist() == [0, 1, 0, 2, 1]


def test_a_split_without_copies_has_one_group_per_item(tmp_path):
    file = tmp_path / "duplicates.json"
    write_duplicates(file, {"test": (("a", "b"), np.array([1, 2], dtype=np.int32))})

    assert read_duplicates(file, "test", ("a", "b")).tolist() == [0, 1]


def test_foreign_paths_are_refused(tmp_path):
    file = tmp_path / "duplicates.json"
    write_duplicates(file, {"test": (("a", "b"), np.array([1, 1], dtype=np.int32))})

    with pytest.raises(InputError, match="must list paths of the predictions, got b"):
        read_duplicates(file, "test", ("a", "c"))


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"test": 5}', '{"test": [5]}', '{"test": [[]]}', '{"test": [[5]]}']
)
def test_a_document_of_another_shape_is_refused(tmp_path, text):
    file = tmp_path / "duplicates.json"
    file.write_text(text)

    with pytest.raises(InputError, match=r"duplicates\.json: must list groups of paths"):
        read_duplicates(file, "test", ("a", "b"))
