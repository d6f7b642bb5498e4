from __future__ import annotations

import pytest
import torch

from drupe.models.ensemble import Ensemble
from drupe.models.geometry import Geometry
from drupe.models.network import Network, build_network


def network(seed: int, input_range: str = "raw", **seen) -> Network:
    torch.manual_seed(seed)
    built = build_network(
        "test_resnet",
        input_range=input_range,
        geometry=Geometry(**{"size": 64, **seen}),
        pretrained=False,
        frozen=False,
    )
    return built.network.eval()


IMAGES = torch.randint(
    0, 256, (5, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def test_it_is_the_mean_of_what_each_member_says_at_its_own_temperature() -> None:
    first = network(0, crop=48, resolution=32, views=2)
    second, third = network(1, "imagenet"), network(2, "unit", views=4)
    ensemble = Ensemble([first, second, third], [0.5, 2.0, 1.0])

    with torch.inference_mode():
        z = [one.defect_logit(IMAGES) for one in (first, second, third)]
        found = ensemble.defect_logit(IMAGES)

    torch.testing.assert_close(found, (2 * z[0] + z[1] / 2 + z[2]) / 3)
    assert found.dtype == torch.float32
    assert found.std() > 0
    assert ensemble.geometry == Geometry(64, views=4)


@pytest.mark.parametrize(
    ("networks", "temperatures"),
    [
        ([network(0)], [1.0]),
        ([network(0), network(1)], [1.0]),
        ([network(0), network(1, size=32)], [1.0, 1.0]),
    ],
)
def test_members_that_do_not_fit_together_are_refused(networks, temperatures) -> None:
    with pytest.raises(ValueError, match="members: must be at least two networks"):
        Ensemble(networks, temperatures)
