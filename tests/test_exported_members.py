"""What ``drupe`` exports is a promise; everything else is internal and may change."""

from __future__ import annotations

import subprocess
import sys

import drupe

EXPORTED = [
    "Candidate",
    "Capture",
    "Certificate",
    "Classifier",
    "Comparison",
    "DecisionLog",
    "DrupeError",
    "InputError",
    "LineMonitor",
    "NotCertifiableError",
    "Predictions",
    "Proportion",
    "Study",
    "__version__",
    "certify_threshold",
    "compare",
    "evaluate",
    "export",
    "load",
    "misses_allowed",
    "needed_defects",
    "read_predictions",
    "report",
    "threshold",
    "train",
]


def printed_by(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_what_is_exported_is_listed() -> None:
    assert sorted(drupe.__all__) == sorted(EXPORTED)
    assert all(hasattr(drupe, name) for name in EXPORTED)
    assert not hasattr(drupe, "certify_treshold")


def test_nothing_else_is_public() -> None:
    assert printed_by("import drupe; print(*dir(drupe))") == sorted(EXPORTED)


def test_importing_the_package_is_light() -> None:
    heavy = {"numpy", "scipy", "polars", "torch", "PIL", "onnxruntime", "pydantic"}
    assert not heavy & set(printed_by("import drupe, sys; print(*sys.modules)"))
