"""The soak benchmark sees a score that changed, and a fault that was taken for an image."""

from __future__ import annotations

import numpy as np
import pytest

from bundle_files import Answering
from line_stand_in import images, stand_in
from soak import CALLS_PER_FAULT, SIZES, Known, soak


class DarkAndFlat:
    """Calls frames of one value a fault, as black, flat and white ones are."""

    def faults(self, batch: np.ndarray) -> list[str | None]:
        same = (batch == batch[:, :1, :1]).all((1, 2, 3))
        return ["of one value" if one else None for one in same]


@pytest.fixture
def known() -> Known:
    return Known.of(stand_in(frames=DarkAndFlat()), images(*np.linspace(0.1, 1, 32)))


def test_images_and_faults_come_out_as_at_first(known) -> None:
    found = soak(known, 4000, 4)
    assert found["decisions"] >= 4000
    assert found["different"] == found["not_taken_as_faults"] == 0
    assert set(found["faults"]) == {"black", "flat", "white", "type", "shape", "empty batch"}
    calls = sum(found["faults"].values()) * CALLS_PER_FAULT
    assert calls == pytest.approx(4000 / np.mean(SIZES), rel=0.2)
    assert known.differences() == dict.fromkeys(SIZES, 0.0)


def test_a_score_that_changes_in_its_last_bit_is_seen(known) -> None:
    session = known.classifier._session
    changed = Answering(lambda batch: np.nextafter(session(batch), np.float32(0)))
    known.classifier._session = changed
    assert soak(known, 400, 2)["different"] > 0


def test_a_black_frame_that_is_decided_is_seen(known) -> None:
    known.classifier.frames = None
    found = soak(known, 2000, 2)
    assert 0 < found["not_taken_as_faults"] < sum(found["faults"].values())


def test_an_error_in_a_thread_ends_the_soak(known) -> None:
    known.classifier._session = Answering(lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        soak(known, 100, 2)
