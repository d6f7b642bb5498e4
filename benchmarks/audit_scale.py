"""Time ``drupe data audit`` on many synthetic crops with known faults, and say what it found.

    python benchmarks/audit_scale.py                  # 100,000 images: about 40 minutes on 2 cores
    python benchmarks/audit_scale.py --images 5000    # under two minutes

Prints one JSON row from which the figure can be rebuilt. Inspecting, describing, comparing and
confirming take time in proportion to the images; so does nominating beyond 8,192 images (each is
compared with its cells, about 12,000 images, whatever the size of the set). The extrapolation to
1,000,000 is therefore linear; a million took 70 minutes on two busy cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from drupe.data.audit import audit
from drupe.data.synthetic.generation import synthesise
from drupe.data.synthetic.truth import Truth
from drupe.host import cpu_name
from drupe.progress import Tracker, silent
from provenance import commit, peak_mb


def main() -> None:
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="drupe-audit-", dir=options.folder))
    try:
        print(json.dumps(measure(folder, options), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128, help="side in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=None, help="threads")
    parser.add_argument("--folder", type=Path, default=None, help="where the images are made")
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    faults = max(1, options.images // 1000)
    names = ("leaks", "duplicates", "near_duplicates", "contradictions", "blanks", "corrupt")
    truth = synthesise(
        folder / "images",
        images=options.images,
        size=options.size,
        seed=options.seed,
        **dict.fromkeys(names, faults),
    )
    made_mb = peak_mb()
    stages: dict[str, float] = {}
    started = time.perf_counter()
    found = audit(
        folder / "images",
        store=folder / "store",
        workers=options.workers,
        progress=recorder(stages),
    ).to_json()
    seconds = time.perf_counter() - started
    return {
        "benchmark": "audit_scale",
        "command": " ".join(["python", *sys.argv]),
        "commit": commit(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "images": options.images,
        "size": options.size,
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "images_per_second": round(options.images / seconds, 1),
        "stages_seconds": {name: round(value, 1) for name, value in stages.items()},
        "peak_mb": round(peak_mb()),
        "peak_mb_before_audit": round(made_mb),
        "scratch_mb": round(options.images * 3072 / 1e6, 1),
        "search": found["search"],
        "faults": compare(truth, found),
        "hours_for_1_000_000": round(seconds / options.images * 1e6 / 3600, 2),
    }


def compare(truth: Truth, found: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Injected, found and falsely reported faults."""
    lists = found["findings"]
    pairs = {
        "near_duplicates": (
            {frozenset(pair[:2]) for pair in truth.near_duplicates},
            {frozenset((pair["first"], pair["second"])) for pair in lists["near_duplicates"]},
        ),
        "exact_duplicates": (
            {frozenset(p) for p in (*truth.leaks, *truth.duplicates, *truth.contradictions)},
            {frozenset(group) for group in lists["exact_duplicates"]},
        ),
        "leaks": (
            {frozenset(pair) for pair in truth.leaks},
            {frozenset(group) for group in lists["cross_split_duplicates"]},
        ),
        "contradictions": (
            {frozenset(pair) for pair in truth.contradictions},
            {frozenset(group) for group in lists["contradictory_labels"]},
        ),
        "blanks": (set(truth.blanks), set(lists["blank_or_tiny"])),
        "corrupt": (
            {path for path, _ in truth.corrupt},
            {item["path"] for item in lists["unreadable"]},
        ),
    }
    return {
        name: {
            "injected": len(injected),
            "found": len(injected & reported),
            "false": len(reported - injected),
        }
        for name, (injected, reported) in pairs.items()
    }


def recorder(stages: dict[str, float]) -> Any:
    @contextmanager
    def progress(what: str, total: int, unit: str) -> Iterator[Tracker]:
        started = time.perf_counter()
        with silent(what, total, unit) as tracker:
            yield tracker
        stages[what] = stages.get(what, 0.0) + time.perf_counter() - started
        print(f"{what}: {total:,} {unit}, {stages[what]:.1f} s", file=sys.stderr, flush=True)

    return progress


if __name__ == "__main__":
    main()
