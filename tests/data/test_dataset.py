from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bars import Bars
from drupe.data import file_digests
from drupe.data.dataset import Dataset, open_dataset
from drupe.data.fixes import Fixes
from drupe.data.overlay import active_fixes, overlay_path
from drupe.errors import InputError
from drupe.files import write_json

MakeFolder = Callable[..., Path]


def refusal(root: Path, store: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(root, store=store, **{"size": 16, **options})
    return str(caught.value)


def pixels(dataset: Dataset) -> np.ndarray:
    return np.stack([np.asarray(Image.open(dataset.root / path)) for path in dataset.paths])


def settle(root: Path) -> None:
    """Make files look old enough for their digests to be kept."""
    manifest_time = time.time() - 100
    for path in root.rglob("*.png"):
        os.utime(path, (manifest_time, manifest_time))


def test_labels_pixels_and_digests(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder(count=5)
    bars = Bars()
    dataset = open_dataset(root, store=store, size=16, progress=bars)
    assert dataset.classes == ("clean", "pit")
    assert len(dataset.paths) == 20
    assert dataset.has_val
    assert dataset.in_val.sum() == 10
    assert dataset.images.dtype == np.uint8
    assert not dataset.images.flags.writeable
    np.testing.assert_array_equal(dataset.images, pixels(dataset))
    assert dataset.cache.parent == store / "packed"
    assert dataset.skipped == ()
    assert bars.opened == {"hash": [20, 20], "decode": [20, 20]}
    sha = subprocess.run(
        ["sha256sum", root / dataset.paths[7]], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert dataset.digests[7] == sha


def test_opening_again_decodes_nothing(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    first = open_dataset(root, store=store, size=16)
    bars = Bars()
    second = open_dataset(root, store=store, size=16, progress=bars)
    assert "decode" not in bars.opened
    np.testing.assert_array_equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint


def test_settled_files_are_hashed_once(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    monkeypatch.setattr(file_digests, "RACY_NS", -(10**12))  # as if the files were old
    open_dataset(root, store=store, size=16)
    bars = Bars()
    open_dataset(root, store=store, size=16, progress=bars)
    assert bars.opened == {}
    settle(root)
    (root / "train/pit/000.png").rename(root / "train/pit/009.png")
    open_dataset(root, store=store, size=16, progress=bars)
    assert bars.opened["hash"] == [12, 12]


def test_fresh_files_are_hashed_again(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    before = open_dataset(root, store=store, size=16)
    victim = root / before.paths[0]
    old = victim.stat()
    data = bytearray(victim.read_bytes())
    data[30:33] = b"\0\0\0"  # same length, in place, times put back
    with victim.open("r+b") as file:
        file.write(data)
    os.utime(victim, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert "can't be read" in refusal(root, store)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"noise" * 99])
def test_a_damaged_digest_cache_is_ignored(
    make_folder: MakeFolder, store: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    monkeypatch.setattr(file_digests, "RACY_NS", -(10**12))
    before = open_dataset(root, store=store, size=16)
    [cache] = (store / "manifests").iterdir()
    cache.write_bytes(content)
    assert open_dataset(root, store=store, size=16).digests == before.digests


def test_moving_and_touching_keep_the_fingerprint(
    make_folder: MakeFolder, store: Path, tmp_path: Path
) -> None:
    root = make_folder()
    before = open_dataset(root, store=store, size=16)
    moved = tmp_path / "elsewhere" / "again"
    shutil.copytree(root, moved)
    settle(moved)
    bars = Bars()
    after = open_dataset(moved, store=store, size=16, progress=bars)
    assert after.fingerprint == before.fingerprint
    assert after.cache == before.cache
    assert "decode" not in bars.opened


def test_a_byte_a_label_a_name_and_a_split_change_the_fingerprint(
    make_folder: MakeFolder, store: Path
) -> None:
    root = make_folder()
    seen = {open_dataset(root, store=store, size=16).fingerprint}
    pit, clean = root / "train/pit/000.png", root / "train/clean/new.png"
    pit.write_bytes(pit.read_bytes() + b"\0")  # harmless after a PNG's end, but another file
    seen.add(open_dataset(root, store=store, size=16).fingerprint)
    pit.rename(clean)
    seen.add(open_dataset(root, store=store, size=16).fingerprint)
    clean.rename(root / "train/clean/newer.png")
    seen.add(open_dataset(root, store=store, size=16).fingerprint)
    (root / "train/clean/newer.png").rename(root / "val/clean/newer.png")
    seen.add(open_dataset(root, store=store, size=16).fingerprint)
    fixes = Fixes(relabel={"train/clean/001.png": "pit"})
    seen.add(open_dataset(root, store=store, size=16, fixes=fixes).fingerprint)
    assert len(seen) == 6


def spoil(root: Path) -> dict[str, str]:
    """Overwrite three training images; return path → expected reason."""
    (root / "train/clean/000.png").write_bytes(b"no pixels here")
    whole = (root / "train/pit/001.png").read_bytes()
    (root / "train/pit/001.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGBA", (16, 16)).save(root / "val/pit/000.png")
    return {
        "train/clean/000.png": "not a PNG, JPEG, BMP, TIFF or WebP image",
        "train/pit/001.png": "truncated file",
        "val/pit/000.png": "transparency (alpha down to 0), must be opaque",
    }


def test_unreadable_files_are_all_listed(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    expected = spoil(root)
    lines = refusal(root, store).splitlines()
    assert lines[0].startswith(f"{root}: 3 of 12 images can't be read")
    assert lines[1:] == [f"  {path}: {reason}" for path, reason in expected.items()]
    assert not list((store / "packed").glob("*/pack.json"))


def test_a_long_list_is_cut_and_counted(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder(splits=(), count=15)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    lines = refusal(root, store).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  … and 10 more"


def test_skipping_leaves_no_gap_and_lists_the_files(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    expected = spoil(root)
    for _ in range(2):  # made, then opened
        dataset = open_dataset(root, store=store, size=16, unreadable="skip")
        assert dict(dataset.skipped) == expected
        assert len(dataset.paths) == len(dataset.digests) == len(dataset.images) == 9
        assert not set(expected) & set(dataset.paths)
        np.testing.assert_array_equal(dataset.images, pixels(dataset))
        assert dataset.is_defect.tolist() == ["pit" in path for path in dataset.paths]
    assert "3 of 12 images can't be read" in refusal(root, store)  # the pack is there, and yet
    excluded = Fixes(exclude=frozenset(expected))
    same = open_dataset(root, store=store, size=16, fixes=excluded)
    assert same.fingerprint == dataset.fingerprint


def test_a_class_emptied_by_skipping(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    for path in (root / "val/pit").iterdir():
        path.write_bytes(b"")
    text = refusal(root, store, unreadable="skip")
    assert "class pit must have images in val, got none after skipping 3 unreadable files" in text
    assert "val/pit/000.png: empty file" in text


def test_files_without_read_permission(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()
    real_open = open

    def guarded(path: Any, *arguments: Any) -> Any:
        if str(path).endswith("train/pit/001.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *arguments)

    monkeypatch.setattr(file_digests, "open", guarded, raising=False)
    monkeypatch.setattr("drupe.data.decode.open", guarded, raising=False)
    assert "  train/pit/001.png: permission denied" in refusal(root, store)
    skipped = open_dataset(root, store=store, size=16, unreadable="skip").skipped
    assert skipped == (("train/pit/001.png", "permission denied"),)
    monkeypatch.undo()
    assert len(open_dataset(root, store=store, size=16).paths) == 12


def test_other_sizes_are_refused_with_counts_and_examples(
    make_folder: MakeFolder, store: Path
) -> None:
    root = make_folder()
    for name in ("000", "001"):
        Image.new("RGB", (20, 10)).save(root / f"train/pit/{name}.png")
    Image.new("RGB", (8, 8)).save(root / "val/clean/002.png")
    (root / "val/clean/000.png").write_bytes(b"")
    lines = refusal(root, store).splitlines()
    assert lines[1] == "  val/clean/000.png: empty file (0 bytes)"
    assert lines[2].startswith(f"{root}: images must be 16x16 pixels, got 3 of 12 in other sizes")
    assert lines[3:] == [
        "  20x10: 2, such as train/pit/000.png",
        "  8x8: 1, such as val/clean/002.png",
    ]


def test_resizing_averages(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    stripes = np.zeros((64, 48, 3), np.uint8)
    stripes[::2] = 200  # aliases to one of its colours without a low-pass filter
    Image.fromarray(stripes).save(root / "train/pit/000.png")
    dataset = open_dataset(root, store=store, size=16, sizes="resize")
    resized = dataset.images[dataset.paths.index("train/pit/000.png")]
    assert resized.shape == (16, 16, 3)
    assert np.abs(resized[2:-2].astype(int) - 100).max() <= 15
    np.testing.assert_array_equal(
        dataset.images[0], np.asarray(Image.open(root / dataset.paths[0]))
    )
    assert len(open_dataset(root, store=store, size=32, sizes="resize").images[0]) == 32


def test_fixes_drop_and_relabel(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    gone, changed = "train/pit/001.png", "train/clean/002.png"
    fixes = Fixes(exclude=frozenset({gone}), relabel={changed: "pit"})
    dataset = open_dataset(root, store=store, size=16, fixes=fixes)
    assert gone not in dataset.paths
    assert dataset.is_defect[dataset.paths.index(changed)]
    assert dataset.is_defect.sum() == 6
    np.testing.assert_array_equal(dataset.images, pixels(dataset))


def test_wrong_fixes_are_all_named(make_folder: MakeFolder, store: Path) -> None:
    fixes = Fixes(relabel={"gone.png": "pit", "train/pit/000.png": "pits"})
    text = refusal(make_folder(), store, fixes=fixes)
    assert "fixes: gone.png: must be" in text
    assert "train/pit/000.png: class must be one of clean, pit, got 'pits'" in text


def test_wrong_fixes_that_were_applied_name_the_overlay_and_the_remedy(
    make_folder: MakeFolder, store: Path
) -> None:
    root = make_folder()
    overlay = overlay_path(root, store)
    write_json(overlay, {"exclude": [], "relabel": {"train/pit/000.png": "pits"}})
    text = refusal(root, store, fixes=active_fixes(root, store))
    assert text.startswith(f"{overlay}: train/pit/000.png: class must be one of clean, pit")
    assert text.endswith(f"drupe data audit {root} --apply FILE")


def test_an_image_to_leave_out_may_be_gone_already(make_folder: MakeFolder, store: Path) -> None:
    root = make_folder()
    fixes = Fixes(exclude=frozenset({"train/pit/000.png", "train/pit/999.png"}))
    assert len(open_dataset(root, store=store, size=16, fixes=fixes).paths) == 11


def test_a_class_emptied_by_fixes(make_folder: MakeFolder, store: Path) -> None:
    fixes = Fixes(exclude=frozenset(f"train/pit/00{index}.png" for index in range(3)))
    text = refusal(make_folder(), store, fixes=fixes)
    assert "class pit must have images in train, got none after the fixes" in text


def test_relative_roots_and_the_defect_by_name(
    make_folder: MakeFolder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(splits=(), classes=("x", "y"))
    monkeypatch.chdir(root.parent)
    dataset = open_dataset(Path(root.name), store=store, size=16, naming="x")
    assert dataset.classes == ("y", "x")
    assert not dataset.has_val
    assert dataset.is_defect.tolist() == [True] * 3 + [False] * 3


def test_the_real_crops(real_crops: Path, store: Path) -> None:
    dataset = open_dataset(real_crops, store=store, size=128)
    assert dataset.classes == ("cherry_clean", "cherry_pit")
    assert dataset.images.shape == (3676, 128, 128, 3)
    assert (dataset.in_val.sum(), dataset.is_defect.sum()) == (871, 1698)
    started = time.perf_counter()
    again = open_dataset(real_crops, store=store, size=128)
    assert time.perf_counter() - started < 1
    assert again.fingerprint == dataset.fingerprint


def test_a_deep_folder_is_packed_as_it_is_and_strays_are_named(
    make_folder: MakeFolder, store: Path
) -> None:
    root = make_folder()
    random = np.random.default_rng(0)
    for path in sorted(root.rglob("*.png")):
        Image.fromarray(random.integers(0, 1024, (16, 24), dtype=np.uint16)).save(path)
    kind = {"size": (16, 24), "channels": "mono", "white_level": 1023}
    dataset = open_dataset(root, store=store, **kind)
    assert (dataset.images.shape, dataset.images.dtype) == ((12, 16, 24, 1), np.uint16)
    with Image.open(root / dataset.paths[5]) as image:
        assert np.array_equal(dataset.images[5, :, :, 0], np.asarray(image))
    assert open_dataset(root, store=store, **kind).cache == dataset.cache
    lighter = open_dataset(root, store=store, **kind | {"white_level": 4095})
    assert lighter.cache != dataset.cache
    assert refusal(root, store, size=(24, 16), channels="mono", white_level=1023).startswith(
        f"{root}: images must be 16x24 pixels, got 12 of 12 in other sizes"
    )
    Image.new("L", (24, 16)).save(root / "train/pit/001.png")
    Image.fromarray(np.full((16, 24), 1024, np.uint16)).save(root / "val/clean/000.png")
    lines = refusal(root, store, **kind).splitlines()
    assert lines[1:] == [
        "  train/pit/001.png: 8 bits per channel, must be 9 to 16 (input.white_level=255 takes 8)",
        "  val/clean/000.png: pixel value 1,024, must be at most the white level 1,023",
    ]
