"""Whether the results in a run directory still are those that belong together.

Weights, predictions, copies among the items and training files are written once, and ``run.json``
holds their digests. A certificate names the weights and counts the predictions: with another run's
file among them it would be about a network that nobody measured.
"""

from __future__ import annotations

from pathlib import Path

from drupe.errors import InputError
from drupe.files import file_hash
from drupe.notices import notice
from drupe.runs.evaluation_file import RecordedCertificate, read_evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import RunRecord, read_record

SPLITS = ("calibration", "test")


def digest_results(folder: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of each result in ``folder``, by its name relative to it."""
    files = RunFolder(folder)
    predictions = (files.predictions(split) for split in SPLITS)
    networks = (files.weights, files.graph, files.types)
    results = (*networks, *predictions, files.duplicates, files.training_files)
    return digest_files(folder, *(path for path in results if path.exists()))


def digest_files(folder: Path, *results: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) of each of ``results``, by its name relative to ``folder``."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in results}


def require_own(folder: Path, record: RunRecord, *results: Path) -> None:
    """Raise an :class:`InputError` that names each of ``results`` that the run didn't write.

    A missing file is one, save where the run wrote none.

    Runs of earlier versions hold no digests: that is said, and they are read as they are.
    """
    if record.results is None:
        notice(
            f"{folder}: run.json holds no digests (a run of an earlier version): whether its "
            "weights made its predictions can't be checked"
        )
        return
    problems = []
    for path in results:
        expected = record.results.get(path.relative_to(folder).as_posix())
        if expected is None and not path.exists():
            continue
        found = file_hash(path)
        if expected != found:
            wanted = f"SHA-256 {expected[:12]}…" if expected else "none was written"
            problems.append(
                f"{path}: must be the file that belongs to this run's other results ({wanted}, "
                f"says run.json), got another one ({found[:12]}…): {_remedy(folder, path)}"
            )
    if problems:
        raise InputError(problems)


def own_certificate(folder: Path) -> RecordedCertificate | None:
    """Return the certificate that the run's ``evaluation.json`` holds, None where it holds none.

    Raises:
        InputError: the file is missing or damaged, or its certificate is of other weights.
    """
    certificate, record = read_evaluation(folder).certificate, read_record(folder)
    if certificate is None or certificate.measured_on is None or record is None:
        return certificate
    network = record.network_file(folder)
    own = (record.results or {}).get(network.relative_to(folder).as_posix())
    measured = certificate.measured_on.graph
    if own not in (None, measured):
        where = RunFolder(folder).evaluation
        raise InputError(
            f"{where}: certificate: must be of this run's weights ({own[:12]}…), got "
            f"one of others ({measured[:12]}…): drupe threshold {folder} makes it anew"
        )
    return certificate


def prediction_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the files that say what the run answers to a split, and which items are copies."""
    return RunFolder(folder).predictions(split), RunFolder(folder).duplicates


def _remedy(folder: Path, path: Path) -> str:
    files = RunFolder(folder)
    if path in (files.weights, files.graph, files.types, files.training_files):
        return "put that file back, or make the run anew in another folder"
    return f"put that file back, or drupe evaluate {folder} writes it anew"
