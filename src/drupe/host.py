"""The machine and the installation that this process runs on: cores, names, load, versions."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores() -> None:
    """Let waiting threads sleep instead of spin; OpenMP reads this when PyTorch is loaded.

    With spinning threads, one other busy process made training on two cores ten times slower
    (9 instead of 107 images/s). Whoever has set a policy keeps it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def cpu_name() -> str:
    """Return the processor's marketing name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def host_description() -> dict[str, str]:
    """Return what identifies the host: name, system and machine type."""
    return {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()}


def load_average() -> float | None:
    """Return the mean number of busy cores in the last minute, None where no system tells it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def installed_version(package: str) -> str | None:
    """Return the version of a package, None where it isn't installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those of ``packages`` that are installed."""
    found = {name: installed_version(name) for name in packages}
    installed = {name: number for name, number in found.items() if number is not None}
    return {"python": platform.python_version(), **installed}
