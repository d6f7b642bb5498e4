from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch

from drupe.errors import InputError
from drupe.models.zoo import CURATED, check_input, construction_arguments, resolve, user_facing


def test_importing_the_zoo_imports_nothing_heavy() -> None:
    code = "import sys, drupe.models.zoo; sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", CURATED)
def test_a_curated_entry_says_what_timm_builds(name: str) -> None:
    entry = CURATED[name]
    with torch.device("meta"):
        network = timm.create_model(entry.timm_name, num_classes=1000).eval()
        smallest = network(torch.zeros(1, 3, entry.smallest_side, entry.smallest_side))
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert entry.parameters == pytest.approx(millions, abs=0.005)
    assert max(stage["reduction"] for stage in network.feature_info) == entry.smallest_side
    assert smallest.shape == (1, 1000)


def test_published_parameter_counts() -> None:
    counts = {name: round(CURATED[name].parameters, 1) for name in CURATED}
    assert counts["convnext_tiny"] == 28.6
    assert counts["efficientnet_b2"] == 9.1
    assert counts["efficientnet_b3"] == 12.2


def test_curated_names_for_people_leave_the_test_networks_out() -> None:
    assert "resnet50" in user_facing()
    assert not any(name.startswith("test_") for name in user_facing())


@pytest.mark.parametrize(
    ("architecture", "timm_name"),
    [
        ("efficientnet_lite0", "tf_efficientnet_lite0"),
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
        ("efficientnet_lite0.in1k", "tf_efficientnet_lite0.in1k"),
        ("resnet34", "resnet34"),
        ("resnet50.a2_in1k", "resnet50.a2_in1k"),
    ],
)
def test_names_resolve_to_timm(architecture: str, timm_name: str) -> None:
    assert resolve(architecture) == timm_name


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("resnt50", "did you mean resnet50, "),
        ("efficientnet-lite0", "did you mean efficientnet_lite0, "),
        ("vit_small_patch16_22", "did you mean vit_small_patch16_224, "),
    ],
)
def test_an_unknown_network_is_met_with_the_nearest_names(wrong: str, nearest: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(wrong)
    assert str(caught.value).startswith(f"model.architecture: no such network {wrong!r} ({nearest}")
    assert "curated: resnet18, resnet50" in str(caught.value)


@pytest.mark.parametrize("wrong", ["", "hf-hub:timm/resnet18", "../resnet18", "*", "xyzzy"])
def test_names_that_resemble_nothing_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match="no such network"):
        resolve(wrong)


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ("resnet18.a9", "one of a1_in1k, a2_in1k"),
        ("resnet18.", "one of a1_in1k"),
        ("test_mambaout.in1k", "left out"),
    ],
)
def test_an_unknown_weights_tag_is_met_with_the_known_ones(wrong: str, allowed: str) -> None:
    with pytest.raises(InputError, match=f"the tag of '.*' must be {allowed}"):
        resolve(wrong)


@pytest.mark.parametrize(
    ("architecture", "side"),
    [
        ("convnext_tiny", 32),
        ("resnet50", 128),
        ("resnet34", 96),
        ("test_vit", 128),
        ("test_vit", 96),
        ("test_maxvit", 128),
        ("test_byobnet", 32),
        ("xcit_tiny_12_p8_224", 64),
    ],
)
def test_sides_that_networks_take(architecture: str, side: int) -> None:
    check_input(architecture, side)
    arguments = construction_arguments(architecture, side)
    network = timm.create_model(resolve(architecture), num_classes=2, **arguments).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 2)


@pytest.mark.parametrize(
    ("architecture", "side", "allowed"),
    [
        ("convnext_tiny", 31, "images of at least 32 × 32 pixels"),
        ("resnet34", 16, "images of at least 32 × 32 pixels"),
        ("test_vit", 100, "multiples of its patch size 16"),
        ("xcit_tiny_12_p8_224", 100, "sizes such as 224 "),
        ("test_maxvit", 100, "sizes such as 160 "),
        ("inception_v3", 64, "sizes such as 299 "),
    ],
)
def test_sides_that_networks_refuse(architecture: str, side: int, allowed: str) -> None:
    with pytest.raises(InputError) as caught:
        check_input(architecture, side)
    message = str(caught.value)
    assert message.startswith(f"input.size: network '{architecture}' takes {allowed}")
    assert message.endswith(f"(after input.crop and input.resolution), got {side}")


def test_checking_an_unknown_network_names_the_architecture() -> None:
    with pytest.raises(InputError, match=r"model\.architecture: no such network"):
        check_input("resnt50", 128)


def test_checking_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(InputError):
        check_input("inception_v3", 66)  # refused on the meta device, then built on the CPU
    assert torch.equal(torch.get_rng_state(), before)
