"""Ten million decisions from eight threads on one classifier: does memory grow, do scores change?

    python benchmarks/soak.py                               # some hours on 2 cores
    python benchmarks/soak.py --decisions 20000             # a minute
    python benchmarks/soak.py --bundle cherries.bundle --images crops/clean   # your own bundle

Prints a JSON row per backend. Without ``--bundle`` an untrained tiny network decides synthetic
crops of 32 × 32 pixels, with a check of frames that was learnt from such crops: what is soaked is
the runtime.

Every thread asks for 1 to 16 images at once, drawn anew for each call: in turns for scores, which
must equal, to the bit, the first that the image had in a batch of that size, and for lanes. One
call in eight holds a fault: an array of another shape or type or an empty batch, which must be
refused each time, or a black, flat or white frame among good ones, which must have no score and be
reviewed each time while its neighbours keep their scores. ``largest_difference_by_batch_size``
says how far the first scores of a batch size lie from those of single images.

Resident memory is read each time another percent is done; growth is from the tenth percent on, when
every thread has its buffers, to the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.frames import FrameCheck
from drupe.deployment.manifest import read_manifest
from drupe.deployment.predict import find_images
from drupe.deployment.runtime import Classifier, load
from drupe.errors import InputError
from provenance import circumstances, resident_mb

IMAGES, LEARNT, PIXELS = 64, 200, 32
SIZES = (1, 2, 3, 5, 8, 16)
CALLS_PER_FAULT = 8


def main() -> None:
    options = parse()
    head = circumstances("soak.py", "numpy", "onnxruntime", "openvino")
    with tempfile.TemporaryDirectory(prefix="drupe-soak-") as scratch:
        bundle = options.bundle or untrained(Path(scratch))
        for backend in options.backends or ("onnxruntime", "openvino"):
            order = read_manifest(bundle).input.channels
            classifier = load(
                bundle,
                order=order,
                backend=backend,
                threads=1,
                callers=options.threads,
                uncertified=True,
            )
            if options.bundle is None:
                classifier.frames = FrameCheck.of(crops(1, LEARNT), crops(2, LEARNT))
            known = Known.of(classifier, given(classifier, options.images))
            row = {
                "benchmark": "soak",
                **head,
                "network": read_manifest(bundle).name,
                "pixels": classifier.manifest.input.size,
                "function": classifier.function.name,
                "threads": options.threads,
                "lanes_of_images": dict(Counter(known.lanes.tolist())),
                "largest_difference_by_batch_size": known.differences(),
                **soak(known, options.decisions, options.threads),
            }
            print(json.dumps(row), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--images", default=None, help="Crops that the bundle knows.")
    parser.add_argument("--backend", dest="backends", action="append", default=None)
    options = parser.parse_args()
    if (options.bundle is None) != (options.images is None):
        parser.error("--bundle and --images must be given together")
    return options


def untrained(folder: Path) -> Path:
    """Write a bundle of an untrained network whose thresholds give all three lanes."""
    from untrained import untrained_bundle  # needs PyTorch; a bundle of your own doesn't

    first = load(
        untrained_bundle(folder / "first", "test_resnet", PIXELS), order="rgb", uncertified=True
    )
    low, high = np.quantile(first.examine(crops(0, IMAGES)).scores, (0.4, 0.7)).tolist()
    return untrained_bundle(folder / "bundle", "test_resnet", PIXELS, low=low, high=high)


def crops(seed: int, count: int) -> np.ndarray:
    """Return synthetic crops uint8 [count, H, W, 3], half of them defects."""
    return render_crops(np.arange(count) % 2 == 1, PIXELS, np.random.default_rng(seed))


def given(classifier: Classifier, folder: str | None) -> np.ndarray:
    """Return images [N, H, W, C] that have a score, at most ``IMAGES``."""
    contract = classifier.manifest.input.contract
    if folder is None:
        images = crops(0, IMAGES)
    else:
        images = np.stack([contract.of_file(one) for one in find_images([folder])[: 2 * IMAGES]])
    good = images[~np.isnan(classifier.examine(images).scores)][:IMAGES]
    if len(good) < 2 * max(SIZES):
        raise SystemExit(
            f"{folder}: must hold {2 * max(SIZES)} images with a score, got {len(good)}"
        )
    return good


@dataclass
class Known:
    """What a classifier said at first.

    scores: float32 [N images] by batch size; lanes: str [N]; odd: frames that the check calls a
    fault; malformed: what ``decide`` refuses; each by what it is.
    """

    classifier: Classifier
    images: np.ndarray
    scores: dict[int, np.ndarray]
    lanes: np.ndarray
    odd: dict[str, np.ndarray]
    malformed: dict[str, np.ndarray]

    @classmethod
    def of(cls, classifier: Classifier, images: np.ndarray) -> Known:
        """Ask for the first scores of each batch size, and for the lanes."""
        contract = classifier.manifest.input.contract
        frames = {
            name: np.full(contract.shape, level, contract.dtype)
            for name, level in (
                ("black", 0),
                ("flat", contract.white_level // 3),
                ("white", contract.white_level),
            )
        }
        odd = {
            name: frame
            for name, frame in frames.items()
            if np.isnan(classifier.examine(frame).scores[0])
        }
        malformed = {"type": images[0].astype(np.float32), "empty batch": images[:0]}
        if contract.sizes == "refuse":
            malformed["shape"] = images[0, 1:]
        places = {size: np.arange(-(-len(images) // size) * size) % len(images) for size in SIZES}
        scores = {
            size: np.concatenate(
                [classifier.examine(images[part]).scores for part in at.reshape(-1, size)]
            )[: len(images)]
            for size, at in places.items()
        }
        lanes = classifier.decide(images)
        return cls(classifier, images, scores, lanes, odd, malformed)

    def differences(self) -> dict[int, float]:
        """Return how far each batch size's scores lie from those of single images, at most."""
        alone = self.scores[1]
        return {size: float(np.abs(one - alone).max()) for size, one in self.scores.items()}

    def holds(self, index: np.ndarray, wants_scores: bool) -> bool:
        """Return whether images get the scores, to the bit, or the lanes that they had at first."""
        asked = self.images[index[0]] if len(index) == 1 else self.images[index]
        if wants_scores:
            found = self.classifier.scores(asked)
            return np.array_equal(np.atleast_1d(found), self.scores[len(index)][index])
        return np.array_equal(np.atleast_1d(self.classifier.decide(asked)), self.lanes[index])

    def reviews(self, kind: str, index: np.ndarray) -> bool:
        """Return whether an odd frame in the first image's place is reviewed, and it alone."""
        batch = self.images[index]
        batch[0] = self.odd[kind]
        found = self.classifier.examine(batch)
        is_fault = found.decisions[0] == "review" and np.isnan(found.scores[0])
        others, size = index[1:], len(index)
        return bool(is_fault) and np.array_equal(found.scores[1:], self.scores[size][others])

    def refuses(self, kind: str) -> bool:
        """Return whether something that is no image, or no image of this kind, is refused."""
        try:
            self.classifier.decide(self.malformed[kind])
        except InputError:
            return True
        return False


