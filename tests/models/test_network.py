from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from drupe.models.geometry import Geometry
from drupe.models.network import InputScale, Network, build_network


def build(architecture: str = "test_resnet", seed: int = 0, **changes: Any) -> Network:
    keys = {field.name for field in fields(Geometry)}
    geometry = {"size": 64, **{key: changes.pop(key) for key in keys & set(changes)}}
    arguments: dict[str, Any] = {"input_range": "raw", "pretrained": False, "frozen": False}
    torch.manual_seed(seed)
    changes["geometry"] = Geometry(**geometry)
    return build_network(architecture, **{**arguments, **changes}).network


def camera_images(count: int = 3, side: int = 64) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=random)


def test_imagenet_scale_is_torchvisions_normalisation() -> None:
    images = camera_images().permute(0, 3, 1, 2)
    usual = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    scaled = InputScale("imagenet")(images.float())
    torch.testing.assert_close(scaled, usual(images), atol=1e-5, rtol=0)


def test_raw_and_unit_scales() -> None:
    pixels = torch.tensor([0.0, 51.0, 255.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert torch.equal(InputScale("raw")(pixels), pixels)
    assert InputScale("unit")(pixels)[0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_scale_is_neither_learnt_nor_stored() -> None:
    network = build(input_range="imagenet")
    assert not list(network.scale.parameters())
    assert all(name.startswith("backbone.") for name in network.state_dict())


def test_the_range_reaches_the_backbone() -> None:
    raw, unit = build().eval(), build(input_range="unit").eval()
    pixels = camera_images().permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        torch.testing.assert_close(unit(pixels), raw(pixels / 255))


def test_bytes_and_floats_give_the_same_logits() -> None:
    network, images = build(input_range="imagenet").eval(), camera_images()
    with torch.inference_mode():
        from_bytes = network(images)
        from_floats = network(images.permute(0, 3, 1, 2).float())
    assert from_bytes.shape == (3, 2)
    assert torch.equal(from_bytes, from_floats)


def test_bytes_are_cropped_to_the_centre_and_floats_are_not() -> None:
    network, images = build(crop=48).eval(), camera_images()
    centre = images[:, 8:56, 8:56].permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        assert torch.equal(network(images), network(centre))
        whole = network(images.permute(0, 3, 1, 2).float())
    assert not torch.equal(whole, network(centre))


def test_an_odd_crop_margin_leaves_the_extra_row_below() -> None:
    network, images = build(crop=47).eval(), camera_images()
    with torch.inference_mode():
        centre = images[:, 8:55, 8:55].permute(0, 3, 1, 2).float()
        assert torch.equal(network(images), network(centre))


@pytest.mark.parametrize("shape", [(2, 48, 48, 3), (2, 3, 64, 64), (2, 64, 64, 4), (64, 64, 3)])
def test_bytes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images: must be \[N, 64, 64, 3\], got"):
        build()(torch.zeros(shape, dtype=torch.uint8))


def test_defect_logit_is_defect_minus_clean() -> None:
    network, images = build().eval(), camera_images()
    with torch.inference_mode():
        clean, defect = network(images).unbind(1)
        z = network.defect_logit(images)
    assert z.dtype == torch.float32
    assert torch.equal(z, defect - clean)


def test_same_seed_same_weights_and_another_seed_others() -> None:
    first, same, other = build(seed=5), build(seed=5), build(seed=6)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True)
    )
    head, other_head = first.backbone.fc.weight, other.backbone.fc.weight  # type: ignore[union-attr]
    assert not torch.equal(head, other_head)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_the_first_logits_lie_near_zero(architecture: str) -> None:
    network = build(architecture, input_range="imagenet").eval()
    with torch.inference_mode():
        assert network(camera_images()).abs().max() < 1


def test_state_is_contiguous_float32_with_counters_as_the_exception() -> None:
    for name, tensor in build("test_efficientnet").state_dict().items():
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32 or name.endswith("num_batches_tracked")


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_a_frozen_network_learns_in_its_head_alone(architecture: str) -> None:
    network = build(architecture, frozen=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.1)
    loss = nn.functional.cross_entropy(network(camera_images()), torch.tensor([0, 1, 1]))
    loss.backward()
    optimiser.step()
    changed = {
        name
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    head = {"test_resnet": "fc", "test_convnext": "head.fc", "test_vit": "head"}[architecture]
    assert changed == {f"backbone.{head}.weight", f"backbone.{head}.bias"}


def test_training_an_unfrozen_network_moves_batch_statistics() -> None:
    network = build().train()
    mean = network.state_dict()["backbone.bn1.running_mean"].clone()
    network(camera_images())
    assert not torch.equal(network.state_dict()["backbone.bn1.running_mean"], mean)


def test_train_and_eval_reach_everything_but_a_frozen_backbone() -> None:
    assert build().train().backbone.training
    assert not build().eval().backbone.training
    frozen = build(frozen=True).train()
    assert frozen.training
    assert not frozen.backbone.training


def test_channels_last_and_bf16_autocast() -> None:
    network, images = build(input_range="imagenet").eval(), camera_images()
    pixels = images.permute(0, 3, 1, 2).float().contiguous()
    with torch.inference_mode():
        plain = network(pixels)
        network.to(memory_format=torch.channels_last)
        last = network(pixels.contiguous(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            reduced = network.defect_logit(images)
    torch.testing.assert_close(last, plain, atol=1e-4, rtol=1e-4)
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, plain[:, 1] - plain[:, 0], atol=0.05, rtol=0.05)


def test_the_graph_can_be_exported_for_any_batch() -> None:
    network = build(input_range="imagenet", crop=48).eval()
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(network, (camera_images(2),), dynamic_shapes=batch)
    images = camera_images(5)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(images), network(images))


def test_a_network_for_one_size_is_built_for_the_crop() -> None:
    network = build("test_vit", crop=48).eval()
    with torch.inference_mode():
        assert network(camera_images()).shape == (3, 2)


def test_bytes_are_cropped_resized_and_seen_from_all_views() -> None:
    network = build(crop=40, resolution=64, views=8).eval()
    images = camera_images()
    centre = images[:, 12:52, 12:52].permute(0, 3, 1, 2).float()
    seen = F.interpolate(centre, (64, 64), mode="bilinear", antialias=True)
    views = [one for flipped in (seen, seen.flip(3)) for one in _quarter_turns(flipped)]
    with torch.inference_mode():
        expected = torch.stack([network(view) for view in views]).mean(0)
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


def test_with_eight_views_a_turned_image_gets_the_same_logits() -> None:
    images = camera_images()
    turned = images.rot90(1, (1, 2)).flip(1)
    one, eight = build().eval(), build(views=8).eval()
    with torch.inference_mode():
        assert (one(images) - one(turned)).abs().max() > 1e-3
        torch.testing.assert_close(eight(images), eight(turned), atol=1e-5, rtol=1e-4)


def _quarter_turns(pixels: torch.Tensor) -> list[torch.Tensor]:
    return [pixels.rot90(turns, (2, 3)) for turns in range(4)]


@pytest.mark.parametrize("input_range", ["raw", "unit", "imagenet"])
def test_the_scale_of_one_deep_channel(input_range) -> None:
    """Black and white become what they are in bytes; of the three channels it takes the average."""
    levels = torch.tensor([0.0, 0.5, 1.0])
    bytes_ = (255 * levels).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    mean, std = (0.449, 0.226) if input_range == "imagenet" else (0.0, 1.0)
    expected = (levels - mean) / std * (255 if input_range == "raw" else 1)
    deep = InputScale(input_range, 1, 4095)((4095 * levels).view(1, 1, 1, 3))
    torch.testing.assert_close(deep.flatten(), expected, atol=1e-3, rtol=1e-6)
    if input_range != "imagenet":
        torch.testing.assert_close(deep[0, 0], InputScale(input_range)(bytes_)[0, 0])


def test_a_mono_network_takes_raw_images_of_one_channel() -> None:
    network = build(channels=1, white_level=1023, input_range="unit", crop=48).eval()
    images = (camera_images()[..., :1].to(torch.int32) * 4).to(torch.uint16)
    with torch.inference_mode():
        pixels = images[:, 8:56, 8:56].permute(0, 3, 1, 2).float()
        torch.testing.assert_close(network(images), network(pixels))
        with pytest.raises(ValueError, match=r"must be \[N, 64, 64, 1\], got \[3, 64, 64, 3\]"):
            network(camera_images())


def test_images_that_are_not_square_are_cut_resized_and_mirrored() -> None:
    network = build(size=(40, 64), crop=(32, 60), resolution=(48, 64), views=4).eval()
    images = camera_images()[:, :40].contiguous()
    cut = images[:, 4:36, 2:62].permute(0, 3, 1, 2).float()
    resized = F.interpolate(cut, (48, 64), mode="bilinear", antialias=True)
    views = (resized, resized.flip(3), resized.flip(2), resized.flip(2, 3))
    with torch.inference_mode():
        expected = torch.stack([network(view) for view in views]).mean(0)
        torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)
