from __future__ import annotations

import pytest
from pydantic import ValidationError

from drupe.runs.training_overlap import Overlap, Seen


def seen(calibration: int = 0, test: int = 0, *, picked_on_test: bool = False) -> Seen:
    overlap = Overlap(named=9, sha256="a" * 64, fit=7, calibration=calibration, test=test)
    return Seen(trained_on=overlap, picked_on_test=picked_on_test)


def test_a_network_that_learnt_from_neither_split_is_as_good_as_one_trained_here() -> None:
    assert seen().in_sample is None
    assert seen().caveats == ()


def test_learnt_calibration_items_certify_nothing() -> None:
    assert seen(calibration=1200).in_sample == (
        "this imported network was trained on 1,200 of its calibration items (copies counted too), "
        "whose scores are therefore in-sample"
    )
    assert seen(calibration=1200).caveats == ()


def test_learnt_test_items_make_figures_optimistic() -> None:
    assert seen(test=1200).in_sample is None
    assert seen(test=1200, picked_on_test=True).caveats == (
        "the checkpoint was picked on the test split: its figures are optimistic",
        "it was trained on 1,200 of the test items (copies counted too): its figures are in-sample",
    )


def test_of_unknown_training_files_the_worst_is_taken() -> None:
    unknown = Seen(trained_on=None, picked_on_test=False)
    assert unknown.in_sample is not None
    assert unknown.in_sample.startswith("the files that this imported network was trained on are")
    (caveat,) = unknown.caveats
    assert caveat.startswith("its training files are unknown")


@pytest.mark.parametrize("field", ["named", "fit", "calibration", "test"])
def test_counts_are_not_negative(field: str) -> None:
    counts = {"named": 1, "fit": 0, "calibration": 0, "test": 0}
    with pytest.raises(ValidationError, match=field):
        Overlap(sha256="a" * 64, **{**counts, field: -1})
