"""Seconds and memory that a dataset of very many files takes, stage by stage.

    python benchmarks/data_scale.py --images 100000 --folder /mnt/scratch
    python benchmarks/data_scale.py --images 1000000 --stages list,table,hash,hash-again,pack,split

Prints one JSON row. The files are BMPs of ``--size`` pixels a side, every one of other noise, in
``train`` and ``val`` of two classes. Each stage is a process of its own, so that its peak memory is
its own; the page cache is warm, since the files were just written. ``processor_s`` is the time of
all its threads, which a busy machine doesn't stretch as it does ``seconds``.

Stages: ``list`` walks the folders; ``table`` reads a CSV of all paths and looks for what it doesn't
name; ``hash`` reads every file; ``hash-again`` finds all digests in the store; ``pack`` decodes
(what was hashed before); ``groups`` finds duplicates among the packed; ``split`` draws the sides of
plain class folders; ``audit`` is ``drupe data audit``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drupe.data.audit import audit
from drupe.data.copies.copy_rule import duplicate_groups
from drupe.data.dataset import open_dataset
from drupe.data.file_digests import file_digests
from drupe.data.listing import list_dataset
from drupe.data.split import split_dataset
from provenance import circumstances, peak_mb

FOLDERS = ("train/clean", "train/pit", "val/clean", "val/pit")
BLOCK = 1000


def main() -> None:
    options = parse()
    head = circumstances("data_scale.py", "numpy", "pillow")
    folder = Path(tempfile.mkdtemp(prefix="drupe-scale-", dir=options.folder))
    try:
        started = time.perf_counter()
        write_files(folder / "crops", options.images, options.size)
        row: dict[str, Any] = {
            "benchmark": "data_scale",
            **head,
            "images": options.images,
            "size": options.size,
            "written_s": round(time.perf_counter() - started, 1),
            "stages": {},
        }
        for stage in options.stages.split(","):
            row["stages"][stage] = in_own_process(STAGES[stage], folder, options.size)
            print(stage, row["stages"][stage], file=sys.stderr, flush=True)
        print(json.dumps(row), flush=True)  # removing so many files takes minutes
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=8, help="side in pixels")
    parser.add_argument("--folder", type=Path, default=None, help="where the images are made")
    parser.add_argument("--stages", default=",".join(STAGES), help="of these, in this order")
    return parser.parse_args()


def write_files(root: Path, images: int, size: int) -> None:
    """Write BMPs of noise, and ``labels.csv`` with all of them."""
    pixels = size * size * 3
    header = struct.pack("<2sIHHI", b"BM", 54 + pixels, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, size, size, 1, 24, 0, pixels, 2835, 2835, 0, 0)
    if size * 3 % 4:
        raise SystemExit("--size: must be a multiple of 4, for rows of a BMP without padding")
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    with (root / "labels.csv").open("w", encoding="utf-8") as table:
        table.write("path,label,split\n")
        for start in range(0, images, BLOCK):
            for offset, data in enumerate(random.integers(40, 216, (BLOCK, pixels), np.uint8)):
                number = start + offset
                path = f"{FOLDERS[number % 4]}/{number:07}.bmp"
                (root / path).write_bytes(header + data.tobytes())
                split, label, _ = path.split("/")
                table.write(f"{path},{label},{split}\n")


def in_own_process(
    stage: Callable[[Path, int], dict[str, Any]], folder: Path, size: int
) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(timed, (stage, folder, size))


def timed(stage: Callable[[Path, int], dict[str, Any]], folder: Path, size: int) -> dict[str, Any]:
    before = peak_mb()
    started, busy = time.perf_counter(), time.process_time()
    found = stage(folder, size)
    seconds = round(time.perf_counter() - started, 2)
    return {
        "seconds": seconds,
        "processor_s": round(time.process_time() - busy, 2),
        "peak_mb": round(peak_mb()),
        "peak_mb_before": round(before),
        **found,
    }


def listed(folder: Path, size: int) -> dict[str, Any]:
    del size
    listing = list_dataset(folder / "crops")
    return {"taken": len(listing.paths), "passed_over": listing.passed.total}


def listed_by_table(folder: Path, size: int) -> dict[str, Any]:
    del size
    listing = list_dataset(folder / "crops" / "labels.csv")
    return {"taken": len(listing.paths), "passed_over": listing.passed.total}


def hashed(folder: Path, size: int) -> dict[str, Any]:
    del size
    listing = list_dataset(folder / "crops")
    digests = file_digests(listing.root, listing.paths, store=folder / "store").digests
    return {"distinct": len(set(digests))}


def packed(folder: Path, size: int) -> dict[str, Any]:
    dataset = open_dataset(folder / "crops", store=folder / "store", size=size)
    return {"images": len(dataset.images)}


def grouped(folder: Path, size: int) -> dict[str, Any]:
    dataset = open_dataset(folder / "crops", store=folder / "store", size=size)
    groups = duplicate_groups(dataset.images, dataset.digests)
    return {"groups": len(np.unique(groups))}


def split(folder: Path, size: int) -> dict[str, Any]:
    del size
    listing = list_dataset(folder / "crops")
    digests = file_digests(listing.root, listing.paths, store=folder / "store").digests
    found = split_dataset(
        listing.is_defect,
        np.zeros(len(digests), bool),
        False,
        np.arange(len(digests), dtype=np.int32),
        digests,
        holdout=0.25,
        test_share=0.2,
        seed=0,
    )
    return {"calibration": len(found.calibration), "test": len(found.test)}


def audited(folder: Path, size: int) -> dict[str, Any]:
    del size
    document = audit(folder / "crops", store=folder / "store").to_json()
    return {"near_duplicate_pairs": document["near_duplicate_pairs"], **document["search"]}


STAGES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "list": listed,
    "table": listed_by_table,
    "hash": hashed,
    "hash-again": hashed,
    "pack": packed,
    "split": split,
    "groups": grouped,
    "audit": audited,
}


if __name__ == "__main__":
    main()
