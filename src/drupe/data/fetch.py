"""Fetch the public cherry set: a pinned revision of a git repository, verified, put down whole.

Images come in batches into a clone beside the folder, which stays when the connection breaks: the
same command goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drupe.errors import InputError, shortened
from drupe.files import read_json, write_json
from drupe.printable import printable
from drupe.progress import Progress, silent

SOURCE = "https://github.com/weshavener/cherry_classification"
TRANSPORTS = ("https", "ssh", "file")
"""Ways to a source; a path, and git's HOST:PATH for ssh, are others."""

REVISION = "a02855fb8b2a68af2f0bfcd1bfad9f2572f7db52"
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

BATCH = 500
"""Images asked for at a time: what an interruption loses at most."""

STALLED_SECONDS = 60
"""Without 1,000 bytes a second for so long, a transfer is given up."""

CLONED = "cloned.json"
"""Beside the clone: from where it was cloned. It is written when the clone is whole."""


@dataclass(frozen=True)
class Fetched:
    """A set in place: where it came from, and per folder the number of images and their identity.

    ``objects``: SHA-256 (hex) over the sorted git object ids and names of the folder's files.
    """

    source: str
    revision: str
    counts: Mapping[str, int]
    objects: Mapping[str, str]

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

    ``folder`` appears whole or not at all. If it already holds this revision, byte by byte, nothing
    is done; anything else in it is an :class:`InputError`. Every file must have the object id that
    the revision gives it. ``expected`` (images per folder) is checked where given, and by default
    for the pinned revision.
    """
    if not re.fullmatch(r"[0-9a-f]{7,40}", revision):
        raise InputError(f"--revision: must be 7 to 40 hexadecimal digits, got {revision!r}")
    if expected is None and REVISION.startswith(revision):
        expected = COUNTS
    _check_source(source)
    folder = folder.resolve()
    if shutil.which("git") is None:
        raise InputError("git: not found: install git, or copy the images by hand")
    present = _already_there(folder, source, revision)
    if present:
        return present
    work = folder.parent / f".{folder.name}.fetch"
    clone, whole = work / "clone", work / "whole"
    with _removed_on_error(work):
        full = _clone(work, source, revision)
        wanted = _listed(clone, source, full)
        _check_counts(wanted, source, full, expected)
    _check_out(clone, source, full, wanted, progress)
    with _removed_on_error(work):
        objects = _verified(clone / "data", source, wanted)
    fetched = Fetched(source, full, _counts(wanted), objects)
    shutil.rmtree(whole, ignore_errors=True)
    for name in fetched.counts:
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / "data" / name).rename(whole / name)
    write_json(whole / RECORD, fetched.to_json())
    if folder.exists():  # empty: looked at above, and rmdir refuses anything else
        folder.rmdir()
    whole.rename(folder)
    shutil.rmtree(work, ignore_errors=True)
    return fetched


def _check_source(source: str) -> None:
    """Refuse what git would take for an option or for a program to run, before it sees it.

    Raises:
        InputError: neither an address (https, ssh, file) nor a path.
    """
    scheme, colons, _ = source.partition("://")
    runs_helper = re.match(r"[A-Za-z0-9][A-Za-z0-9+.-]*::", source)
    is_address = not colons or scheme in TRANSPORTS
    if source and not source.startswith("-") and not runs_helper and is_address:
        return
    allowed = ", ".join(f"{one}://" for one in TRANSPORTS)
    raise InputError(f"--source: must begin with {allowed}, or be a path, got {source!r}")


Objects = dict[str, dict[str, str]]
"""The git object id of each file by its name, in each folder of the set."""


def _already_there(folder: Path, source: str, revision: str) -> Fetched | None:
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder, got a file")
    if (folder / RECORD).is_file():
        record = read_json(folder / RECORD)
        same = isinstance(record, dict) and record.get("source") == source
        if same and str(record.get("revision", "")).startswith(revision):
            found = _objects_in(folder)
            present = Fetched(source, record["revision"], _counts(found), _identities(found))
            if present.to_json() == {"objects": present.objects, **record}:
                return present
            raise InputError(
                f"{folder}: images were added, removed or changed since it was fetched: got "
                f"{dict(present.counts)}, fetched {record.get('counts')}: fetch into a new folder"
            )
    if any(folder.iterdir()):
        raise InputError(f"{folder}: must be empty or missing, got a folder with something in it")
    return None


def _clone(work: Path, source: str, revision: str) -> str:
    """Clone the history without files, unless that is done; return the full name of ``revision``.

    An abbreviated revision can only be looked up in the history; blobs come at check-out.
    """
    clone, marker = work / "clone", work / CLONED
    if not marker.is_file() or read_json(marker) != {"source": source}:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        options = ["--quiet", "--no-checkout", "--filter=blob:none"]
        try:
            _git(["clone", *options, "--", source, str(clone)], f"{source}: could not be fetched")
        except InputError as error:
            hint = "without a network, a clone that was made elsewhere does: --source PATH"
            raise InputError([*error.problems, hint]) from None
        write_json(marker, {"source": source})
    found = _run(["git", "-C", str(clone), "rev-parse", "--verify", f"{revision}^{{commit}}"])
    if found.returncode:
        raise InputError(f"{source}: has no revision {revision}")
    return found.stdout.strip()


@contextmanager
def _removed_on_error(work: Path) -> Iterator[None]:
    """Remove what was fetched, and the folders made for it, where the source proves wrong."""
    made = [item for item in work.parents if not item.exists()]
    try:
        yield
    except InputError:
        shutil.rmtree(work, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise


def _listed(clone: Path, source: str, revision: str) -> Objects:
    """Return the files that ``revision`` holds, none of which may be anything but a file."""
    wanted: Objects = {name: {} for name in COUNTS}
    listing = _run(["git", "-C", str(clone), "ls-tree", "-r", "-z", revision, "--", "data"])
    problems = []
    for line in filter(None, listing.stdout.split("\0")):
        kind, path = line.split("\t", 1)
        mode, _, identity = kind.split()
        folder, _, file = path.removeprefix("data/").rpartition("/")
        if folder not in wanted:
            continue
        if mode not in ("100644", "100755"):
            problems.append(f"{source} at {revision[:12]}: {path} must be a file, got a link")
        if printable(file) != file:
            problems.append(
                f"{source} at {revision[:12]}: {path!r} must have a name of characters that are "
                "shown, in UTF-8"
            )
        wanted[folder][file] = identity
    missing = sorted(f"data/{name}" for name, files in wanted.items() if not files)
    if missing:
        problems.append(f"{source} at {revision[:12]}: lacks the folders {', '.join(missing)}")
    if problems:
        raise InputError(shortened(problems, 5))
    return wanted


def _check_counts(
    wanted: Objects, source: str, revision: str, expected: Mapping[str, int] | None
) -> None:
    counts = _counts(wanted)
    problems = [
        f"{source} at {revision[:12]}: {name} must hold {number:,} images, got {counts[name]:,}"
        for name, number in (expected or {}).items()
        if counts[name] != number
    ]
    if problems:
        raise InputError(problems)


def _check_out(
    clone: Path, source: str, revision: str, wanted: Objects, progress: Progress
) -> None:
    """Write what is missing or damaged, a batch at a time; keep what an earlier try wrote."""
    present = _objects_in(clone / "data")
    missing = [
        f"data/{name}/{file}"
        for name, files in wanted.items()
        for file, identity in files.items()
        if present[name].get(file) != identity
    ]
    total = sum(map(len, wanted.values()))
    with progress("fetch", total, "images") as tracker:
        tracker.advance(total - len(missing))
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            _git(
                ["-C", str(clone), "checkout", "--quiet", revision, "--pathspec-from-file=-"],
                f"{source}: images could not be fetched; {start + total - len(missing):,} of "
                f"{total:,} are kept, and the same command goes on from there",
                "\n".join(batch),
            )
            tracker.advance(len(batch))


def _verified(data: Path, source: str, wanted: Objects) -> dict[str, str]:
    """Check the bytes of every file against its object id; return the folders' identities."""
    problems = [
        f"{source}: {name} holds pointers of Git LFS, not images: clone it with git-lfs and copy "
        "the images by hand"
        for name, files in wanted.items()
        if any(_is_pointer(data / name / file) for file in files)
    ]
    found = _objects_in(data)
    problems += [
        f"{source}: {name}: {len(files.items() ^ found[name].items()):,} files are not what the "
        "revision says (a filter of git changed them?)"
        for name, files in wanted.items()
        if files != found[name]
    ]
    if problems:
        raise InputError(problems)
    return _identities(found)


