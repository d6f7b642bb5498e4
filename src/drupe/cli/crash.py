"""What is left when a command ends in a mistake of Drupe's own: one line, and a report."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from importlib.metadata import distributions
from pathlib import Path

from drupe import __version__

LIBRARIES = ("numpy", "torch", "timm", "onnxruntime", "openvino", "pillow", "pydantic", "typer")
"""Whose versions the report names, where they are installed."""


def write_crash_report(error: BaseException) -> Path | None:
    """Write command, versions and traceback to a new file; None where no file can be written.

    It stands in the system's folder for temporary files, readable by its owner only: paths and
    values in it may be nobody else's business.
    """
    try:
        handle, name = tempfile.mkstemp(prefix="drupe-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(_report(error))
    except OSError:
        return None
    return Path(name)


def _report(error: BaseException) -> str:
    installed = {(one.metadata["Name"] or "").lower(): one.version for one in distributions()}
    versions = [f"{name} {installed[name]}" for name in LIBRARIES if name in installed]
    return "\n".join(
        (
            f"drupe {__version__}, Python {platform.python_version()}, {platform.platform()}",
            ", ".join(versions),
            f"command: {' '.join(map(repr, sys.argv))}",
            "",
            "".join(traceback.format_exception(error)),
        )
    )
