"""Training throughput in images/s: Drupe's loop against the usual one, alternating in one run.

    python benchmarks/train_throughput.py                 about 5 minutes on 2 cores
    python benchmarks/train_throughput.py --crop 96       about 8 minutes on 2 cores

"Ours" is the real ``Trainer``: packed images, batched augmentation, gradient clipping, moving
average, fused optimiser, and the number format and layout that ``precision: auto`` measures.
"Usual" is what most scripts do: ImageFolder, PIL transforms image by image, a DataLoader with
2 workers, fp32 in the default layout, AdamW as it comes, no clipping and no moving average.
Both take the same files, batch size, image size and list of augmentations, and random weights.

Rounds alternate: usual, ours, usual, ours, ... While ours is timed, the usual loop's workers are
stopped (SIGSTOP), queues as they are, so that neither side works on the other's time; starting
the workers is not timed. Each round begins with one untimed step. With ``--crop N``, ours cuts
the centre N pixels and is compared with the usual loop on whole images (what a crop buys) and
with the usual loop behind a CenterCrop(N) (the same pixels).

Prints a JSON row per network, from which every figure can be rebuilt, then a table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import chain, count
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import timm
import torch
from PIL import Image, ImageFilter
from torch import nn
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from drupe.data.synthetic.generation import synthesise
from drupe.errors import DrupeError
from drupe.models.network import build_network
from drupe.models.zoo import resolve
from drupe.training.augmentation import line_kernels
from drupe.training.config import ExperimentConfig, validate_experiment
from drupe.training.distributed import World
from drupe.training.engine import Trainer, batches, epoch_order
from drupe.training.execution import choose_device, choose_precision, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.seeding import Stream, generator, seed_torch
from provenance import commit

NETWORKS = ("resnet50", "efficientnet_lite0", "convnext_tiny", "efficientnet_b2")
WORKERS = 2
SYNTHETIC_IMAGES = 800
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LIBRARIES = ("drupe", "numpy", "pillow", "timm", "torch", "torchvision")


class Loop(Protocol):
    """Something that trains one batch at a time, and can be told to keep still."""

    def step(self) -> None:
        """Train on one batch."""

    def resume(self) -> None:
        """Get ready for a timed round."""

    def pause(self) -> None:
        """Use no processor time until :meth:`resume`."""


# --- Ours ----------------------------------------------------------------------------------------


class OurLoop:
    """The real ``Trainer`` on the packed data set, in the precision that it would choose."""

    def __init__(
        self, config: ExperimentConfig, data: PreparedData, store: Path, threads: int
    ) -> None:
        device = choose_device(config.training.device, World())
        source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
        geometry = data.geometry(config)
        seed_torch(config.seed, Stream.WEIGHTS)
        network = build_network(
            config.model.architecture,
            input_range=config.input.range,
            geometry=geometry,
            pretrained=False,
            frozen=False,
        ).network
        self.precision = choose_precision(network, config, data, source, store, threads, World())
        self.trainer = Trainer(
            network, config, source, data.split.fit, geometry, self.precision, World()
        )
        self.trainer.network.train()
        self.batches = self._batches(config)

    def _batches(self, config: ExperimentConfig) -> Iterator[tuple[Any, ...]]:
        for epoch in count():
            order = epoch_order(self.trainer.fit, config.seed, epoch)
            for step, items in batches(order, config.training.batch_size, World()):
                yield epoch % config.training.epochs, step, items

    def step(self) -> None:
        """Take the next batch of the epoch's order, as ``Trainer.train_epoch`` does."""
        epoch, step, items = next(self.batches)
        self.trainer.train_step(epoch, step, items, generator(0, Stream.AUGMENTATION, epoch, step))

    def resume(self) -> None:
        """Take on the processor's mode that every run trains in."""
        torch.set_flush_denormal(True)

    def pause(self) -> None:
        """Leave the processor in its default mode."""
        torch.set_flush_denormal(False)


# --- The usual -----------------------------------------------------------------------------------


class PilMotionBlur:
    """A 5 × 5 line kernel at a random angle, on one PIL image."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the blurred image, at the size it had."""
        angle = torch.tensor([random.uniform(0, math.pi)])
        kernel = line_kernels(angle, 5).flatten().tolist()
        return image.filter(ImageFilter.Kernel((5, 5), kernel, scale=1))


def usual_transforms(crop: int | None) -> transforms.Compose:
    """Return Drupe's default augmentation as a list of torchvision transforms on PIL images."""
    bilinear = transforms.InterpolationMode.BILINEAR
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomAffine(180, (0.1, 0.1), (0.9, 1.1), interpolation=bilinear),
            *([transforms.CenterCrop(crop)] if crop else []),
            transforms.ColorJitter(0.3, 0.3, 0.2, 0.05),
            transforms.RandomApply([PilMotionBlur()], p=0.5),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


