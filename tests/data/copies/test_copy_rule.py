from __future__ import annotations

import numpy as np
import pytest

from drupe.data.copies.copy_rule import complete_linkage, duplicate_groups, join, pixel_key


def random_images(count: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(24, 24), (25, 25), (31, 17), (5, 5), (1, 1), (128, 96)])
def test_pixel_key_ignores_turns_and_flips_and_nothing_else(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    keys = {
        pixel_key(np.rot90(flipped, turns))
        for turns in range(4)
        for flipped in (image, image[:, ::-1])
    }
    assert len(keys) == 1
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_key(changed) not in keys


def test_pixel_key_of_a_symmetric_outline_with_one_odd_pixel() -> None:
    image = np.zeros((28, 28, 3), dtype=np.uint8)  # all coarse sums tie but one
    image[13, 14] = 9
    assert pixel_key(image) == pixel_key(image[::-1]) == pixel_key(np.rot90(image))


def test_identical_bytes_and_turned_pixels_share_the_smallest_index() -> None:
    images = random_images(6)
    images[3] = np.rot90(images[1])
    images[5] = images[3][:, ::-1]
    digests = ["a", "b", "c", "d", "a", "e"]
    assert duplicate_groups(images, digests).tolist() == [0, 1, 2, 1, 0, 1]
    assert duplicate_groups(images, digests).dtype == np.int32


def test_no_images_give_no_groups() -> None:
    assert duplicate_groups(np.zeros((0, 8, 8, 3), np.uint8), []).tolist() == []


def test_join_connects_through_both_groupings() -> None:
    one = np.array([0, 0, 2, 3, 4], dtype=np.int32)
    other = np.array([0, 1, 1, 3, 3], dtype=np.int32)
    assert join(one, other).tolist() == [0, 0, 0, 3, 3]


def linked(count: int, *pairs: tuple[int, int]) -> list[int]:
    first, second = (np.array(column, dtype=np.intp) for column in zip(*pairs, strict=True))
    return complete_linkage(np.arange(count, dtype=np.int32), first, second).tolist()


def test_a_chain_does_not_become_one_group() -> None:
    assert linked(4, (0, 1), (1, 2), (2, 3)) == [0, 0, 2, 2]


def test_a_clique_becomes_one_group() -> None:
    assert linked(4, (1, 2), (0, 2), (0, 1)) == [0, 0, 0, 3]


def test_more_evident_pairs_come_first() -> None:
    assert linked(3, (1, 2), (0, 1)) == [0, 1, 1]


def test_identical_images_follow_their_first() -> None:
    identical = np.array([0, 1, 0, 1], dtype=np.int32)
    assert complete_linkage(identical, np.array([0]), np.array([1])).tolist() == [0, 0, 0, 0]
