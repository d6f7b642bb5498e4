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


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write control groups as Linux shows them; eight cores are there to be run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(host, "CONTROL_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host, "OWN_GROUPS", tmp_path / "own")

    def write(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    return write


V1 = "9:name=systemd:/\n5:cpuset:/\n4:cpu,cpuacct:/docker/ab\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # rounded up
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),  # more than there are
        ("0::/\n", {"cpu.max": "400000\n"}, 8),  # no period: not what Linux writes
        # A service: its own group has no limit, the one around it has.
        (
            "0::/a.slice/b\n",
            {"a.slice/cpu.max": "300000 100000\n", "a.slice/b/cpu.max": "max 1"},
            3,
        ),
        (V1, {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "-1"}, 8),
        (
            V1,
            {
                "cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        # Inside the container its group is the root, while its name is that outside.
        (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ("nonsense", {}, 8),
    ],
)
def test_a_quota_of_processor_time_counts_as_cores(control_groups, own, files, cores) -> None:
    control_groups(own, **files)
    assert host.available_cores() == cores


def test_libraries_are_told_of_a_quota(control_groups, monkeypatch) -> None:
    for name in host.THREADS_OF_LIBRARIES:
        monkeypatch.setenv(name, "")  # to be put back
        monkeypatch.delenv(name)
    control_groups("0::/\n")
    host.share_cores()
    assert not [name for name in host.THREADS_OF_LIBRARIES if name in os.environ]
    control_groups("0::/\n", **{"cpu.max": "300000 100000\n"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    host.share_cores()
    told = {name: os.environ[name] for name in host.THREADS_OF_LIBRARIES}
    assert told == dict.fromkeys(told, "3") | {"OMP_NUM_THREADS": "1"}


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
