"""What every benchmark's row says of where it was measured."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from drupe.host import cpu_name, installed_versions, load_average


def commit() -> str:
    """Return the commit of the source, marked where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+changes" if changed else name


def peak_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that the process (or any ended child) ever held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 1e6


def resident_mb() -> float:
    """Return the memory that the process holds now, in MB; Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def circumstances(script: str, *libraries: str) -> dict[str, Any]:
    """Return command, commit, processor, cores, load and versions: the head of a row."""
    return {
        "command": " ".join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
        "commit": commit(),
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "load_at_start": load_average(),
        "versions": installed_versions(libraries),
    }
