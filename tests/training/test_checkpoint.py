from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from drupe.errors import InputError, TrainingDivergedError
from drupe.training.engine import Trainer
from drupe.training.run import train_run
from drupe.training.tensor_file import load_tensors, save_tensors


@pytest.fixture
def config(tiny):
    return tiny(training={"checkpoint_every": 1})


@pytest.fixture
def cut(config, store, tmp_path, monkeypatch) -> Path:
    """A run that stopped in its second epoch; its checkpoint is of the first."""
    train_epoch = Trainer.train_epoch

    def stop(self, epoch, tracker):
        if epoch == 1:
            raise MemoryError
        return train_epoch(self, epoch, tracker)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", stop)
        with pytest.raises(MemoryError):
            train_run(config, tmp_path / "cut", store)
    return tmp_path / "cut"


def damages(tensors, state):
    """Yield (what it is, tensors, document) of checkpoints that can't be resumed."""
    for document in ({}, [], None, 5, {**state, "epoch": "x"}, {**state, "epoch": 99}):
        yield f"metadata {document!r:.40}", tensors, document
    yield (
        "no optimiser",
        {name: value for name, value in tensors.items() if not name.startswith("optimiser/")},
        state,
    )
    yield "a foreign tensor", {**tensors, "network/foreign": torch.ones(1)}, state
    first = next(name for name in tensors if name.startswith("optimiser/0."))
    index = {name: value for name, value in tensors.items() if name != first}
    yield "an index too high", {**index, first.replace("/0.", "/999."): tensors[first]}, state
    bias = next(name for name in tensors if name.endswith("bias"))
    yield "another shape", {**tensors, bias: torch.ones(1000)}, state
    one_bit = tensors[bias].clone()
    one_bit.view(torch.uint8)[0] ^= 1
    yield "a single other bit", {**tensors, bias: one_bit}, state
    yield "NaN", {**tensors, bias: tensors[bias] * float("nan")}, state


def test_what_cannot_be_resumed_is_refused_with_the_remedy(config, cut, store):
    file = cut / "checkpoint" / "state.safetensors"
    whole = file.read_bytes()

    def refused(what: str) -> None:
        with pytest.raises(InputError) as caught:
            train_run(config, cut, store, resume=True)
        assert str(file) in str(caught.value), what
        assert f"to start the run anew, delete {file.parent}" in str(caught.value), what

    for what, tensors, document in damages(*load_tensors(file)):
        save_tensors(file, tensors, document)
        refused(what)
    file.write_bytes(whole[:1000])
    refused("truncated")
    file.unlink()
    file.mkdir()
    refused("a folder")

    shutil.rmtree(file.parent)
    assert not train_run(config, cut, store, resume=True).already_done


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), "the weights of .* became NaN or infinite by the end of epoch 2: lower"),
        (1e30, "the trained network answers with NaN or infinity: lower"),
    ],
)
def test_weights_that_blow_up_in_the_last_update(
    config, store, tmp_path, monkeypatch, value, message
):
    train_step = Trainer.train_step

    def poisoned(self, epoch, step, items, random):
        answer = train_step(self, epoch, step, items, random)
        if (epoch, step) == (1, self.steps_per_epoch - 1):
            with torch.no_grad():
                for network in (self.network, self.average.module):
                    for parameter in network.parameters():
                        parameter.fill_(value)
        return answer

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(TrainingDivergedError, match=message):
        train_run(config, tmp_path / "run", store)

    tensors, _ = load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
