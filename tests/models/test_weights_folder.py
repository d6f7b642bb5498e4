"""Which file of a folder holds the weights of a network, and which holds none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from drupe.models.weights import find_in_folder


@pytest.mark.parametrize(
    "described", [None, "{}", "no JSON", "[1]", '{"architecture": 5}', '{"architecture": "gone"}']
)
def test_weights_that_do_not_say_what_they_are_of_serve_none(
    tmp_path: Path, described: str | None
) -> None:
    metadata = None if described is None else {"drupe": described}
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors", metadata=metadata)
    assert find_in_folder("test_resnet", tmp_path) is None


def test_a_damaged_file_serves_none(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    assert find_in_folder("test_resnet", tmp_path) is None


def test_a_tag_is_served_by_a_file_with_that_tag_only(tmp_path: Path) -> None:
    (tmp_path / "resnet18.safetensors").touch()
    assert find_in_folder("resnet18.a2_in1k", tmp_path) is None
    tagged = tmp_path / "resnet18.a2_in1k.safetensors"
    tagged.touch()
    assert find_in_folder("resnet18.a2_in1k", tmp_path) == tagged
    assert find_in_folder("resnet18", tmp_path) == tmp_path / "resnet18.safetensors"


@pytest.mark.parametrize("stem", ["mobilenet_v3_large", "mobilenetv3_large_100"])
def test_a_file_may_carry_the_curated_or_the_timm_name(stem: str, tmp_path: Path) -> None:
    (tmp_path / f"{stem}.pth").touch()
    assert find_in_folder("mobilenet_v3_large", tmp_path) == tmp_path / f"{stem}.pth"
