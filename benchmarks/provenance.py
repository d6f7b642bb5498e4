"""What every benchmark's row says of where it was measured."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path


def commit() -> str:
    """Return the commit of the source, marked where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+changes" if changed else name


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_mb(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that the process (or any ended child) ever held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 1e6
