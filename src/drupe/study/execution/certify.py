"""The certificate of one run of a study, made in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drupe.errors import DrupeError, InputError
from drupe.evaluation.model_predictions import ModelPredictions, read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.files import read_json, write_json
from drupe.runs.evaluation_file import read_evaluation, record_certificate
from drupe.study.execution.journal import Outcome
from drupe.training.crossfit import calibrate_on_folds


def certify(
    run: Path, request: Request, answer: Path, store: Path, *, folds: int | None, record: bool
) -> Outcome:
    """Certify a run for what is asked of it, and keep what was found as ``answer``.

    ``folds``: this many finished runs of a cross-fit give its calibration; nothing is trained
    here. ``record``: the run takes the certificate, or loses the one that the study gave it.
    """
    try:
        if folds is not None:
            # Again each time: the folds may be others than those that were pooled before.
            calibrate_on_folds(read_run_predictions(run), run, folds, store)
        model = read_run_predictions(run)
        point = operating_point(model, request)
        keeps = point.refusal is not None and _holds_another_certificate(run, answer)
    except DrupeError as error:
        return Outcome("failed", str(error))
    # First: what the run records is then known as the study's.
    write_json(answer, point.to_json())
    if record and not keeps:
        record_certificate(run, point.certified_figures())
    if point.refusal:
        kept = "; the run keeps the certificate it was given outside the study" if keeps else ""
        return Outcome("done", f"not certified{_alone(model, request)}: {point.refusal}{kept}")
    assert point.certificate is not None
    kind = "certified" if point.certificate.is_exact else "certified approximately"
    return Outcome("done", f"{kind} at {point.certificate.threshold:.4g}")


def _alone(model: ModelPredictions, request: Request) -> str:
    """Say that a run would be certified if it weren't one of several to choose from."""
    if request.candidates == 1 or operating_point(model, replace(request, candidates=1)).refusal:
        return ""
    return f" as the one chosen of {request.candidates} (by itself it would be)"


def _holds_another_certificate(run: Path, answer: Path) -> bool:
    """Return whether ``run`` has a certificate that isn't the study's: ``drupe threshold`` made it.

    ``answer``: what the study found when it last certified the run, if it did.
    """
    recorded = read_evaluation(run).certificate
    if recorded is None:
        return False
    try:
        before = read_json(answer).get("certificate")
    except (InputError, AttributeError):  # absent or damaged
        before = None
    return bool(before != recorded.without_review())
