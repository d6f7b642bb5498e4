"""``drupe doctor``: what this installation can do, and what is broken about it."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import typer

from drupe import __version__
from drupe.cli.console import print_json, print_line, stdout, table
from drupe.cli.options import STORE, Json, Store, WeightsFolder, examples
from drupe.errors import InputError
from drupe.host import available_cores, cpu_name, installed_version

EXAMPLES = examples("drupe doctor", "drupe doctor --store /data/drupe-store --json")

GIB = 2**30


def doctor(store: Store = STORE, weights: WeightsFolder = None, as_json: Json = False) -> None:
    """Show what this installation can do. Versions, devices, sources of weights, the store;
    exit 1 if something is broken.
    """
    report = examine(store, weights)
    if as_json:
        print_json(report)
    else:
        render(report)
    if report["problems"]:
        raise typer.Exit(1)


def examine(store: Path, weights: Path | None) -> dict[str, Any]:
    """Return the whole report, JSON-like. Nothing is installed, downloaded or kept."""
    packages = installed_packages()
    has_torch = packages.get("torch") is not None
    where = examine_store(store)
    problems: list[str] = [where["problem"]] if where["problem"] else []
    notes = []
    devices = [cpu()]
    sources: list[Any] = []
    if has_torch:
        try:
            devices = torch_devices()
            sources = weights_sources(weights)
        except InputError as error:  # the folder of weights is not there; the others may be
            problems += error.problems
            sources = weights_sources(None)
        except (ImportError, OSError) as error:  # a broken wheel or a library that doesn't load
            problems.append(f"torch is installed but does not load: {error}")
    else:
        notes.append(
            "torch is not installed, so nothing can be trained: pip install 'drupe[train]'"
        )
    return {
        "drupe": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "extras": installed_extras(packages),
        "devices": devices,
        "backends": backends(),
        "weights": sources,
        "store": where,
        "memory": memory(),
        "notes": notes,
        "problems": problems,
    }


def _requirements() -> dict[str, set[str]]:
    """Return package -> the extras that bring it ("" for the core), from installed metadata."""
    found: dict[str, set[str]] = {}
    try:
        lines = requires("drupe") or []
    except PackageNotFoundError:  # run from a source tree that was never installed
        return found
    for line in lines:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        if name and name[0] != "drupe" and (extra is None or extra[1] != "dev"):
            found.setdefault(name[0], set()).add(extra[1] if extra else "")
    return found


def installed_packages() -> dict[str, str | None]:
    """Return the version of each package that the core or an extra names; None where missing."""
    return {name: installed_version(name) for name in sorted(_requirements())}


def installed_extras(packages: Mapping[str, str | None]) -> dict[str, bool]:
    """Return for each extra that users install whether all it names is there."""
    requirements = _requirements()
    extras = sorted(set().union(*requirements.values()) - {""})
    return {
        extra: all(packages.get(name) for name, groups in requirements.items() if extra in groups)
        for extra in extras
    }


def cpu() -> dict[str, Any]:
    """Return the processor's name and the cores that this process may use."""
    return {"device": "cpu", "name": cpu_name(), "cores": available_cores()}


def torch_devices() -> list[dict[str, Any]]:
    """Return the CPU and every CUDA device with the reduced precision each computes natively."""
    import torch

    from drupe.training.precision import native_reduced

    devices = [{**cpu(), "native": native_reduced(torch.device("cpu"))}]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "memory_bytes": properties.total_memory,
                "native": native_reduced(torch.device("cuda", index)),
            }
        )
    return devices


def backends() -> list[dict[str, Any]]:
    """Return what can run bundles, with the precisions that each computes here, or why none."""
    from drupe.deployment.backends import obstacle, registered

    found = []
    for one in registered():
        reasons = {name: obstacle(one.name, name) for name in one.precisions}
        here = [name for name, reason in reasons.items() if reason is None]
        why = None if here else next(iter(reasons.values()), one.obstacle("fp32"))
        found.append({"backend": one.name, "precisions": here, "unavailable": why})
    return found


def weights_sources(folder: Path | None) -> list[Any]:
    """Return where pretrained weights can come from, in the order in which they are tried."""
    from drupe.models.weights import available_sources

    return [str(source) for source in available_sources(folder)]


def examine_store(store: Path) -> dict[str, Any]:
    """Return whether the store can be written, and its disk; nothing is left behind."""
    existing = store.absolute()
    while not existing.exists():
        existing = existing.parent
    problem = None
    try:
        with tempfile.TemporaryFile(dir=existing) as stream:
            stream.write(b"drupe")
    except OSError as error:
        problem = f"{store}: the store can't be written: {error.strerror}: choose another --store"
    disk = shutil.disk_usage(existing)
    return {
        "path": str(store),
        "exists": store.exists(),
        "writable": problem is None,
        "problem": problem,
        "disk_total_bytes": disk.total,
        "disk_free_bytes": disk.free,
    }


def memory() -> dict[str, int | None]:
    """Return bytes of memory in all and available, None where the system doesn't tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return {"total_bytes": None, "available_bytes": None}
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    return {
        "total_bytes": total * 1024 if total else None,
        "available_bytes": available * 1024 if available else None,
    }


def render(report: Mapping[str, Any]) -> None:
    """Print the report for a person."""
    print_line(
        f"drupe {report['drupe']}, Python {report['python']}, {report['platform']}", style="bold"
    )
    rows = [[name, found or "missing"] for name, found in report["packages"].items()]
    stdout().print(table(["package", "version"], rows))
    print_line("")
    for name, complete in report["extras"].items():
        print_line(
            f"drupe[{name}]: "
            + ("installed" if complete else f"incomplete: pip install 'drupe[{name}]'")
        )
    for device in report["devices"]:
        print_line(_device_line(device))
    for backend in report["backends"]:
        here = ", ".join(backend["precisions"]) or f"not available: {backend['unavailable']}"
        print_line(f"backend {backend['backend']}: {here}")
    for source in report["weights"]:
        print_line(f"weights: {source}")
    total, available = report["memory"]["total_bytes"], report["memory"]["available_bytes"]
    if total and available:
        print_line(f"memory: {available / GIB:.1f} of {total / GIB:.1f} GiB free")
    store = report["store"]
    print_line(
        f"store: {store['path']}: {'writable' if store['writable'] else 'NOT WRITABLE'}, "
        f"{store['disk_free_bytes'] / GIB:.1f} of {store['disk_total_bytes'] / GIB:.1f} GiB free"
    )
    for note in report["notes"]:
        print_line(f"note: {note}", style="yellow")
    for problem in report["problems"]:
        print_line(f"problem: {problem}", style="bold red")
    if not report["problems"]:
        print_line("no problems found", style="green")


def _device_line(device: Mapping[str, Any]) -> str:
    parts = [f"{device['device']}: {device['name']}"]
    if "cores" in device:
        parts.append(f"{device['cores']} cores")
    if "memory_bytes" in device:
        parts.append(f"{device['memory_bytes'] / GIB:.1f} GiB")
    if "native" in device:
        native = device["native"]
        parts.append(f"{native} natively" if native else "no native bf16")
    return ", ".join(parts)
