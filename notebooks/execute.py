"""Executes python_api.ipynb in an empty folder and keeps its outputs.

python notebooks/execute.py
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("python_api.ipynb")
SETTINGS = "settings"
"""The cell whose values a caller may change."""


def executed(
    folder: Path, environment: Mapping[str, str] | None = None, **settings: Any
) -> nbformat.NotebookNode:
    """Return the notebook as it comes out of ``folder``, with other ``settings`` if given.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    document = nbformat.read(NOTEBOOK, as_version=4)
    for cell in document.cells:
        if cell.id == SETTINGS and settings:
            lines = (f"{name} = {value!r}" for name, value in settings.items())
            cell.source = "\n".join([cell.source, *lines])
    client = NotebookClient(
        document, timeout=900, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    # Of a library, about widgets that aren't installed: with a path of this machine.
    quiet = {"PYTHONWARNINGS": "ignore:IProgress not found"}
    client.execute(env={**(os.environ if environment is None else environment), **quiet})
    document.metadata.pop("language_info", None)  # the version of whoever executed it last
    return document


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
