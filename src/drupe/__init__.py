"""Drupe trains, judges and ships image classifiers that must not let a defect through.

What is named here is the public surface: ``load`` for the line PC; ``certify_threshold``,
``compare`` and what they take for whoever judges a model, which needs ``drupe[evidence]``; and
``train``, ``evaluate``, ``threshold``, ``export``, ``report`` and ``Study``, which do what the
command line does and need ``drupe[train]``. All of it is loaded when first used, so that ``import
drupe`` stays instant and light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from drupe.errors import DrupeError, InputError

if TYPE_CHECKING:
    from drupe.deployment.capture.writer import Capture
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
    from drupe.line.log.writer import DecisionLog
    from drupe.line.watch.monitor import LineMonitor
    from drupe.workbench.runs import evaluate, export, report, threshold, train
    from drupe.workbench.studies import Study

__all__ = [
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

__version__ = "0.2.0"

_LOADED_WHEN_USED = {
    "Candidate": "evaluation.comparison",
    "Capture": "deployment.capture.writer",
    "Certificate": "evaluation.certificate",
    "Classifier": "deployment.runtime",
    "Comparison": "evaluation.comparison",
    "DecisionLog": "line.log.writer",
    "LineMonitor": "line.watch.monitor",
    "NotCertifiableError": "evaluation.certificate",
    "Predictions": "evaluation.predictions",
    "Proportion": "evaluation.intervals",
    "certify_threshold": "evaluation.certificate",
    "compare": "evaluation.comparison",
    "load": "deployment.runtime",
    "misses_allowed": "evaluation.certificate",
    "needed_defects": "evaluation.certificate",
    "read_predictions": "evaluation.predictions_csv",
    "Study": "workbench.studies",
    **dict.fromkeys(("evaluate", "export", "report", "threshold", "train"), "workbench.runs"),
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module 'drupe' has no attribute {name!r}")
    return getattr(import_module(f"drupe.{_LOADED_WHEN_USED[name]}"), name)


def __dir__() -> list[str]:
    return __all__