def _objects_in(data: Path) -> Objects:
    """Return the object ids of the files that are there, of their very bytes.

    Not by ``git diff``: that believes the times of files and sees them through filters. No
    repository around, no configuration and no attribute has a say here.
    """
    paths = [path for name in COUNTS for path in sorted((data / name).glob("*")) if path.is_file()]
    if odd := [path for path in paths if "\n" in path.name]:
        raise InputError(f"{odd[0]!r}: a file name must be one line")
    found: Objects = {name: {} for name in COUNTS}
    if not paths:
        return found
    command = ["git", f"--git-dir={os.devnull}", "hash-object", "--no-filters", "--stdin-paths"]
    done = _run(command, "".join(f"{path}\n" for path in paths))
    if done.returncode:
        raise InputError(f"{data}: could not be verified: {' '.join(done.stderr.split())}")
    for path, identity in zip(paths, done.stdout.split(), strict=True):
        found[path.relative_to(data).parent.as_posix()][path.name] = identity
    return found


def _identities(found: Objects) -> dict[str, str]:
    return {
        name: hashlib.sha256(
            "".join(f"{identity} {file}\n" for file, identity in sorted(files.items())).encode()
        ).hexdigest()
        for name, files in found.items()
    }


def _counts(found: Objects) -> dict[str, int]:
    return {
        name: sum(file.lower().endswith(".png") for file in files) for name, files in found.items()
    }


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(LARGE_FILE_POINTER)) == LARGE_FILE_POINTER


def _git(arguments: Sequence[str], failure: str, given: str = "") -> None:
    # A password prompt would wait for ever: answer it with nothing, and git says what is wrong.
    # Whatever a person has set up for repositories of their own is not to run here.
    settings = [
        "core.askPass=true",
        "core.autocrlf=false",
        "core.fsmonitor=false",
        f"core.sshCommand=ssh -oBatchMode=yes -oConnectTimeout={STALLED_SECONDS}",
        f"core.hooksPath={os.devnull}",
        "http.lowSpeedLimit=1000",
        # A source may name others (submodules, alternates, redirects): none but these are followed.
        "protocol.allow=never",
        *(f"protocol.{one}.allow=always" for one in TRANSPORTS),
        f"http.lowSpeedTime={STALLED_SECONDS}",
    ]
    options = [word for setting in settings for word in ("-c", setting)]
    done = _run(["git", *options, *arguments], given)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"git ended with {done.returncode}"
        raise InputError(f"{failure}: {said}")


def _run(command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # names of files may be in any encoding
        check=False,
    )
