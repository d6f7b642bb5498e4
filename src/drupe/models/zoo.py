"""The networks by name, and the image sizes that each can take.

Nothing heavy is imported here before a name outside :data:`CURATED` is asked for: a
configuration is validated long before a network is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from drupe.errors import InputError
from drupe.sides import Size, height_and_width

SUGGESTIONS = 3


@dataclass(frozen=True)
class ZooEntry:
    """A curated network.

    parameters: millions, with the 1,000-class ImageNet head. smallest_side: pixels, the total
    stride: a smaller image would leave the last feature map less than one cell.
    """

    timm_name: str
    description: str
    parameters: float
    smallest_side: int = 32


CURATED: Mapping[str, ZooEntry] = MappingProxyType(
    {
        "resnet18": ZooEntry("resnet18", "small residual network", 11.69),
        "resnet50": ZooEntry("resnet50", "the residual network that everyone knows", 25.56),
        "seresnet50": ZooEntry("seresnet50", "ResNet50 with channel attention", 28.09),
        "convnext_tiny": ZooEntry("convnext_tiny", "modern convolutions, 7 × 7", 28.59),
        "convnextv2_tiny": ZooEntry(
            "convnextv2_tiny", "ConvNeXt with response normalisation", 28.64
        ),
        "efficientnet_b0": ZooEntry("efficientnet_b0", "depthwise convolutions, small", 5.29),
        "efficientnet_b2": ZooEntry("efficientnet_b2", "depthwise convolutions, medium", 9.11),
        "efficientnet_b3": ZooEntry("efficientnet_b3", "depthwise convolutions, large", 12.23),
        "efficientnet_lite0": ZooEntry(
            "tf_efficientnet_lite0", "EfficientNet for line PCs: ReLU6, no attention", 4.65
        ),
        "efficientnet_lite1": ZooEntry("tf_efficientnet_lite1", "the same, a size up", 5.42),
        "efficientnet_lite2": ZooEntry("tf_efficientnet_lite2", "the same, two sizes up", 6.09),
        "mobilenet_v3_large": ZooEntry("mobilenetv3_large_100", "made for phones", 5.48),
        "test_resnet": ZooEntry("test_resnet", "tiny, for tests", 0.47),
        "test_efficientnet": ZooEntry("test_efficientnet", "tiny, for tests", 0.36),
        "test_convnext": ZooEntry("test_convnext", "tiny, for tests", 0.27),
    }
)
"""Drupe's own names. Any timm name, also with a weights tag (``resnet50.a2_in1k``), works too."""


def user_facing() -> tuple[str, ...]:
    """Return the curated names without those that only tests use."""
    return tuple(name for name in CURATED if not name.startswith("test_"))


def resolve(architecture: str) -> str:
    """Return the timm name of ``architecture``: a curated name, or a timm name as it is.

    Raises:
        InputError: no such network (the nearest names are given), or no such weights tag.
    """
    if architecture in CURATED:
        return CURATED[architecture].timm_name
    import timm

    name, _, tag = architecture.partition(".")
    curated = CURATED[name].timm_name if name in CURATED else name
    if curated not in timm.list_models():
        raise InputError(
            f"model.architecture: no such network {architecture!r}{_nearest(name)}; "
            f"curated: {', '.join(user_facing())}; any timm name works too"
        )
    tags = sorted(full.partition(".")[2] for full in timm.list_pretrained(f"{curated}.*"))
    if (tag or "." in architecture) and tag not in tags:
        known = f"one of {', '.join(tags)}" if tags else "left out"
        raise InputError(f"model.architecture: the tag of {curated!r} must be {known}, got {tag!r}")
    return f"{curated}.{tag}" if tag else curated


def _nearest(name: str) -> str:
    """Return a "did you mean" with the nearest names, curated ones first."""
    import timm

    found = get_close_matches(name, list(CURATED), n=SUGGESTIONS)
    found += get_close_matches(name, timm.list_models(), n=SUGGESTIONS)
    nearest = list(dict.fromkeys(found))[:SUGGESTIONS]
    return f" (did you mean {', '.join(nearest)}?)" if nearest else ""


def construction_arguments(architecture: str, side: Size, channels: int = 3) -> dict[str, Any]:
    """Return what ``timm.create_model`` must be told to build the network for images of ``side``.

    Networks with position embeddings or fixed windows are built for one size; others take any.
    """
    mono = {"in_chans": channels} if channels != 3 else {}
    if architecture in CURATED:
        return mono
    from timm.models import get_pretrained_cfg

    configuration = get_pretrained_cfg(resolve(architecture))
    fixed = configuration is not None and configuration.fixed_input_size
    return {"img_size": side, **mono} if fixed else mono


def check_input(architecture: str, side: Size, key: str = "input.size", channels: int = 3) -> None:
    """Refuse a ``side`` (pixels, after crop and resizing) or channels that the network can't take.

    ``key`` is the one that the side stands in, for the message.

    Curated networks are looked up. Any other is built without weights, on torch's meta device
    where nothing is computed, and a forward pass of that size is traced: about 0.1 to 1 s.

    Raises:
        InputError: no such network, or it can't take such images.
    """
    if architecture in CURATED:
        smallest = CURATED[architecture].smallest_side
        allowed = None if min(height_and_width(side)) >= smallest else _at_least(smallest)
    else:
        allowed = _allowed_sides(resolve(architecture), side, channels)
    if allowed is not None:
        got = side if isinstance(side, int) else list(side)
        of = "" if channels == 3 else f" of {channels} channel"
        raise InputError(
            f"{key}: network {architecture!r} takes {allowed} (after input.crop and "
            f"input.resolution), got {got}{of}"
        )


def _at_least(smallest: int) -> str:
    return f"images of at least {smallest} × {smallest} pixels"


@lru_cache(maxsize=256)
def _allowed_sides(timm_name: str, side: Size, channels: int) -> str | None:
    """Return None where the network takes ``side``, else a description of what it takes."""
    try:
        return _trace(timm_name, side, channels, "meta")
    except Exception:  # some networks can't be built on the meta device: let the CPU decide
        pass
    try:
        return _trace(timm_name, side, channels, "cpu")
    except Exception as error:  # whatever a foreign network raises, it can't take this size
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f"sizes such as {_native_side(timm_name)} ({reason})"


def _native_side(timm_name: str) -> int:
    from timm.models import get_pretrained_cfg

    configuration = get_pretrained_cfg(timm_name)
    return int(configuration.input_size[-1]) if configuration else 224


def _trace(timm_name: str, side: Size, channels: int, device: str) -> str | None:
    """Build the network and send one image through; return what it takes if not ``side``."""
    import timm
    import torch

    height, width = height_and_width(side)
    arguments = construction_arguments(timm_name, side, channels)
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        network = timm.create_model(timm_name, num_classes=2, **arguments).eval()
        stages = getattr(network, "feature_info", None) or []
        strides = [stage["reduction"] for stage in stages if isinstance(stage, dict)]
        smallest = max(strides, default=1)
        if min(height, width) < smallest:
            return _at_least(smallest)
        patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
        patch = patch if isinstance(patch, int) else patch[0]
        # A patch that is cut off would be dropped without a word, and with it what it shows.
        if height % patch or width % patch:
            return f"multiples of its patch size {patch}"
        logits = network(torch.zeros(1, channels, height, width))
    if getattr(logits, "shape", None) != (1, 2):
        raise InputError("it does not end in one row of logits, as a classifier does")
    return None