class UsualLoop:
    """ImageFolder, PIL transforms, a DataLoader with workers, fp32, default layout."""

    def __init__(self, architecture: str, folder: Path, batch: int, crop: int | None, device: str):
        self.device = torch.device(device)
        self.model = timm.create_model(resolve(architecture), num_classes=2).to(self.device).train()
        self.loss_function = nn.CrossEntropyLoss()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.05)
        dataset = ImageFolder(str(folder), usual_transforms(crop))
        # One endless epoch: workers are started once, outside of the timing.
        sampler = RandomSampler(dataset, replacement=True, num_samples=2**24)
        cuda = self.device.type == "cuda"
        before = set(active_children())
        loader = DataLoader(dataset, batch, sampler=sampler, num_workers=WORKERS, pin_memory=cuda)
        self.batches = iter(loader)
        self.workers = [child for child in active_children() if child not in before]

    def step(self) -> None:
        """Train on what the workers have ready."""
        images, targets = next(self.batches)
        images, targets = images.to(self.device), targets.to(self.device)
        loss = self.loss_function(self.model(images), targets)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def resume(self) -> None:
        """Wake the workers."""
        self._signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stop the workers where they are."""
        self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """Let the workers end."""
        self.resume()
        del self.batches

    def _signal(self, what: signal.Signals) -> None:
        for worker in self.workers:
            if worker.pid is not None:
                os.kill(worker.pid, what)


# --- Timing --------------------------------------------------------------------------------------


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def time_round(loop: Loop, steps: int) -> float:
    """Return seconds for ``steps`` steps, after an untimed one."""
    loop.resume()
    loop.step()
    synchronise()
    started = time.perf_counter()
    for _ in range(steps):
        loop.step()
    synchronise()
    spent = time.perf_counter() - started
    loop.pause()
    return spent


def measure(loops: dict[str, Loop], rounds: int, steps: int, batch: int) -> dict[str, list[float]]:
    """Return images/s of each round for every loop, the loops taking turns.

    A round before the first is not counted: kernels are built and the workers' queues fill.
    """
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(-1, rounds):
        for name, loop in loops.items():
            seconds = time_round(loop, steps if turn >= 0 else WORKERS * 2)
            if turn >= 0:
                speeds[name].append(round(steps * batch / seconds, 2))
    return speeds


def compare(
    architecture: str, folder: Path, store: Path, threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one network and return its row, without what is the same for all rows."""
    config = experiment(architecture, folder, options)
    device = choose_device(options.device, World()).type
    ours = OurLoop(config, prepare_data(config, store), store, threads)
    train = folder / "train" if (folder / "train").is_dir() else folder
    crops = {"usual": None, **({"usual_cropped": options.crop} if options.crop else {})}
    usual = {
        name: UsualLoop(architecture, train, options.batch, crop, device)
        for name, crop in crops.items()
    }
    try:
        for loop in usual.values():
            loop.pause()
        speeds = measure({**usual, "ours": ours}, options.rounds, options.steps, options.batch)
    finally:
        for loop in usual.values():
            loop.close()
    medians = {name: round(median(values), 2) for name, values in speeds.items()}
    return {
        "network": architecture,
        "side": options.size,
        "crop": options.crop,
        "precision": ours.precision.dtype,
        "layout": ours.precision.layout,
        "images_per_second": speeds,
        "medians": medians,
        "ratios": {name: round(medians["ours"] / medians[name], 2) for name in usual},
    }


def experiment(architecture: str, folder: Path, options: argparse.Namespace) -> ExperimentConfig:
    """Return Drupe's default experiment on ``folder``, with the usual loop's input range."""
    document = {
        "model": {"architecture": architecture, "pretrained": False},
        "input": {"size": options.size, "range": "imagenet", "crop": options.crop or "none"},
        "data": {"root": folder},
        "training": {"batch_size": options.batch, "device": options.device},
    }
    return validate_experiment(document, "benchmark")


# --- Output --------------------------------------------------------------------------------------


def circumstances(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Return what every row shares: enough to run it again."""
    capabilities = torch.cpu.get_capabilities()
    extensions = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": shlex.join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]]),
        "commit": commit(),
        "processor": capabilities.get("cpu_name") or platform.processor(),
        "cores": os.cpu_count(),
        "load_at_start": options.load,  # far above zero: others were using the processor
        "extensions": [name for name in extensions if capabilities.get(name)],
        "gpu": gpu if options.device != "cpu" else None,
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "threads": threads,
        "workers": WORKERS,
        "batch": options.batch,
        "rounds": options.rounds,
        "steps_per_round": options.steps,
        "data": "given folder" if options.data else f"{SYNTHETIC_IMAGES} synthetic, seed 0",
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of medians (lowest to highest round) and ratios."""
    names = list(rows[0]["ratios"])
    header = ["network", "ours", *chain.from_iterable((name, "×") for name in names), "chosen"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        usual = chain.from_iterable((cell(row, n), f"**{row['ratios'][n]:.2f}**") for n in names)
        chosen = f"{row['precision']} {row['layout']}"
        lines.append([row["network"], cell(row, "ours"), *usual, chosen])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(row: dict[str, Any], name: str) -> str:
    speeds = row["images_per_second"][name]
    return f"{row['medians'][name]:.1f} ({min(speeds):.1f}-{max(speeds):.1f})"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    summary = (__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--data", type=Path, help="folder of crops; default: a synthetic set")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds per loop")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per round")
    parser.add_argument("--batch", type=int, default=32, help="images per step")
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--crop", type=int, help="pixels: centre crop of our loop")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args(arguments)
    options.load = round(os.getloadavg()[0], 2)
    for name in ("rounds", "steps", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: must be at least 1, got {getattr(options, name)}")
    return options


def main() -> int:
    options = parse()
    threads = set_threads(None, World())
    torch.set_flush_denormal(False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="drupe-benchmark-") as scratch:
        folder = options.data
        if folder is None:
            folder = Path(scratch) / "cherries"
            synthesise(folder, images=SYNTHETIC_IMAGES, size=options.size, seed=0)
        for architecture in options.networks:
            try:
                row = compare(architecture, folder, Path(scratch) / "store", threads, options)
            except DrupeError as error:
                print(error, file=sys.stderr)
                return 2
            rows.append(row)
            print(json.dumps({**row, **circumstances(options, threads)}), flush=True)
    print(f"\nimages/s: median of {options.rounds} rounds (lowest-highest)\n\n{table(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
