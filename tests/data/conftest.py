"""Tiny image folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


def _write_images(folder: Path, count: int, size: int, random: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Call it to write ``tmp_path / name`` with random images, ``count`` in each class folder."""

    def make(
        name: str = "set",
        *,
        splits: Iterable[str] = ("train", "val"),
        classes: Iterable[str] = ("clean", "pit"),
        count: int = 3,
        size: int = 16,
        seed: int = 0,
    ) -> Path:
        random = np.random.default_rng(seed)
        classes = tuple(classes)
        for split in splits or ("",):
            for label in classes:
                _write_images(tmp_path / name / split / label, count, size, random)
        return tmp_path / name

    return make


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"
