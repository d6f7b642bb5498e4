"""The device, threads, number format and memory layout that a run computes with on this host.

None of it is part of a run's identity. What was decided is written into ``config.yaml`` and
taken up again on resume, because another choice would end in other weights.
"""

from __future__ import annotations

import copy
import ctypes
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from drupe.errors import InputError
from drupe.host import available_cores
from drupe.models.network import Network
from drupe.progress import Progress, silent
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.engine import Trainer
from drupe.training.image_batches import ImageSource
from drupe.training.precision import Precision, candidates, decide, host_key
from drupe.training.preparation import PreparedData
from drupe.training.seeding import Stream, generator


def choose_device(wanted: str, world: World) -> torch.device:
    """Return the device: ``auto`` takes this process's GPU where there is one."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise InputError(
            "training.device: must be cpu or auto here, got cuda: no CUDA device found"
        )
    if wanted == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", world.local_rank)


def set_threads(wanted: int | None, world: World) -> int:
    """Set and return this process's CPU threads; null shares the cores among local processes."""
    if wanted is None:
        shared = max(1, available_cores() // world.local_size)
        # PyTorch counts no second thread of a core, which would bring nothing.
        wanted = min(shared, torch.get_num_threads()) if world.size == 1 else shared
    torch.set_num_threads(wanted)
    # Weights that decay into subnormal numbers make a CPU ten times slower.
    torch.set_flush_denormal(True)
    keep_freed_memory()
    return wanted


def keep_freed_memory() -> None:
    """Let glibc reuse freed activations instead of handing them back to the kernel.

    By default each large tensor is mapped anew, and every page of it is cleared at its first
    touch: 100,000 page faults in one step of EfficientNet-Lite0, a fifth of its time. Elsewhere
    (other C libraries, other systems) this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of ``malloc.h``; see mallopt(3)."""


def with_recorded(config: ExperimentConfig, recorded: ExperimentConfig | None) -> ExperimentConfig:
    """Return ``config`` with what a run's first start decided, where it leaves that open.

    A record made on a GPU says nothing for a host without one.
    """
    if recorded is None or (recorded.training.device == "cuda" and not torch.cuda.is_available()):
        return config
    training, old = config.training, recorded.training
    return _with_training(
        config,
        device=old.device if training.device == "auto" else training.device,
        threads=training.threads or old.threads,
        precision=old.precision if training.precision == "auto" else training.precision,
        layout=old.layout if training.layout == "auto" else training.layout,
    )


def resolved(
    config: ExperimentConfig, device: torch.device, threads: int, precision: Precision
) -> ExperimentConfig:
    """Return ``config`` with nothing left open: what ``config.yaml`` records."""
    return _with_training(
        config,
        device=device.type,
        threads=threads,
        precision=precision.dtype,
        layout=precision.layout,
    )


def _with_training(config: ExperimentConfig, **changes: object) -> ExperimentConfig:
    training = config.training.model_copy(update=changes)
    return config.model_copy(update={"training": training})


def choose_precision(
    network: Network,
    config: ExperimentConfig,
    data: PreparedData,
    source: ImageSource,
    store: Path,
    threads: int,
    world: World,
    progress: Progress = silent,
) -> Precision:
    """Return the configured or the fastest number format and layout, the same on every rank.

    Where something is open and the store has no record, rank 0 times real steps on a copy.
    """
    training, device = config.training, source.device
    options = candidates(device, training.precision, training.layout)
    geometry = data.geometry(config)
    batch = max(1, min(training.batch_size, len(data.split.fit)) // world.size)
    items = data.split.fit[:batch]
    key = {
        "architecture": config.model.architecture,
        "frozen": config.model.frozen,
        "side": geometry.side,
        "batch": batch,
        **({"channels": "mono"} if config.input.channels == "mono" else {}),
        **host_key(device, threads),
    }

    def start(option: Precision) -> Callable[[], None]:
        trainer = Trainer(
            copy.deepcopy(network), config, source, data.split.fit, geometry, option, World()
        )
        trainer.network.train()
        random = generator(0, Stream.AUGMENTATION)

        def run_step() -> None:
            trainer.train_step(0, 0, items, random)

        return run_step

    chosen = None
    if world.is_main:
        chosen = decide(options, key, store, start, device, progress)
    return world.from_main(chosen)  # type: ignore[return-value]
