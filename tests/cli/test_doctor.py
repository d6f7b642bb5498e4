from __future__ import annotations

import errno
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NoReturn

import pytest

from drupe import __version__, host
from drupe.cli import doctor as doctor_module
from drupe.cli.doctor import (
    examine,
    examine_store,
    installed_extras,
    installed_packages,
    memory,
    render,
)
from drupe.host import cpu_name


@pytest.fixture
def core_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after ``pip install drupe`` without an extra."""

    def version(name: str) -> str:
        if name in {"scipy", "timm", "torch", "torchvision"}:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(host, "version", version)
    monkeypatch.setitem(sys.modules, "torch", None)


def test_the_report_names_versions_devices_and_store(drupe, tmp_path: Path) -> None:
    result = drupe("doctor", "--json", "--store", tmp_path / "deep" / "store")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["drupe"] == __version__
    assert report["packages"]["numpy"]
    assert report["devices"][0]["device"] == "cpu"
    assert report["devices"][0]["cores"] >= 1
    assert report["store"]["writable"] is True
    assert report["store"]["disk_free_bytes"] > 0
    assert report["problems"] == []
    assert list(tmp_path.iterdir()) == [], "a look must leave nothing behind"


@pytest.mark.usefixtures("core_only")
def test_a_person_can_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    report = examine(tmp_path, None)
    render(report)
    printed = capsys.readouterr().out
    assert f"drupe {__version__}" in printed
    assert f"store: {tmp_path}: writable" in printed
    assert "no problems found" in printed
    render({**report, "problems": ["the [disk] is on fire"]})
    printed = capsys.readouterr().out
    assert "problem: the [disk] is on fire" in printed
    assert "no problems found" not in printed


@pytest.mark.usefixtures("core_only")
def test_without_torch_it_says_what_to_install(tmp_path: Path) -> None:
    report = examine(tmp_path, None)
    assert report["problems"] == []
    assert "pip install 'drupe[train]'" in report["notes"][0]
    assert report["extras"]["evidence"] is False
    assert report["extras"]["train"] is False
    assert report["devices"][0]["device"] == "cpu"


def test_a_torch_that_does_not_load_is_a_problem(drupe) -> None:
    result = drupe("doctor", "--json", blocked=("torch",))
    assert result.code == 1
    assert "torch is installed but does not load" in json.loads(result.stdout)["problems"][0]


def test_a_file_where_the_store_should_be_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    found = examine_store(tmp_path / "file" / "store")
    assert found["writable"] is False
    assert "can't be written" in found["problem"]


def test_a_store_without_permission_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(doctor_module.tempfile, "TemporaryFile", refuse)
    found = examine_store(tmp_path / "store")
    assert found["writable"] is False
    assert "Permission denied" in found["problem"]


def test_packages_come_from_the_installed_metadata() -> None:
    packages = installed_packages()
    assert packages["pydantic"]
    assert {"numpy", "torch", "scipy"} <= set(packages)
    assert "pytest" not in packages, "nobody needs dev to use drupe"


def test_an_extra_is_complete_or_not() -> None:
    packages = installed_packages()
    assert installed_extras({**packages, "scipy": None})["evidence"] is False
    assert installed_extras({**packages, "timm": None})["train"] is False
    assert installed_extras({name: "1" for name in packages})["train"] is True


def test_the_host_is_described() -> None:
    assert cpu_name()
    found = memory()
    assert set(found) == {"total_bytes", "available_bytes"}


def test_a_folder_of_weights_that_is_not_there_is_a_problem(drupe) -> None:
    result = drupe("doctor", "--json", "--weights", "nowhere")
    assert result.code == 1, result.stderr
    report = json.loads(result.stdout)
    assert report["problems"] == [
        "nowhere: must be a folder of weights (--weights or DRUPE_WEIGHTS), got no such folder"
    ]
    assert report["devices"][0]["device"] == "cpu"
    assert report["weights"], "the other sources are looked at all the same"
