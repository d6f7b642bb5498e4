"""Drupe trains, judges and ships image classifiers that must not let a defect through.

What is named here is the public surface: ``load`` for the line PC, the rest for whoever judges a
model, which needs ``drupe[evidence]``. All of it is loaded when first used, so that
``import drupe`` stays instant and light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from drupe.errors import DrupeError, InputError

if TYPE_CHECKING:
    from drupe.deployment.runtime import Classifier, load
    from drupe.evaluation.certificate import (
        Certificate,
        NotCertifiableError,
        certify_threshold,
        misses_allowed,
        needed_defects,
    )
    from drupe.evaluation.comparison import Candidate, Comparison, compare
    from drupe.evaluation.intervals import Proportion
    from drupe.evaluation.predictions import Predictions
    from drupe.evaluation.predictions_csv import read_predictions

__all__ = [
    "Candidate",
    "Certificate",
    "Classifier",
    "Comparison",
    "DrupeError",
    "InputError",
    "NotCertifiableError",
    "Predictions",
    "Proportion",
    "__version__",
    "certify_threshold",
    "compare",
    "load",
    "misses_allowed",
    "needed_defects",
    "read_predictions",
]

__version__ = "0.1.0"

_LOADED_WHEN_USED = {
    "Candidate": "evaluation.comparison",
    "Certificate": "evaluation.certificate",
    "Classifier": "deployment.runtime",
    "Comparison": "evaluation.comparison",
    "NotCertifiableError": "evaluation.certificate",
    "Predictions": "evaluation.predictions",
    "Proportion": "evaluation.intervals",
    "certify_threshold": "evaluation.certificate",
    "compare": "evaluation.comparison",
    "load": "deployment.runtime",
    "misses_allowed": "evaluation.certificate",
    "needed_defects": "evaluation.certificate",
    "read_predictions": "evaluation.predictions_csv",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module 'drupe' has no attribute {name!r}")
    return getattr(import_module(f"drupe.{_LOADED_WHEN_USED[name]}"), name)


def __dir__() -> list[str]:
    return __all__
