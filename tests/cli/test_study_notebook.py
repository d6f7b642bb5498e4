from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

PHASE2 = Path(__file__).parents[2] / "studies" / "phase2"


def test_settings_given_to_the_command_stand_in_the_notebook(quick, tmp_path) -> None:
    source = 'https://example.org/team\'s "drupe".git'

    made = quick("study", "notebook", PHASE2, "seeds=[7]", "--source", source, "--out", "a.ipynb")

    assert (made.code, made.stdout) == (0, "a.ipynb\na.py\n")
    document = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    settings: dict[str, Any] = {}
    exec(document.cells[1].source, settings)
    assert settings["SOURCE"] == source
    assert settings["OVERRIDES"] == ["seeds=[7]"]
    assert settings["STUDY"] == "phase2"  # not where it lies on this machine


def test_another_ending_is_refused_before_anything_is_written(quick, tmp_path) -> None:
    made = quick("study", "notebook", PHASE2, "--out", "notebook.py")
    assert (made.code, made.stderr) == (2, "error: --out: must end in .ipynb, got notebook.py\n")
    assert list(tmp_path.iterdir()) == []
