from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from drupe.data.image_contract import ImageContract
from drupe.deployment.eager import eager_subject, network_subject
from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.models.network import InputScale


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_decides_as_its_predictions_say(deployed) -> None:
    from drupe.data.decode import decode

    run, _, _ = deployed
    subject = eager_subject(run, 1)
    assert (subject.name, subject.threads) == (str(run), 1)
    assert subject.contract == ImageContract(64)
    assert torch.get_num_threads() == 1
    table = read_predictions(run / "predictions" / "test.csv")
    images = np.stack([decode(run.parent / "crops" / path) for path in table.paths])
    expected = np.where(table.scores < 0.5, "accept", "reject")
    assert subject.decide(images).tolist() == expected.tolist()


def test_a_score_of_a_half_is_rejected() -> None:
    class Fixed:
        image_shape = (8, 8, 3)
        scale = InputScale("raw")

        def defect_logit(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([-0.1, 0.0, 0.1])

    subject = network_subject("fixed", Fixed(), 2.0, 1)
    assert (subject.name, subject.backend, subject.precision) == ("fixed", "pytorch", "fp32")
    decisions = subject.decide(np.zeros((3, 8, 8, 3), np.uint8))
    assert decisions.tolist() == ["accept", "reject", "reject"]


def test_only_a_finished_run_is_timed(deployed, tmp_path) -> None:
    with pytest.raises(InputError, match=r"must be a bundle or a finished run, got no run\.json"):
        eager_subject(tmp_path, 1)
    run = shutil.copytree(deployed[0], tmp_path / "run")
    for status in ("running", "interrupted", "failed"):
        record = json.loads((run / "run.json").read_text()) | {"status": status}
        (run / "run.json").write_text(json.dumps(record))
        with pytest.raises(InputError) as caught:
            eager_subject(run, 1)
        assert str(caught.value) == (
            f"{run}: must be a bundle or a finished run, got a run that is {status}"
        )
