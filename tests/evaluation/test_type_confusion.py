from __future__ import annotations

import pytest

from drupe.evaluation.type_confusion import TypeConfusion
from drupe.evaluation.type_tables import confusion_columns, confusion_in_words, confusion_rows
from drupe.runs.evaluation_file import ConfusedTypes

TRUE = ("", "pit", "pit", "pit", "stem", "bruise", "bruise", "")
SAID = ("pit", "pit", "pit", "stem", "stem", "pit", "stem", "stem")


@pytest.fixture
def confusion() -> TypeConfusion:
    return TypeConfusion.of(("pit", "split", "stem"), TRUE, SAID)


def test_defects_are_counted_by_type_and_by_what_was_said(confusion) -> None:
    assert [(row.name, row.said, row.right, row.defects) for row in confusion.rows] == [
        ("pit", (2, 0, 1), 2, 3),
        ("stem", (0, 0, 1), 1, 1),
        ("bruise", (1, 0, 1), 0, 2),
    ]
    right = confusion.accuracy()
    assert (right.successes, right.trials) == (3, 6)
    # Clopper-Pearson of 3 of 6: SciPy's binomtest(3, 6).proportion_ci()
    assert (right.low, right.high) == pytest.approx((0.1181172, 0.8818828), abs=1e-6)


def test_what_is_written_is_read_again(confusion) -> None:
    document = confusion.to_json()
    assert document["rows"][0] == {"name": "pit", "defects": 3, "right": 2, "said": [2, 0, 1]}
    assert TypeConfusion.of_record(ConfusedTypes.model_validate(document)) == confusion


def test_the_table_and_its_words(confusion) -> None:
    assert confusion_columns(confusion) == ("", "defects", "said pit", "said split", "said stem")
    assert confusion_rows(confusion)[2] == ("bruise", "2", "1", "0", "1")
    first, second = confusion_in_words(confusion)
    assert first.startswith("Type told right: 50.0 % (3 of 6; 95 % interval 11.8–88.2 %).")
    assert second.endswith("has learnt from none of them: bruise.")


def test_items_without_a_type_tell_nothing() -> None:
    assert TypeConfusion.of(("pit", "stem"), ("", ""), ("pit", "stem")) is None
