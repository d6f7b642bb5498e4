"""The example notebook: what is committed is whole and clean, and every cell runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = REPOSITORY / "notebooks" / "python_api.ipynb"
LARGEST = 100_000
"""Bytes: pictures and pages are made by whoever executes it."""


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", NOTEBOOK.with_name("execute.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(document: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    return {cell.id: cell for cell in document.cells if cell.cell_type == "code"}


def test_the_committed_one_was_executed_in_order_and_holds_no_path_of_a_machine() -> None:
    document = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(document)
    cells = code_cells(document)
    assert [cell.execution_count for cell in cells.values()] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells.values() for output in cell.outputs]
    assert {one.output_type for one in outputs} <= {"display_data", "execute_result", "stream"}
    assert {one.name for one in outputs if one.output_type == "stream"} == {"stdout"}
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert re.findall(r"(?:/home|/root|/tmp|/usr|/work|/opt|[A-Z]:\\\\)[\w/]*", text) == []
    assert len(text) < LARGEST
    assert "certified at" in json.dumps(cells["certify"].outputs, ensure_ascii=False)
    assert "<svg" in json.dumps(cells["certify"].outputs)


def test_a_study_takes_15_lines() -> None:
    study = code_cells(nbformat.read(NOTEBOOK, as_version=4))["study"]
    assert len(study.source.splitlines()) == 15
    for step in (".run(", ".deliver(", ".report("):
        assert step in study.source


@pytest.mark.thorough
def test_every_cell_runs(execute: ModuleType, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DRUPE_STORE"}
    search = os.pathsep.join([str(REPOSITORY / "src"), environment.get("PYTHONPATH", "")])
    document = execute.executed(
        tmp_path,
        {**environment, "PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""},
        IMAGES=300,
        EPOCHS=1,
        MIN_RECALL=0.8,
    )
    cells = code_cells(document)
    (run,) = (one for one in cells["train"].outputs if one.output_type == "execute_result")
    assert "75 test crops" in run.data["text/html"]
    assert sorted(path.name for path in tmp_path.glob("*.bundle")) == ["fast.bundle", "two.bundle"]
    assert "certified" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "two.html" in {path.name for path in tmp_path.iterdir()}