@dataclass
class Work:
    """What one thread has done: images decided, faults by kind, and what came out otherwise."""

    done: int
    different: int
    faults: Counter[str]
    not_faults: int

    def go_on(self, known: Known, share: int, seed: int) -> None:
        """Ask until ``share`` images were decided."""
        random = np.random.default_rng(seed)
        kinds = [*known.odd, *known.malformed]
        calls = 0
        while self.done < share:
            size = SIZES[random.integers(len(SIZES))]
            index = random.integers(len(known.images), size=size)
            calls += 1
            if calls % CALLS_PER_FAULT:
                self.different += not known.holds(index, wants_scores=calls % 2 == 1)
                self.done += size
                continue
            kind = kinds[random.integers(len(kinds))]
            self.faults[kind] += 1
            if kind in known.malformed:
                self.not_faults += not known.refuses(kind)
            else:
                self.not_faults += not known.reviews(kind, index)
                self.done += size


def soak(known: Known, decisions: int, threads: int) -> dict[str, Any]:
    share = decisions // threads
    workers = [Work(0, 0, Counter(), 0) for _ in range(threads)]
    started = time.perf_counter()
    memory: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        ends = [pool.submit(one.go_on, known, share, seed) for seed, one in enumerate(workers)]
        while not all(end.done() for end in ends):
            if sum(one.done for one in workers) >= len(memory) * threads * share / 100:
                memory.append(resident_mb())
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        for end in ends:
            end.result()  # raises whatever ended a thread early
    memory.append(resident_mb())
    settled, done = memory[len(memory) // 10], sum(one.done for one in workers)
    faults = sum((one.faults for one in workers), Counter[str]())
    return {
        "decisions": done,
        "batch_sizes": list(SIZES),
        "different": sum(one.different for one in workers),
        "faults": dict(sorted(faults.items())),
        "not_taken_as_faults": sum(one.not_faults for one in workers),
        "seconds": round(seconds, 1),
        "per_second": round(done / seconds),
        "resident_mb": {
            "at_10_percent": round(settled, 2),
            "highest": round(max(memory), 2),
            "at_end": round(memory[-1], 2),
            "growth": round(memory[-1] - settled, 2),
        },
    }


if __name__ == "__main__":
    main()
