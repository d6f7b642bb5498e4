"""Number format and memory layout of training: timed on a few real steps, then kept on record.

Which is fastest differs by network and processor by a factor of three, and no rule predicts it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from drupe.configuration import Tree, fingerprint
from drupe.derived import read_document, write_document
from drupe.progress import Progress, silent

TIMED_STEPS = 3
PREFER_FP32 = 1.10
"""A lower precision must be this much faster than fp32: noise in a timing shouldn't choose it."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A number format for autocast and a memory layout for activations."""

    dtype: Literal["fp32", "bf16", "fp16"]
    layout: Literal["contiguous", "channels_last"]

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout in torch's words."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Torch's autocast in this format (a no-op for fp32)."""
        return torch.autocast(device.type, DTYPES[self.dtype], enabled=self.dtype != "fp32")


def native_reduced(device: torch.device) -> Literal["bf16", "fp16"] | None:
    """Return the reduced format that ``device`` computes natively, bf16 before fp16."""
    if device.type == "cuda":
        bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bf16" if bf16 else "fp16"
    features = torch.cpu.get_capabilities()
    return "bf16" if any(features.get(name) for name in ("avx512_bf16", "amx_bf16")) else None


def candidates(device: torch.device, dtype: str, layout: str) -> list[Precision]:
    """Return what the configuration leaves open on ``device``, fp32 first."""
    reduced = native_reduced(device)
    dtypes = [dtype] if dtype != "auto" else ["fp32", *([reduced] if reduced else [])]
    layouts = [layout] if layout != "auto" else ["channels_last", "contiguous"]
    return [Precision(d, m) for d in dtypes for m in layouts]  # type: ignore[arg-type]


def host_key(device: torch.device, threads: int) -> dict[str, Any]:
    """Return the processor, threads and torch version that a timing holds for."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.cpu.get_capabilities().get("cpu_name", "unknown")
    )
    return {"device": str(name), "threads": threads, "torch": torch.__version__}


def decide(
    options: Sequence[Precision],
    key: Tree,
    store: Path,
    start: Callable[[Precision], Callable[[], None]],
    device: torch.device,
    progress: Progress = silent,
) -> Precision:
    """Return the fastest option, from the store's record of ``key`` or by timing real steps.

    ``start(option)`` returns a function that does one training step. The record is
    ``STORE/precision/HASH.json`` with every option's seconds per step.
    """
    if len(options) == 1:
        return options[0]
    key = {**key, "options": [asdict(option) for option in options]}
    record = store / "precision" / f"{fingerprint(key)[:16]}.json"
    known = _recorded(record, key)
    if known is not None and known in options:
        return known
    seconds = _time_in_turns({option: start(option) for option in options}, device, progress)
    chosen = choose(seconds)
    timings = [{**asdict(option), "seconds": spent} for option, spent in seconds.items()]
    write_document(record, key, {"chosen": asdict(chosen), "timings": timings})
    return chosen


def _recorded(record: Path, key: Tree) -> Precision | None:
    """Return what ``record`` chose for ``key``; a record is a cache, so a damaged one is absent."""
    document = read_document(record, key)
    try:
        return Precision(**document["chosen"]) if document else None
    except (LookupError, TypeError):
        return None


def _time_in_turns(
    steps: Mapping[Precision, Callable[[], None]], device: torch.device, progress: Progress
) -> dict[Precision, float]:
    """Return each option's best time of a step, in seconds.

    Options take turns, so that a busy moment of the host can't fall on one of them alone.
    """
    seconds = dict.fromkeys(steps, math.inf)
    with progress("time precisions", len(steps) * (TIMED_STEPS + 1), "steps") as tracker:
        for turn in range(TIMED_STEPS + 1):
            for option, run_step in steps.items():
                _synchronise(device)
                started = time.perf_counter()
                run_step()
                _synchronise(device)
                if turn > 0:  # the first builds kernels and claims memory
                    seconds[option] = min(seconds[option], time.perf_counter() - started)
                tracker.advance(note=f"{option.dtype} {option.layout}")
    return seconds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def choose(seconds: dict[Precision, float]) -> Precision:
    """Return the fastest; a reduced format only where it beats the best fp32 clearly."""
    fastest = min(seconds, key=seconds.__getitem__)
    exact = [option for option in seconds if option.dtype == "fp32"]
    if not exact:
        return fastest
    best_exact = min(exact, key=seconds.__getitem__)
    clearly = seconds[best_exact] >= PREFER_FP32 * seconds[fastest]
    return fastest if clearly else best_exact
