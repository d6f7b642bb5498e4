from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from drupe.models.early_features import DistanceLayer, early_features, early_stages, watching
from drupe.models.geometry import Geometry
from drupe.models.network import Network, build_network
from drupe.models.type_head import NoFeaturesError


def network_of(architecture: str = "test_resnet", **seen) -> Network:
    torch.manual_seed(0)
    built = build_network(
        architecture,
        input_range="unit",
        geometry=Geometry(64, **seen),
        pretrained=False,
        frozen=False,
    )
    return built.network.eval()


def test_distances_are_those_of_mahalanobis() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(6, 6))
    fit = (random.normal(size=(5_000, 6)) @ mixing + 3).astype(np.float32)
    new = (3 * random.normal(size=(50, 6)) @ mixing + 3).astype(np.float32)
    found = DistanceLayer.of(fit)(torch.from_numpy(new)).numpy()
    away = new - fit.mean(0)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(fit.T)), away) / 6)
    # The ridge makes the narrowest directions count less.
    assert np.corrcoef(found, exact)[0, 1] > 0.97
    assert np.mean(found / exact) == pytest.approx(1, abs=0.25)
    own = DistanceLayer.of(fit)(torch.from_numpy(fit)).numpy()
    assert np.sqrt(np.square(own).mean()) == pytest.approx(1, abs=0.1)


def test_a_feature_that_never_varies_is_no_obstacle() -> None:
    fit = np.zeros((200, 3), np.float32)
    fit[:, 0] = np.random.default_rng(0).normal(size=200)
    layer = DistanceLayer.of(fit)
    near, far = layer(torch.tensor([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]])).tolist()
    assert near < 1 < 10 < far
    with pytest.raises(NoFeaturesError, match="say the same of every image"):
        DistanceLayer.of(np.ones((9, 2), np.float32))


def test_features_are_means_over_views() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    one, four = network_of(), network_of(views=4)
    turned = [images[:, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    seen = np.mean([early_features(one, np.ascontiguousarray(each)) for each in turned], axis=0)
    np.testing.assert_allclose(early_features(four, images), seen, rtol=1e-4, atol=1e-5)


def test_batches_change_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)
    network = network_of()
    single = np.concatenate([early_features(network, images[[place]]) for place in (0, 69)])
    np.testing.assert_allclose(early_features(network, images)[[0, 69]], single, rtol=1e-4)


def test_hooks_are_gone_afterwards() -> None:
    network = network_of()
    early_features(network, np.zeros((1, 64, 64, 3), np.uint8))
    assert not any(one._forward_hooks for one in early_stages(network.backbone))


def test_networks_without_stages_are_refused() -> None:
    with pytest.raises(NoFeaturesError, match="doesn't name its stages"):
        early_stages(nn.Linear(2, 2))
    with (
        pytest.raises(NoFeaturesError, match="give no maps"),
        watching((stage := nn.Linear(2, 2),)),
    ):
        stage(torch.zeros(1, 2))


def test_a_transformers_tokens_are_no_maps() -> None:
    network = network_of("test_vit", resolution=160)
    with pytest.raises(NoFeaturesError, match="give no maps"):
        early_features(network, np.zeros((1, 64, 64, 3), np.uint8))
