"""The notebook executed from top to bottom, with a study of tiny networks."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from drupe.reporting.notebook import build_notebook, to_ipynb
from drupe.study.definition.loading import load_study

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[2] / "src"
OTHERS = ["EXP-002A", "EXP-002B", "EXP-003A", "EXP-003B"]

COLAB = """
from pathlib import Path
from types import SimpleNamespace


def _mount(place):
    Path(place, "MyDrive").mkdir(parents=True, exist_ok=True)


drive = SimpleNamespace(mount=_mount)
files = SimpleNamespace(download=lambda path: print("downloaded", path))
"""
"""Stands for the module that Colab brings."""


def training(name: str, architecture: str, smoothing: float = 0.0, **keys: Any) -> dict[str, Any]:
    config = {
        "model": {"architecture": architecture},
        "training": {"label_smoothing": smoothing},
    }
    return {"id": name, "config": config, **keys}


STUDY = {
    "study": "tiny",
    "question": "Does every cell run?",
    "seeds": [1],
    "criteria": {"accuracy": 0.9405, "recall": 0.5},
    "baseline": {"experiment": "BASE"},
    "defaults": {
        "model": {"pretrained": False},
        "input": {"size": 64},
        "calibration": {"holdout": 0.25},
        "training": {
            "epochs": 1,
            "batch_size": 16,
            "threads": 1,
            "precision": "fp32",
            "layout": "contiguous",
        },
    },
    "experiments": [
        training("BASE", "test_resnet"),
        {"id": "EXP-001", "kind": "threshold", "of": "BASE"},
        training("EXP-002A", "test_convnext"),
        training("EXP-002B", "test_convnext", 0.1),
        training("EXP-003A", "test_efficientnet"),
        training("EXP-003B", "test_efficientnet", 0.1),
        training("EXP-004", "test_resnet", when={"none_of": OTHERS, "meet": "accuracy"}),
        {
            "id": "EXP-005",
            "kind": "comparison",
            "comparisons": [
                {"a": "EXP-002B", "b": "EXP-002A"},
                {"a": "EXP-003B", "b": "EXP-003A"},
            ],
        },
    ],
    "comparisons": [{"a": name, "b": "BASE"} for name in [*OTHERS, "EXP-004"]],
}
"""Phase 2 with networks of a few thousand weights."""


@pytest.fixture
def run(tmp_path, small_synthetic):
    """Execute the notebook with other settings in its first cell; return it with its outputs."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    text = to_ipynb(build_notebook(load_study(tmp_path / "tiny.yaml"), "tiny.yaml"))

    def execute(colab: bool = False, **settings: Any) -> nbformat.NotebookNode:
        document = nbformat.reads(text, as_version=4)
        document.cells[1].source += "\n" + "\n".join(
            f"{name} = {value!r}"
            for name, value in ({"DATA": str(small_synthetic)} | settings).items()
        )
        search = [str(SOURCES), os.environ.get("PYTHONPATH", "")]
        if colab:
            (tmp_path / "modules" / "google").mkdir(parents=True, exist_ok=True)
            (tmp_path / "modules" / "google" / "colab.py").write_text(COLAB)
            search.insert(0, str(tmp_path / "modules"))
        here = {"metadata": {"path": str(tmp_path)}}
        environment = {
            **{name: value for name, value in os.environ.items() if name != "DRUPE_STORE"},
            "PYTHONPATH": os.pathsep.join(search),
            "CUDA_VISIBLE_DEVICES": "",
        }
        NotebookClient(document, timeout=1800, resources=here).execute(env=environment)
        return document

    return execute


def printed(document: nbformat.NotebookNode, cell: str) -> str:
    (found,) = (item for item in document.cells if item.id == cell)
    return "".join(output.get("text", "") for output in found.outputs)


def shown(document: nbformat.NotebookNode) -> str:
    (cell,) = (item for item in document.cells if item.id == "verdict")
    data = [output.data for output in cell.outputs if output.output_type == "display_data"]
    return "".join(item.get("text/html", item.get("text/markdown", "")) for item in data)


def started(folder: Path) -> dict[str, str]:
    """Return when each finished run began: a run that is made anew begins later."""
    records = {path: json.loads(path.read_text()) for path in sorted(folder.rglob("run.json"))}
    assert {record["status"] for record in records.values()} == {"done"}
    return {str(path.relative_to(folder)): record["started"] for path, record in records.items()}


def test_a_smoke_test_runs_from_top_to_bottom_and_a_second_time_resumes(run, tmp_path) -> None:
    first = run(SMOKE=True)

    assert "configurations parsed" in shown(first)
    folder = tmp_path / "drupe-notebook" / "store" / "smoke" / "runs" / "tiny"
    checks = json.loads((folder / "smoke.json").read_text())["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == []
    assert sum("smoothed loss differs" in check["name"] for check in checks) == 2
    runs = started(folder)
    assert {name.split("/")[0] for name in runs} == {"BASE", *OTHERS, "EXP-004"}
    assert not (tmp_path / "drupe-notebook" / "store" / "runs").exists()
    names = zipfile.ZipFile(tmp_path / "drupe-notebook" / "tiny-smoke.zip").namelist()
    assert {"smoke.md", "smoke.json"} <= set(names)

    # As if the session had ended there, before the record was written.
    begun = folder / "EXP-003A" / "seed-1"
    for path in sorted(begun.rglob("*"), reverse=True):
        if path.name != "config.yaml":
            path.rmdir() if path.is_dir() else path.unlink()
    second = run(SMOKE=True)

    again = started(folder)
    assert {name for name in runs if again[name] != runs[name]} == {"EXP-003A/seed-1/run.json"}
    assert "BASE seed 1: done: done before" in printed(second, "baseline")
    assert "EXP-003A seed 1: running" in printed(second, "experiments-exp-003a-exp-003b")


def test_in_colab_results_are_on_the_drive_whatever_becomes_of_the_session(run, tmp_path) -> None:
    drive = tmp_path / "drive"
    settings = {"MOUNT": str(drive), "ALLOW_CPU": True, "LOCAL": str(tmp_path / "session 1")}

    first = run(colab=True, **settings)

    folder = drive / "MyDrive" / "cherry_experiments" / "store" / "runs" / "tiny"
    assert "downloaded" in printed(first, "download")
    assert "recommendation" in json.loads((folder / "verdict.json").read_text())
    assert shown(first)
    assert "EXP-004 seed 1: " in printed(first, "experiments-exp-004")
    runs = started(folder)

    # A new session: its disk is empty, the Drive is not.
    second = run(colab=True, **(settings | {"LOCAL": str(tmp_path / "session 2")}))

    assert started(folder) == runs
    assert "EXP-002A seed 1: done: done before" in printed(second, "experiments-exp-002a-exp-002b")
    assert json.loads((folder / "verdict.json").read_text())["deviations"] == []
    assert not (tmp_path / "drupe-notebook").exists()


def test_without_a_gpu_the_notebook_stops_before_anything_is_trained(run, tmp_path) -> None:
    with pytest.raises(CellExecutionError, match="no GPU: BASE, EXP-002A"):
        run()
    assert not (tmp_path / "drupe-notebook" / "store").exists()
