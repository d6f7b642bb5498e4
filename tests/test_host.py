from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from drupe import __version__, host


def test_only_cores_that_this_process_may_use_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert host.available_cores() == 3

    monkeypatch.delattr(os, "sched_getaffinity")
    for counted, cores in ((4, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert host.available_cores() == cores


def test_a_policy_for_waiting_threads_is_kept(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    host.share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"

    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    host.share_cores()
    assert os.environ["OMP_WAIT_POLICY"] == "active"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: Line CPU 9 \nflags\t: a\n", "Line CPU 9"),
        ("processor\t: 0\n", "riscv64"),
        (None, "Apple M9"),
    ],
)
def test_the_processor_s_name(monkeypatch, cpuinfo, name):
    def read(self, encoding):
        if cpuinfo is None:
            raise FileNotFoundError(self)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(platform, "processor", lambda: "Apple M9")
    assert host.cpu_name() == name


def test_what_identifies_a_host():
    assert host.host_description() == {
        "name": platform.node(),
        "system": platform.platform(),
        "machine": platform.machine(),
    }


def test_the_load_where_the_system_tells_it(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.237, 5.0, 9.0), raising=False)
    assert host.load_average() == 1.24
    monkeypatch.delattr(os, "getloadavg")
    assert host.load_average() is None


def test_versions_of_what_is_installed():
    assert host.installed_version("drupe") == __version__
    assert host.installed_version("no-such-package") is None
    assert host.installed_versions(["no-such-package", "drupe"]) == {
        "python": platform.python_version(),
        "drupe": __version__,
    }
