"""A million decisions from four threads on one classifier: does memory grow, do scores change?

    python benchmarks/soak.py                               # about 30 minutes on 2 cores
    python benchmarks/soak.py --decisions 20000             # a minute
    python benchmarks/soak.py --bundle cherries.bundle      # your own bundle, in its own time

Prints a JSON row per backend. Without ``--bundle`` an untrained tiny network at 32 × 32 pixels
decides: what is soaked is the runtime. Every thread decides the same images in an order of its
own, one at a time, and compares each score with the one that the image had at first, to the bit.
Resident memory is read each time another percent is done; growth is from the tenth percent on, when
every thread has its buffers, to the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import Classifier, load
from provenance import circumstances, resident_mb
from untrained import untrained_bundle

IMAGES = 64


def main() -> None:
    options = parse()
    head = circumstances("soak.py", "numpy", "onnxruntime", "openvino")
    with tempfile.TemporaryDirectory(prefix="drupe-soak-") as scratch:
        bundle = options.bundle or untrained_bundle(Path(scratch) / "bundle", "test_resnet", 32)
        for backend in options.backends or ("onnxruntime", "openvino"):
            classifier = load(
                bundle, backend=backend, threads=1, callers=options.threads, uncertified=True
            )
            row = {
                "benchmark": "soak",
                **head,
                "network": read_manifest(bundle).name,
                "pixels": classifier.manifest.input.size,
                "function": classifier.function.name,
                "threads": options.threads,
                **soak(classifier, options.decisions, options.threads),
            }
            print(json.dumps(row), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--backend", dest="backends", action="append", default=None)
    return parser.parse_args()


def soak(classifier: Classifier, decisions: int, threads: int) -> dict[str, Any]:
    size = classifier.manifest.input.size
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8)
    expected = [classifier.scores(image) for image in images]
    decided = [classifier.decide(image) for image in images]
    share = decisions // threads
    done, wrong = [0] * threads, [0] * threads

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(IMAGES).tolist()
        for count in range(share):
            index = order[count % IMAGES]
            # Every other call asks for the score, which is compared to the bit.
            if count % 2:
                wrong[number] += classifier.scores(images[index]) != expected[index]
            else:
                wrong[number] += classifier.decide(images[index]) != decided[index]
            done[number] += 1

    started = time.perf_counter()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    memory: list[float] = []
    while any(worker.is_alive() for worker in workers):
        if sum(done) >= len(memory) * threads * share / 100:
            memory.append(resident_mb())
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    memory.append(resident_mb())
    settled = memory[len(memory) // 10]
    return {
        "decisions": sum(done),
        "different": sum(wrong),
        "seconds": round(seconds, 1),
        "per_second": round(sum(done) / seconds),
        "resident_mb": {
            "at_10_percent": round(settled, 2),
            "highest": round(max(memory), 2),
            "at_end": round(memory[-1], 2),
            "growth": round(memory[-1] - settled, 2),
        },
    }


if __name__ == "__main__":
    main()
