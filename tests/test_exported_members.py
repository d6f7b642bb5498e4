"""What ``drupe`` exports is a promise; everything else is internal and may change."""

from __future__ import annotations

import subprocess
import sys

import drupe

EXPORTED = ["DrupeError", "InputError", "__version__"]


def test_what_is_exported_is_listed() -> None:
    assert sorted(drupe.__all__) == sorted(EXPORTED)
    assert all(hasattr(drupe, name) for name in EXPORTED)


def test_nothing_else_is_public() -> None:
    program = (
        "import drupe, types; print(*sorted(name for name, value in vars(drupe).items() "
        "if not name.startswith('_') and not isinstance(value, types.ModuleType)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == [name for name in EXPORTED if not name.startswith("_")]
