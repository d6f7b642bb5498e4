"""The list of files that a network trained elsewhere has learnt from, against a dataset's splits.

One file a line: its path relative to the dataset's folder, a folder there with all that is in it,
or the SHA-256 of its bytes (as ``sha256sum`` prints it) for files that lie elsewhere. Empty lines
and lines that begin with # say nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from drupe.data.fixes import is_inside
from drupe.errors import InputError, shortened
from drupe.files import file_hash
from drupe.runs.training_overlap import Overlap
from drupe.training.learnt import find_overlap
from drupe.training.preparation import PreparedData

UNKNOWN = "unknown"


DIGEST = re.compile(r"([0-9a-fA-F]{64})(\s.*)?")
SHOWN = 5


@dataclass(frozen=True)
class TrainingFiles:
    """The digests (SHA-256, hex) of the listed files, and where they overlap a dataset."""

    digests: frozenset[str]
    overlap: Overlap


def find_training_files(list_file: Path, data: PreparedData) -> TrainingFiles:
    """Look the listed files up in the dataset; copies of them count as they do.

    Raises:
        InputError: no such file, an empty list, or names of nothing in the dataset's folder: a
            misspelt one must not pass for a file that is in no split.
    """
    dataset = data.dataset
    digest_of = dict(zip(dataset.paths, dataset.digests, strict=True))
    digests: set[str] = set()
    unknown = []
    for line in _lines(list_file):
        if digest := DIGEST.fullmatch(line):
            digests.add(digest[1].lower())
            continue
        name = PurePosixPath(line.replace("\\", "/")).as_posix()
        if name in digest_of:
            digests.add(digest_of[name])
        elif inside := [one for path, one in digest_of.items() if path.startswith(f"{name}/")]:
            digests.update(inside)
        elif is_inside(name) and (dataset.root / name).is_file():
            digests.add(file_hash(dataset.root / name))  # left out by fixes, or unreadable
        else:
            unknown.append(line)
    if unknown:
        raise InputError(
            f"{list_file}: must name files below {dataset.root}, or the SHA-256 of files that lie "
            f"elsewhere; no such file: {', '.join(shortened(unknown, SHOWN))}"
        )
    overlap, _ = find_overlap(frozenset(digests), dataset, data.groups, data.split)
    return TrainingFiles(frozenset(digests), overlap)


def _lines(list_file: Path) -> list[str]:
    try:
        text = list_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"--trained-on: must be a file that lists the training files, or {UNKNOWN}; no such "
            f"file: {list_file}"
        ) from None
    except IsADirectoryError:
        raise InputError(
            f"--trained-on: must be a text file that lists the training files, got a folder: "
            f"{list_file}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{list_file}: must be a text file in UTF-8, got something else") from None
    lines = [line.strip(" \t\r") for line in text.split("\n")]  # names hold what else ends a line
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(
            f"{list_file}: must name at least one training file, got none; where they are not "
            f"known, say --trained-on {UNKNOWN}"
        )
    return lines
