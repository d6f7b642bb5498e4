from __future__ import annotations

import errno
import json
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
from filelock import FileLock
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
    assert np.load(left / "images.npy").shape == (160, 16, 16, 3)
    dataset = open_dataset(root, store=store, size=16)
    np.testing.assert_array_equal(dataset.images, pixels(dataset))
    assert not left.exists()


@pytest.mark.parametrize("locks", [True, False])
def test_packing_twice_at_once(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    root = make_folder(count=50)
    if not locks:

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(FileLock, "acquire", refuse)
    bars = [Bars() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        opened = list(
            pool.map(lambda bar: open_dataset(root, store=store, size=16, progress=bar), bars)
        )
    for dataset in opened:
        np.testing.assert_array_equal(dataset.images, pixels(dataset))
    assert sum("decode" in bar.opened for bar in bars) == 1
    assert not [path for path in (store / "packed").iterdir() if ".lock" in path.name]
    assert len([path for path in (store / "packed").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("damage", ["short", "missing"])
def test_a_damaged_pack_is_made_anew(make_folder: MakeFolder, store: Path, damage: str) -> None:
    root = make_folder()
    images = open_dataset(root, store=store, size=16).cache / "images.npy"
    if damage == "short":
        os.truncate(images, 100)
    else:
        images.unlink()
    dataset = open_dataset(root, store=store, size=16)
    np.testing.assert_array_equal(dataset.images, pixels(dataset))


def test_a_pack_whose_list_of_skipped_files_was_changed_is_made_anew(
    make_folder: MakeFolder, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every label behind that file would be another image's."""
    root = make_folder()
    (root / "train/clean/001.png").write_bytes(b"no image")
    cache = open_dataset(root, store=store, size=16, unreadable="skip").cache
    document = json.loads((cache / "pack.json").read_text())
    document["skipped"][0]["index"] += 1
    (cache / "pack.json").write_text(json.dumps(document))

    dataset = open_dataset(root, store=store, size=16, unreadable="skip")

    assert [path for path, _ in dataset.skipped] == ["train/clean/001.png"]
    np.testing.assert_array_equal(dataset.images, pixels(dataset))
    assert caplog.messages == [f"{cache}: damaged: its images are packed anew"]


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


@pytest.mark.parametrize("name", ["images.npy", "pack.json"])
def test_a_pack_of_a_single_wrong_byte_is_made_anew(
    make_folder: MakeFolder, store: Path, name: str
) -> None:
    root = make_folder()
    victim = open_dataset(root, store=store, size=16).cache / name
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 255
    victim.write_bytes(data)
    dataset = open_dataset(root, store=store, size=16)
    np.testing.assert_array_equal(dataset.images, pixels(dataset))


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250, 999, 1000])
def test_every_byte_of_a_small_pack_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(pack, "CHECKED_BYTES", 100)
    monkeypatch.setattr(pack, "CHECKED_BLOCKS", 10)
    path, zeros = tmp_path / "images.npy", bytes(size)
    path.write_bytes(zeros)
    known = pack._checksum(path)
    for place in range(size):
        path.write_bytes(zeros[:place] + b"x" + zeros[place + 1 :])
        assert pack._checksum(path) != known, place


def test_a_large_pack_is_checked_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "CHECKED_BYTES", 10)
    monkeypatch.setattr(pack, "CHECKED_BLOCKS", 5)
    path = tmp_path / "images.npy"
    path.write_bytes(bytes(1000))
    known = pack._checksum(path)
    noticed = []
    for place in range(1000):
        path.write_bytes(bytes(place) + b"x" + bytes(999 - place))
        if pack._checksum(path) != known:
            noticed.append(place)
    assert len(noticed) == 50
    assert (noticed[0], noticed[-1]) == (0, 999)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda _: [],
        lambda _: {},
        lambda document: document | {"images": "twelve"},
        lambda document: document | {"images": 12.5},
        lambda document: document | {"skipped": 5},
        lambda document: document | {"skipped": [{"index": "x", "path": "a", "reason": "b"}]},
        lambda document: document | {"skipped": [document["skipped"][0] | {"index": 12}]},
        lambda document: document | {"skipped": document["skipped"] * 2},
        lambda document: document | {"skipped": []},
    ],
)
def test_a_description_of_another_shape_is_made_anew(
    make_folder: MakeFolder, store: Path, change: Callable[[Any], Any]
) -> None:
    root = make_folder()
    (root / "train/pit/000.png").write_bytes(b"no image")
    source = open_dataset(root, store=store, size=16, unreadable="skip").cache / "pack.json"
    source.write_text(json.dumps(change(json.loads(source.read_text()))))
    dataset = open_dataset(root, store=store, size=16, unreadable="skip")
    assert [path for path, _ in dataset.skipped] == ["train/pit/000.png"]
    np.testing.assert_array_equal(dataset.images, pixels(dataset))
