"""The machine and the installation that this process runs on: cores, names, load, versions."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux keeps control groups, by which containers and services are given a share of it."""

OWN_ADDRESSES = ("127.0.0.1", "::1", "localhost")
"""Where only this machine can ask what listens there."""

THREADS_OF_LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""Read when PyTorch, NumPy and Polars are loaded; without them they take all cores they see."""


def available_cores() -> int:
    """Return the number of cores that this process may keep busy.

    Those that it may run on, but no more than a container's or service's quota of processor time
    pays for, rounded up: threads beyond that only wait for each other to be let on again.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota() -> float | None:
    """Return the cores' worth of time that control groups allow, None without a limit.

    Of this process's group and all around it, versions 1 and 2; a container may see its own group
    at the root.
    """
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    found = []
    for line in lines:
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            mounts = [CONTROL_GROUPS, CONTROL_GROUPS / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [CONTROL_GROUPS / controllers, CONTROL_GROUPS / "cpu"]
        else:
            continue
        place = PurePosixPath(group.lstrip("/"))
        found += [_share(mount / part) for mount in mounts for part in (place, *place.parents)]
    shares = [share for share in found if share is not None]
    return min(shares) if shares else None


def _share(group: Path) -> float | None:
    """Return the quota of one control group in cores, None where it has none."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = " ".join((group / file).read_text(encoding="utf-8") for file in files).split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # no such file; "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None


def share_cores() -> None:
    """Let libraries take the cores that this process may use, and let waiting threads sleep.

    OpenMP reads its policy when PyTorch is loaded. With spinning threads, one other busy process
    made training on two cores ten times slower (9 instead of 107 images/s). Where processor time
    is rationed, libraries don't know: they are told. Whoever has set any of it keeps it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if _quota() is not None:
        for name in THREADS_OF_LIBRARIES:
            os.environ.setdefault(name, str(available_cores()))


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
