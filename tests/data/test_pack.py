from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bars import Bars
from drupe.data import pack
from drupe.data.dataset import Dataset, open_dataset
from drupe.errors import InputError

MakeFolder = Callable[..., Path]


def refusal(root: Path, store: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(root, store=store, **{"size": 16, **options})
    return str(caught.value)


def pixels(dataset: Dataset) -> np.ndarray:
    return np.stack([np.asarray(Image.open(dataset.root / path)) for path in dataset.paths])


def test_packing_stops_when_everything_is_wrong(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(splits=(), count=100, size=8)
    monkeypatch.setattr(pack, "ENOUGH", 10)
    assert "got 64 of the first 64 in other sizes" in refusal(root, store)


def test_too_little_space(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5_000_000, 5_000_000))
    text = refusal(make_folder(), store)
    assert text == f"{store}: needs 17 MB free for the packed images, got 5 MB"


def test_a_disk_that_fills_up(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack.os, "fsync", full)
    root = make_folder()
    assert "the disk is full" in refusal(root, store)
    monkeypatch.undo()
    assert not [path for path in (store / "packed").iterdir() if path.is_dir()]
    assert len(open_dataset(root, store=store, size=16).paths) == 12


def test_a_store_that_cannot_be_written(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, not a folder")
    assert refusal(root, occupied).startswith(f"{occupied}: the store must be a folder that can be")

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "got permission denied" in refusal(root, tmp_path / "closed")


def test_a_killed_pack_is_not_taken_for_complete(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(count=40)
    script = (
        "import os, sys; from pathlib import Path; from drupe.data import pack\n"
        "from drupe.data.dataset import open_dataset\n"
        "pack.write_json = lambda *_: os.kill(os.getpid(), 9)\n"  # after all the pixels
        "open_dataset(Path(sys.argv[1]), store=Path(sys.argv[2]), size=16)"
    )
    done = subprocess.run([sys.executable, "-c", script, root, store], check=False)
    assert done.returncode == -9
    [left] = (store / "packed").glob(".*.tmp")
    assert (left / "images.u8").stat().st_size == 160 * 16 * 16 * 3
    dataset = open_dataset(root, store=store, size=16)
    np.testing.assert_array_equal(dataset.images, pixels(dataset))
    assert not left.exists()


@pytest.mark.parametrize("locks", [True, False])
def test_packing_twice_at_once(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    root = make_folder(count=50)
    if not locks:
        monkeypatch.setattr(pack, "fcntl", None)
        # Threads share a process id, which names the temporary folder of a process.
        numbers = iter(range(10**6))
        monkeypatch.setattr(pack.os, "getpid", lambda: next(numbers))
    bars = [Bars() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        opened = list(
            pool.map(lambda bar: open_dataset(root, store=store, size=16, progress=bar), bars)
        )
    for dataset in opened:
        np.testing.assert_array_equal(dataset.images, pixels(dataset))
    if locks:
        assert sum("decode" in bar.opened for bar in bars) == 1
    assert len([path for path in (store / "packed").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("damage", ["short", "missing"])
def test_a_damaged_pack_is_made_anew(make_folder: MakeFolder, store: Path, damage: str) -> None:
    root = make_folder()
    images = open_dataset(root, store=store, size=16).cache / "images.u8"
    if damage == "short":
        os.truncate(images, 100)
    else:
        images.unlink()
    dataset = open_dataset(root, store=store, size=16)
    np.testing.assert_array_equal(dataset.images, pixels(dataset))


def test_a_file_that_changes_while_it_is_packed(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    changed = (root / "train/clean/001.png").read_bytes()
    read = pack.read_file
    monkeypatch.setattr(
        pack, "read_file", lambda path: changed if path.name == "000.png" else read(path)
    )
    assert "train/clean/000.png: changed while it was being read" in refusal(root, store)
