"""Processes of this machine, as Linux lists them in /proc."""

from __future__ import annotations

import time
from pathlib import Path


def status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status; none of a process that has gone or is a zombie."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {} if fields["State"].startswith("Z") else fields


def children_of(parent: int) -> list[int]:
    """Return the ids of the living processes that ``parent`` has started."""
    pids = [int(item.name) for item in Path("/proc").iterdir() if item.name.isdigit()]
    return sorted(pid for pid in pids if status(pid).get("PPid") == str(parent))


def all_gone(pids: list[int], seconds: float = 10.0) -> bool:
    """Return whether none of ``pids`` is alive after at most ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(status, pids)):
            return True
        time.sleep(0.05)
    return False
