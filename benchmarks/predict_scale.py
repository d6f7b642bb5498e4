"""``drupe predict`` on many crops against the loop that one would write, and what memory it takes.

    python benchmarks/predict_scale.py BUNDLE                    # 100,000 crops: minutes to an hour
    python benchmarks/predict_scale.py BUNDLE --images 10000

Prints one JSON row. The loop, in a process of its own like ``drupe predict``, decodes with Pillow,
hands one image at a time to ONNX Runtime with its own settings (all cores), compares the score with
the threshold and writes a CSV line; it runs the same fp32 graph, which takes raw bytes, so that it
has no scaling to do in NumPy. Both take the same files in turns, a slice of ``--slice`` crops each,
and write a CSV; then ``drupe predict`` takes all. Starting and loading count for both.

The crops are synthetic PNGs: ``--distinct`` different ones, of which the others are hard links
(the page cache then holds them all: reading a disk is not what is measured).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from drupe.data.synthetic.generation import synthesise
from drupe.deployment.manifest import read_manifest
from provenance import circumstances

LOOP = """
import csv, sys
import numpy as np
import onnxruntime
from PIL import Image
graph, low, listing, output = sys.argv[1:]
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
with open(output, "w", newline="") as stream:
    rows = csv.writer(stream)
    for path in open(listing).read().split("\\n"):
        image = np.asarray(Image.open(path).convert("RGB"))
        score = session.run(None, {name: image[None]})[0][0]
        rows.writerow((path, "accept" if score < np.float32(low) else "reject", score))
"""


def main() -> None:
    options = parse()
    head = circumstances("predict_scale.py", "numpy", "pillow", "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="drupe-predict-", dir=options.folder) as scratch:
        folder = Path(scratch)
        files = make_files(folder, options)
        row = {
            "benchmark": "predict_scale",
            **head,
            "bundle": read_manifest(options.bundle).name,
            "pixels": read_manifest(options.bundle).input.size,
            "distinct": options.distinct,
            "slice": options.slice,
            "rounds": options.rounds,
            **in_turns(folder, files, options),
            "all": everything(folder, files, options),
        }
    print(json.dumps(row, indent=2))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--distinct", type=int, default=4000)
    parser.add_argument("--slice", type=int, default=5000, help="crops of a round of each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the crops are written")
    return parser.parse_args()


def make_files(folder: Path, options: argparse.Namespace) -> list[str]:
    size = read_manifest(options.bundle).input.size
    synthesise(folder / "distinct", images=options.distinct, size=size, seed=0)
    originals = sorted((folder / "distinct").rglob("*.png"))
    (folder / "crops").mkdir()
    files = []
    for number in range(options.images):
        path = folder / "crops" / f"{number:07}.png"
        os.link(originals[number % len(originals)], path)
        files.append(str(path))
    return files


def in_turns(folder: Path, files: list[str], options: argparse.Namespace) -> dict[str, Any]:
    function = read_manifest(options.bundle).functions[0]
    graph = next(
        one.graph for one in read_manifest(options.bundle).functions if one.precision == "fp32"
    )
    listing = folder / "list.txt"
    listing.write_text("\n".join(files[: options.slice]))
    loop = [sys.executable, "-c", LOOP, str(options.bundle / graph), str(function.low)]
    seconds: dict[str, list[float]] = {"drupe": [], "loop": []}
    for _ in range(options.rounds):
        seconds["loop"].append(timed([*loop, str(listing), str(folder / "loop.csv")])[0])
        seconds["drupe"].append(timed(predict(options.bundle, folder), listing)[0])
    return {
        "function": function.name,
        "images_per_second": {
            name: [round(options.slice / one, 1) for one in taken]
            for name, taken in seconds.items()
        },
        "ratio": round(
            statistics.median(
                slow / fast for slow, fast in zip(seconds["loop"], seconds["drupe"], strict=True)
            ),
            2,
        ),
    }


def predict(bundle: Path, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "drupe", "predict", str(bundle), "-", "--uncertified"]
    return [*command, "--csv", str(folder / "drupe.csv"), "--json"]


def everything(folder: Path, files: list[str], options: argparse.Namespace) -> dict[str, Any]:
    listing = folder / "list.txt"
    listing.write_text("\n".join(files))
    seconds, memory, document = timed(predict(options.bundle, folder), listing)
    lines = (folder / "drupe.csv").read_text(encoding="utf-8").count("\n") - 1
    at = [round(memory[len(memory) * part // 10]) for part in range(1, 10)]
    return {
        "images": document["images"],
        "csv_lines": lines,
        "unreadable": len(document["unreadable"]),
        "seconds": round(seconds, 1),
        "images_per_second": round(len(files) / seconds, 1),
        "peak_mb": round(max(memory)),
        "resident_mb_at_10_to_90_percent_of_the_time": at,
    }


def timed(command: list[str], stdin: Path | None = None) -> tuple[float, list[float], Any]:
    """Return a command's seconds, its resident MB every half second, and its JSON, if any."""
    started = time.perf_counter()
    with (stdin or Path(os.devnull)).open() as source:
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    memory = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()
        if len(status) > 1:
            memory.append(int(status[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with {process.returncode}")
    output = process.stdout.read() if process.stdout else ""
    return seconds, memory, json.loads(output) if output else None


if __name__ == "__main__":
    main()
