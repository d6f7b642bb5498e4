from __future__ import annotations

import numpy as np
import pytest

from drupe.data.synthetic.rendering import (
    DIMPLE_SHARES,
    PAIR_SHARE,
    SPOT_STRENGTHS,
    render_blanks,
    render_crops,
)


def render(count: int, pit: bool, seed: int = 3, size: int = 128) -> np.ndarray:
    return render_crops(np.full(count, pit), size, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return render(200, pit=False)


@pytest.fixture(scope="module")
def pits() -> np.ndarray:
    return render(200, pit=True, seed=4)


def extents(crops: np.ndarray) -> np.ndarray:
    lit = crops.max(axis=3) > 0
    across = [np.ptp(np.flatnonzero(mask.any(axis=0))) + 1 for mask in lit]
    down = [np.ptp(np.flatnonzero(mask.any(axis=1))) + 1 for mask in lit]
    return np.array([across, down])


# What the tests below demand was measured on 3,676 real crops of this kind.


def test_green_is_empty_and_the_border_black(clean: np.ndarray, pits: np.ndarray) -> None:
    for crops in (clean, pits):
        assert crops.dtype == np.uint8
        assert crops.shape == (200, 128, 128, 3)
        assert not crops[..., 1].any()
        assert np.median(crops[:, :16].max(axis=(1, 2, 3))) == 0


def test_extent_is_that_of_real_fruit(clean: np.ndarray, pits: np.ndarray) -> None:
    sizes = np.concatenate([extents(clean), extents(pits)], axis=1)
    assert sizes.mean() == pytest.approx(54, abs=3)
    assert sizes.std() == pytest.approx(12, abs=3)


def test_light_inside_the_fruit_is_that_of_real_fruit(clean: np.ndarray, pits: np.ndarray) -> None:
    crops = np.concatenate([clean, pits])
    lit = crops.max(axis=3) > 0
    assert crops[..., 0][lit].mean() == pytest.approx(100, abs=12)
    assert crops[..., 2][lit].mean() == pytest.approx(132, abs=15)


def test_fruit_is_centred(clean: np.ndarray) -> None:
    lit = clean.max(axis=3) > 0
    middles = [
        (indices[0] + indices[-1]) / 2
        for mask in lit
        for indices in (np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1)))
    ]
    assert np.mean(middles) == pytest.approx(63.5, abs=0.3)
    assert np.percentile(np.abs(np.array(middles) - 63.5), 95) <= 3


def test_a_pit_is_redder_in_the_middle_and_some_are_faint(
    clean: np.ndarray, pits: np.ndarray
) -> None:
    def redness(crops: np.ndarray) -> np.ndarray:
        middle = crops[:, 56:72, 56:72].astype(float)
        return (middle[..., 0] - middle[..., 2]).mean(axis=(1, 2))

    with_pit, without = redness(pits), redness(clean)
    assert np.median(with_pit) > np.median(without) + 40
    assert with_pit.min() < np.median(without)  # redness of the middle alone doesn't decide
    assert without.max() > np.median(with_pit)


def test_the_best_possible_accuracy_lies_between_95_and_97_percent() -> None:
    # Bayes' rule on what differs between the classes: the spot's strength, and the dimple.
    strengths = np.linspace(0, 1, 10_001)
    width = strengths[1]

    def density(pit: bool) -> np.ndarray:
        total = np.zeros_like(strengths)
        for share, low, high in SPOT_STRENGTHS[pit]:
            inside = (strengths >= low) & (strengths <= high)
            total += share * inside / (inside.sum() * width)
        assert total.sum() * width == pytest.approx(1)
        return total

    best = 0.0
    for dimpled in (True, False):
        pit, clean = (
            DIMPLE_SHARES[label] if dimpled else 1 - DIMPLE_SHARES[label] for label in (True, False)
        )
        joint = np.maximum(0.46 * pit * density(True), 0.54 * clean * density(False))
        best += joint.sum() * width
    assert best == pytest.approx(0.964, abs=0.001)  # what the module promises


def test_some_crops_show_two_fruits(clean: np.ndarray) -> None:
    wide = (extents(clean).max(axis=0) > 84).mean()
    assert 0.25 * PAIR_SHARE < wide < 1.5 * PAIR_SHARE


def test_some_fruits_are_cut_flat(clean: np.ndarray) -> None:
    levels = clean.max(axis=3)
    rows = [np.flatnonzero(image.any(axis=1)) for image in levels]
    last = np.array([image[index[-1]].max() for image, index in zip(levels, rows, strict=True)])
    assert 0.1 < (last > 60).mean() < 0.9  # a sharp end against a soft one


def test_same_generator_same_pixels_another_generator_other_pixels() -> None:
    assert np.array_equal(render(20, True, seed=1), render(20, True, seed=1))
    other = render(20, True, seed=2)
    assert not any(
        np.array_equal(a, b) for a, b in zip(render(20, True, seed=1), other, strict=True)
    )


def test_fruits_differ_in_outline_and_texture(clean: np.ndarray) -> None:
    small = clean[..., ::2].reshape(200, 64, 2, 64, 2, 2).mean(axis=(2, 4)).reshape(200, -1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    alike = small @ small.T - np.eye(200)
    assert alike.max() < 0.99  # distinct real fruits reach 0.9885, copies exceed 0.9997


@pytest.mark.parametrize("size", [32, 75, 200])
def test_other_sizes_show_the_same_scene(size: int) -> None:
    crops = render(60, False, size=size)
    assert crops.shape == (60, size, size, 3)
    assert extents(crops).mean() / size == pytest.approx(54 / 128, abs=0.05)


def test_no_crops() -> None:
    assert render(0, True).shape == (0, 128, 128, 3)


def test_blanks_are_nearly_black_and_all_different() -> None:
    blanks = render_blanks(10, 64, np.random.default_rng(0))
    assert blanks.shape == (10, 64, 64, 3)
    assert blanks.max() <= 2
    assert not blanks[..., 1].any()
    assert len({image.tobytes() for image in blanks}) == 10
