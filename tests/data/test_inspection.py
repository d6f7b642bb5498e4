from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drupe.data import inspection as module
from drupe.data.copies.patches import WINDOW, window
from drupe.data.copies.sketches import Sketches
from drupe.data.inspection import CHUNK, Inspection, fetch_window, inspect_files
from drupe.progress import silent


def save(path: Path, pixels: np.ndarray, mode: str = "RGB") -> str:
    Image.fromarray(pixels).convert(mode).save(path)
    return path.name


def block(
    seed: int, height: int = 64, width: int = 64, *, rows=slice(10, 40), columns=slice(20, 50)
) -> np.ndarray:
    """Random light grey levels within a block on black: uint8 [H, W, 3]."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    shape = image[rows, columns].shape
    image[rows, columns] = np.random.default_rng(seed).integers(60, 256, shape)
    return image


def inspect(root: Path, paths: list[str], workers: int = 2) -> Inspection:
    with Sketches(len(paths)) as sketches:
        return inspect_files(root, paths, sketches, workers=workers, progress=silent)


def test_one_image_file_in_full(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", block(0))
    found = inspect(tmp_path, [path])
    assert found.digests == [hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()]
    assert found.sizes == [(64, 64)]
    assert found.mode_counts() == {"PNG RGB": 1}
    assert found.unreadable == {}
    assert found.blank == []
    box = found.content_box()
    assert box is not None
    assert (box["image_side"], box["images"]) == (64, 1)
    assert (box["top"], box["bottom"], box["left"], box["right"]) == (10, 40, 20, 50)
    assert (box["mean_height"], box["mean_width"]) == (30, 30)


def test_what_files_are_is_counted_by_format_mode_and_size(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "a.png", block(0)),
        save(tmp_path / "b.png", block(1), "L"),
        save(tmp_path / "c.jpg", block(2, 64, 80)),
        save(tmp_path / "d.bmp", block(3)),
        save(tmp_path / "e.png", block(4, 80, 64)),
    ]
    found = inspect(tmp_path, paths)
    assert found.mode_counts() == {"PNG RGB": 2, "PNG L": 1, "JPEG RGB": 1, "BMP RGB": 1}
    # (width, height): c is wide, e is tall.
    assert found.sizes == [(64, 64), (64, 64), (80, 64), (64, 64), (64, 80)]
    assert found.size_counts() == Counter({(64, 64): 3, (80, 64): 1, (64, 80): 1})


def test_keys_are_those_of_the_pixels(tmp_path: Path) -> None:
    image = block(5)
    paths = [
        save(tmp_path / "a.png", image),
        save(tmp_path / "b.bmp", image),
        save(tmp_path / "c.png", np.rot90(image)),
        save(tmp_path / "d.png", image[:, ::-1]),
        save(tmp_path / "e.png", block(6)),
    ]
    found = inspect(tmp_path, paths)
    assert len(set(found.digests)) == 5
    assert len(set(found.keys[:4])) == 1
    assert found.keys[4] != found.keys[0]


def test_a_file_that_gives_no_image_is_a_finding(tmp_path: Path) -> None:
    whole = (tmp_path / save(tmp_path / "a.png", block(7))).read_bytes()
    contents = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"no image at all",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    paths = ["a.png", *contents, "folder.png", "gone.png"]
    found = inspect(tmp_path, paths)
    assert found.unreadable == {
        1: "truncated file",
        2: "empty file (0 bytes)",
        3: "not a PNG, JPEG, BMP, TIFF or WebP image",
        4: "is a directory",
        5: "no such file or directory",
    }
    # Bytes that were read have a digest, whatever they are.
    expected = [hashlib.sha256(data).hexdigest() for data in (whole, *contents.values())]
    assert found.digests == [*expected, "", ""]
    assert found.keys[0]
    assert found.keys[1:] == [b""] * 5
    assert found.sizes == [(64, 64), *[None] * 5]
    assert found.mode_counts() == {"PNG RGB": 2}  # the cut one's header is whole
    assert found.size_counts() == {(64, 64): 1}
    assert found.blank == []


def test_blank_images_are_listed_and_have_no_content(tmp_path: Path) -> None:
    # 0.2 % of 64 × 64 pixels are 8.2: eight are too few, nine are not.
    paths = [
        save(tmp_path / "8.png", block(8, rows=slice(30, 32), columns=slice(30, 34))),
        save(tmp_path / "9.png", block(9, rows=slice(30, 33), columns=slice(30, 33))),
        save(tmp_path / "flat.png", np.full((64, 64, 3), 120, dtype=np.uint8)),
        save(tmp_path / "black.png", np.zeros((64, 64, 3), dtype=np.uint8)),
    ]
    found = inspect(tmp_path, paths)
    assert found.blank == [0, 2, 3]
    assert found.content[64].images == 1
    assert int(found.content[64].heat.sum()) == 9


def test_sketches_are_drawn_from_the_windows_but_for_blank_and_unreadable(tmp_path: Path) -> None:
    images = {0: block(10), CHUNK + 1: block(11)}  # the second in a task of its own
    paths = ["gone.png"] * (CHUNK + 2)
    for index, image in images.items():
        paths[index] = save(tmp_path / f"{index}.png", image)
    paths[1] = save(tmp_path / "flat.png", np.full((64, 64, 3), 120, dtype=np.uint8))
    with Sketches(len(paths)) as sketches, Sketches(len(paths)) as expected:
        inspect_files(tmp_path, paths, sketches, workers=2, progress=silent)
        for index, image in images.items():
            expected.draw(index, window(image)[None])
        assert sketches.polar is not None
        assert expected.polar is not None
        np.testing.assert_array_equal(sketches.polar, expected.polar)
        assert np.flatnonzero(sketches.polar.any(axis=(1, 2, 3))).tolist() == list(images)
        assert np.flatnonzero(sketches.has_texture).tolist() == list(images)


@pytest.mark.parametrize("workers", [1, 4])
def test_many_files_stay_in_order_whatever_the_threads(tmp_path: Path, workers: int) -> None:
    count = 2 * CHUNK + 5
    paths = []
    for index in range(count):
        path = tmp_path / f"{index}.png"
        if index % 7 == 3:
            path.write_bytes(b"text" + bytes([index]))
        else:
            save(path, block(index, 32 + index, 40, rows=slice(5, 25), columns=slice(5, 30)))
        paths.append(path.name)
    found = inspect(tmp_path, paths, workers)
    assert found.digests == [
        hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in paths
    ]
    assert sorted(found.unreadable) == list(range(3, count, 7))
    assert found.sizes == [None if index % 7 == 3 else (40, 32 + index) for index in range(count)]


def test_progress_counts_every_file_read_or_not(tmp_path: Path) -> None:
    calls: list[object] = []

    class Recorder:
        def __call__(self, what: str, total: int, unit: str) -> Recorder:
            calls.append((what, total, unit))
            return self

        def __enter__(self) -> Recorder:
            return self

        def __exit__(self, *_: object) -> None:
            calls.append("end")

        def advance(self, units: int = 1, note: str = "") -> None:
            del note
            calls.append(units)

    paths = ["gone.png"] * (CHUNK + 2)
    with Sketches(len(paths)) as sketches:
        inspect_files(tmp_path, paths, sketches, workers=1, progress=Recorder())
    assert calls == [("inspect", CHUNK + 2, "images"), CHUNK, 2, "end"]


def test_content_is_mapped_for_squares_up_to_the_largest_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAPPED_SIDE", 64)
    paths = [
        save(tmp_path / "a.png", block(0)),
        save(tmp_path / "b.png", block(1, 65, 65)),
        save(tmp_path / "c.png", block(2, 64, 60)),
        save(tmp_path / "d.png", block(3, 60, 60)),
    ]
    assert sorted(inspect(tmp_path, paths).content) == [60, 64]


def test_content_is_mapped_for_a_bounded_number_of_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAPPED_SIZES", 2)
    sides = (60, 61, 62, 60, 62, 61)
    paths = [
        save(tmp_path / f"{index}.png", block(index, side, side))
        for index, side in enumerate(sides)
    ]
    content = inspect(tmp_path, paths).content
    assert {side: found.images for side, found in content.items()} == {60: 2, 61: 2}


@pytest.mark.parametrize(
    ("sides", "chosen"),
    [((60, 64, 60), 60), ((60, 64, 64), 64), ((60, 64), 64)],
    ids=["most", "most-and-last", "largest-of-equals"],
)
def test_the_content_box_is_that_of_the_commonest_size(
    tmp_path: Path, sides: tuple[int, ...], chosen: int
) -> None:
    paths = [
        save(tmp_path / f"{index}.png", block(index, side, side))
        for index, side in enumerate(sides)
    ]
    box = inspect(tmp_path, paths).content_box()
    assert box is not None
    assert (box["image_side"], box["images"]) == (chosen, sides.count(chosen))


def test_without_square_images_there_is_no_content_box(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", block(0, 64, 70))
    assert inspect(tmp_path, [path]).content_box() is None
    assert inspect(tmp_path, []) == Inspection()


def test_a_window_is_fetched_again_and_black_once_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / save(tmp_path / "a.png", block(12))
    # The block's centre is (24.5, 34.5), of the window 31.5.
    expected = np.zeros((WINDOW, WINDOW, 2), dtype=np.uint8)
    pixels = block(12)[10:40, 20:50].astype(int)
    expected[17:47, 17:47] = np.stack(
        [pixels[..., :2].max(axis=2), pixels[..., 1:].max(axis=2)], axis=2
    )
    np.testing.assert_array_equal(fetch_window(path), expected)
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(fetch_window(path), np.zeros_like(expected))
    path.unlink()
    np.testing.assert_array_equal(fetch_window(path), np.zeros_like(expected))
