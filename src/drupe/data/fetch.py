"""Fetch the public cherry set: a pinned revision of a git repository, counted, put down whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.files import read_json, write_json
from drupe.progress import Progress, silent

SOURCE = "https://github.com/weshavener/cherry_classification"
REVISION = "a02855f"
"""The revision that every published figure on this set refers to (November 2022)."""

COUNTS = {
    "train/cherry_clean": 1978,
    "train/cherry_pit": 1698,
    "val/cherry_clean": 660,
    "val/cherry_pit": 566,
}
"""Images in each folder of the pinned revision."""

RECORD = "source.json"
"""File beside the images that says where they came from; its presence means the set is whole."""

LARGE_FILE_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Fetched:
    """A set in place: where it came from and the number of images in each folder."""

    source: str
    revision: str
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the record as written to ``source.json``."""
        return asdict(self)


def fetch(
    folder: Path,
    *,
    source: str = SOURCE,
    revision: str = REVISION,
    expected: Mapping[str, int] | None = None,
    progress: Progress = silent,
) -> Fetched:
    """Put ``data/{train,val}/{cherry_clean,cherry_pit}`` of a revision of ``source`` in ``folder``.

    ``folder`` appears whole or not at all. If it already holds this revision nothing is done;
    anything else in it is an :class:`InputError`. ``expected`` (images per folder) is checked
    where given, and by default for the pinned revision.
    """
    if not re.fullmatch(r"[0-9a-f]{7,40}", revision):
        raise InputError(f"--revision: must be 7 to 40 hexadecimal digits, got {revision!r}")
    if expected is None and revision.startswith(REVISION):
        expected = COUNTS
    folder = folder.resolve()
    present = _already_there(folder, source, revision)
    if present:
        return present
    if shutil.which("git") is None:
        raise InputError("git: not found: install git, or copy the images by hand")
    with (
        _temporary_beside(folder) as temporary,
        progress("fetch", 3, "steps") as tracker,
    ):
        clone, whole = temporary / "clone", temporary / "whole"
        full = _clone(clone, source, revision)
        tracker.advance(note=f"revision {full[:12]}")
        _check_out(clone, source, full)
        tracker.advance(note="images")
        fetched = Fetched(source, full, _count(clone / "data", source, full, expected))
        for name in fetched.counts:
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / "data" / name).rename(whole / name)
        write_json(whole / RECORD, fetched.to_json())
        if folder.exists():  # empty: looked at above, and rmdir refuses anything else
            folder.rmdir()
        whole.rename(folder)
        tracker.advance(note="counted")
    return fetched


def _already_there(folder: Path, source: str, revision: str) -> Fetched | None:
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder, got a file")
    if (folder / RECORD).is_file():
        record = read_json(folder / RECORD)
        same = isinstance(record, dict) and record.get("source") == source
        if same and str(record.get("revision", "")).startswith(revision):
            counts = {name: _images(folder / name) for name in COUNTS}
            if counts == record.get("counts"):
                return Fetched(source, record["revision"], counts)
            raise InputError(
                f"{folder}: images were added or removed since it was fetched: got {counts}, "
                f"fetched {record.get('counts')}: fetch into a new folder"
            )
    if any(folder.iterdir()):
        raise InputError(f"{folder}: must be empty or missing, got a folder with something in it")
    return None


@contextmanager
def _temporary_beside(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clone(clone: Path, source: str, revision: str) -> str:
    """Clone the history without files and return the full name of ``revision``."""
    # An abbreviated revision can only be looked up in the history; blobs come at check-out.
    options = ["--quiet", "--no-checkout", "--filter=blob:none"]
    _git(["clone", *options, "--", source, str(clone)], f"{source}: could not be fetched")
    found = _run(["git", "-C", str(clone), "rev-parse", "--verify", f"{revision}^{{commit}}"])
    if found.returncode:
        raise InputError(f"{source}: has no revision {revision}")
    return found.stdout.strip()


def _check_out(clone: Path, source: str, revision: str) -> None:
    folders = [f"data/{name}" for name in COUNTS]
    listed = _run(["git", "-C", str(clone), "ls-tree", "-d", "--name-only", revision, *folders])
    missing = sorted(set(folders) - set(listed.stdout.split()))
    if missing:
        raise InputError(f"{source} at {revision[:12]}: lacks the folders {', '.join(missing)}")
    _git(
        ["-C", str(clone), "checkout", "--quiet", revision, "--", *folders],
        f"{source} at {revision[:12]}: images could not be fetched",
    )


def _count(
    data: Path, source: str, revision: str, expected: Mapping[str, int] | None
) -> dict[str, int]:
    counts = {name: _images(data / name) for name in COUNTS}
    at = f"{source} at {revision[:12]}"
    problems = [
        f"{at}: {name} must hold {wanted:,} images, got {counts.get(name, 0):,}"
        for name, wanted in (expected or {}).items()
        if counts.get(name) != wanted
    ]
    problems += [
        f"{at}: {name} holds pointers of Git LFS, not images: install git-lfs and fetch again"
        for name in COUNTS
        if any(_is_pointer(path) for path in (data / name).iterdir() if path.is_file())
    ]
    if problems:
        raise InputError(problems)
    return counts


def _images(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if path.suffix.lower() == ".png")


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(LARGE_FILE_POINTER)) == LARGE_FILE_POINTER


def _git(arguments: Sequence[str], failure: str) -> None:
    # A password prompt would wait for ever: answer it with nothing, and git says what is wrong.
    done = _run(["git", "-c", "core.askPass=true", *arguments])
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"git ended with {done.returncode}"
        raise InputError(f"{failure}: {said}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
