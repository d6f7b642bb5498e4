"""The baseline that was trained elsewhere: how it is imported, and what its run may be used for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.files import file_hash
from drupe.runs.layout import seed_folder
from drupe.runs.record import read_record
from drupe.runs.training_overlap import Seen
from drupe.study.definition.loading import Study
from drupe.study.definition.spec import IMPORTED, Checkpoint, Experiment
from drupe.training.config import ExperimentConfig
from drupe.training.trained_on import UNKNOWN

SECTIONS = ("input", "data", "calibration")


def require_checkpoint(study: Study) -> None:
    """Check that the files which an import reads are there, before anything else is done.

    Raises:
        InputError: the checkpoint, or the list of its training files, is missing.
    """
    checkpoint = study.spec.baseline.checkpoint
    if checkpoint is None:
        return
    named = {"file": str(checkpoint.file)}
    named |= {} if checkpoint.trained_on == UNKNOWN else {"trained_on": checkpoint.trained_on}
    problems = [
        f"baseline.checkpoint.{key}: must be a file, got {name}"
        for key, name in named.items()
        if not Path(name).is_file()
    ]
    if problems:
        raise InputError(problems)


def import_words(study: Study, run: Path) -> tuple[str, ...]:
    """Return the command that imports the checkpoint as ``run``."""
    checkpoint = _checkpoint(study)
    data = str(study.import_config().data.root)
    words = ("import", str(checkpoint.file), *_settings(study.import_config()))
    words += ("--architecture", checkpoint.architecture, "--data", data, "--name", IMPORTED)
    words += ("--trained-on", checkpoint.trained_on, "--out", str(run), "--json")
    words += ("--classes", ",".join(checkpoint.classes)) if checkpoint.classes else ()
    words += ("--key", checkpoint.key) if checkpoint.key else ()
    return (*words, *(("--picked-on-test",) if checkpoint.picked_on_test else ()))


def made_from(study: Study, fingerprint: str) -> dict[str, Any]:
    """Return all that an import depends on; ``fingerprint`` is the data's.

    Raises:
        InputError: the checkpoint or its list isn't there.
    """
    checkpoint = _checkpoint(study)
    trained_on = checkpoint.trained_on
    return {
        **checkpoint.model_dump(mode="json", exclude={"file", "trained_on", "input"}),
        "settings": list(_settings(study.import_config())),
        "weights": file_hash(checkpoint.file),
        "trained_on": UNKNOWN if trained_on == UNKNOWN else file_hash(Path(trained_on)),
        "data": fingerprint,
    }


def certified_run(study: Study, item: Experiment, folder: Path) -> tuple[str, str]:
    """Return whose run a threshold experiment certifies, and why where that isn't obvious.

    That of the experiment it is ``of``. Where this is the baseline and a checkpoint replaces it,
    the checkpoint's, unless nothing can be certified on its calibration.
    """
    (of,) = item.subjects
    baseline = study.spec.baseline
    if baseline.checkpoint is None or of != baseline.experiment:
        return of, ""
    seen = read_seen(seed_folder(folder / IMPORTED, study.spec.seeds[0]))
    if seen is None:
        return of, f"certifies {of} as trained here: {IMPORTED} has no result"
    if seen.in_sample:
        return of, f"certifies {of} as trained here, because {seen.in_sample}"
    return IMPORTED, f"certifies {IMPORTED}, the checkpoint in the place of {of}"


def read_seen(run: Path) -> Seen | None:
    """Return what a finished import has seen of the data; None: there is none."""
    record = read_record(run)
    if record is None or record.status != "done" or record.imported is None:
        return None
    return record.imported.seen


def _checkpoint(study: Study) -> Checkpoint:
    checkpoint = study.spec.baseline.checkpoint
    assert checkpoint is not None
    return checkpoint


def _settings(config: ExperimentConfig) -> Iterator[str]:
    """Yield ``SECTION.KEY=VALUE`` for each key that an import takes and that isn't the default."""
    document = config.model_dump(mode="json", exclude_defaults=True, exclude={"data": {"root"}})
    for section in SECTIONS:
        for key, value in document.get(section, {}).items():
            yield f"{section}.{key}={json.dumps(value)}"
