from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from drupe.data.synthetic import rendering
from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.explain import explain
from drupe.deployment.runtime import load
from drupe.errors import InputError

pytestmark = pytest.mark.thorough

SIDE = 64


def pits_and_places(monkeypatch, count: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return crops with a pit, and where it is: bool [N, S, S], from the same crops without it."""
    with_pit = render_crops(np.ones(count, bool), side, np.random.default_rng(8))
    draw = rendering.draw_spot_strengths
    with monkeypatch.context() as patched:
        # Almost invisible, not left out: the same chances are drawn.
        patched.setattr(
            rendering, "draw_spot_strengths", lambda *given: np.minimum(draw(*given), 1e-3)
        )
        without = render_crops(np.ones(count, bool), side, np.random.default_rng(8))
    differs = np.abs(with_pit.astype(int) - without).max(3)
    visible = differs.max((1, 2)) > 60
    return with_pit[visible], differs[visible] > 25


def hits(explanations, places) -> float:
    found = [place[one.peak] for one, place in zip(explanations, places, strict=True)]
    return float(np.mean(found))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_trained_network_points_at_the_pits_that_it_finds(bundle, monkeypatch, backend) -> None:
    classifier = load(bundle, order="rgb", backend=backend)
    crops, places = pits_and_places(monkeypatch, 160)
    found = np.flatnonzero(classifier._scores(crops) > 0.5)
    assert len(found) >= 20
    explanations = [classifier.explain(crops[one]) for one in found[:40]]
    assert hits(explanations, places[found[:40]]) >= 0.9


def test_a_network_that_cheats_by_a_watermark_is_caught() -> None:
    """Trained on defects that all carry a mark in a corner: it looks at nothing else."""
    crops = render_crops(np.arange(240) % 2 == 1, SIDE, np.random.default_rng(1))
    crops[1::2, 4:10, 50:60] = (90, 200, 90)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 5, 2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveMaxPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 1),
    )
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    labels = torch.arange(240).remainder(2).float()
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(pixels)[:, 0], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def scores(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
            return torch.sigmoid(network(batch)[:, 0]).numpy()

    assert ((scores(crops) > 0.5) == (labels.numpy() > 0.5)).mean() > 0.95
    mark = np.zeros((SIDE, SIDE), bool)
    mark[2:12, 48:62] = True
    explanations = [explain(scores, crop) for crop in crops[1:40:2]]
    assert hits(explanations, [mark] * 20) >= 0.9


def test_heat_is_the_fall_of_the_logit_where_it_comes_from() -> None:
    image = np.full((40, 48, 3), 60, np.uint8)
    image[10:14, 30:34] = 255

    def scores(images: np.ndarray) -> np.ndarray:
        bright = images[:, 11:13, 31:33, 0].mean((1, 2)) / 255
        return (1 / (1 + np.exp(4 - 8 * bright))).astype(np.float32)

    found = explain(scores, image)
    assert found.score == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-6)
    assert found.heat.shape == (40, 48)
    row, column = found.peak
    assert abs(row - 11.5) <= 3
    assert abs(column - 31.5) <= 3
    assert 2 < found.heat.max() < 8 * (1 - 60 / 255)
    assert np.abs(found.heat[25:, :20]).max() < 1e-3
    constant = explain(lambda images: np.full(len(images), 0.3, np.float32), image)
    assert np.abs(constant.heat).max() < 1e-6


def test_the_overlay_is_a_picture(bundle, crops) -> None:
    classifier = load(bundle, order="rgb", backend="onnxruntime")
    found = classifier.explain(crops[0])
    with Image.open(io.BytesIO(found.png())) as picture:
        assert picture.size == (64, 64)
        assert np.array_equal(np.asarray(picture), found.overlay())
    assert found.score == pytest.approx(float(classifier._scores(crops[:1])[0]), abs=1e-6)
    with pytest.raises(InputError, match="must be one image, got several"):
        classifier.explain(crops)
