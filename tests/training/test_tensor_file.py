from __future__ import annotations

import errno

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from drupe.errors import InputError
from drupe.training import tensor_file as checkpoint
from drupe.training.tensor_file import (
    flatten_optimiser,
    load_tensors,
    load_weights,
    prefixed,
    restore_optimiser,
    save_tensors,
    under,
)


def test_tensors_and_document_survive(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.arange(3)}, {"epoch": 3})

    tensors, document = load_tensors(path)

    assert tensors["x"].tolist() == [0, 1, 2]
    assert document == {"epoch": 3}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip with a pickle"])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged, or not written by Drupe"):
        load_tensors(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "none.safetensors")


def test_a_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(InputError, match=r"damaged, or not written by Drupe \(a folder\)"):
        load_tensors(tmp_path)


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    def save_file(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors(tmp_path / "state.safetensors", {}, {})

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "state.safetensors")


def test_prefixes_part_what_they_joined():
    joined = {**prefixed("a", {"x": torch.ones(1)}), **prefixed("b", {"x": torch.zeros(1)})}

    assert under("a", joined)["x"].item() == 1
    assert under("b", joined)["x"].item() == 0


def step(network, optimiser, images):
    optimiser.zero_grad()
    network(images).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_restored_optimiser_steps_to_the_same_bits(tmp_path, kind):
    options = {"lr": 0.1, "fused": True} | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    torch.manual_seed(0)
    images = torch.randn(4, 3, 8, 8)
    network = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    optimiser = kind(network.parameters(), **options)
    step(network, optimiser, images)
    save_tensors(
        tmp_path / "a",
        {**prefixed("n", network.state_dict()), **prefixed("o", flatten_optimiser(optimiser))},
        {},
    )
    step(network, optimiser, images)

    tensors, _ = load_tensors(tmp_path / "a")
    other = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    other.load_state_dict(under("n", tensors))
    restored = kind(other.parameters(), **options)
    restore_optimiser(restored, under("o", tensors))
    step(other, restored, images)

    assert torch.equal(other.weight, network.weight)


def test_foreign_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="weights do not fit the network"):
        load_weights(nn.Linear(2, 2), {"weight": torch.ones(3, 2)}, tmp_path / "m.safetensors")


def test_an_optimiser_of_other_shapes_is_refused():
    optimiser = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"momentum_buffer: must have shape \[2, 2\], got \[3\]"):
        restore_optimiser(optimiser, {"0.momentum_buffer": torch.ones(3)})
