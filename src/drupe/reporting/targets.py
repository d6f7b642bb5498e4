"""What a report is asked for: a run, two runs, a bundle, or a study by its file or folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drupe.deployment.manifest import MANIFEST, Manifest, read_manifest
from drupe.errors import InputError
from drupe.files import file_hash
from drupe.runs.layout import RECORD_FILE, runs_below
from drupe.runs.record import read_record

STUDY_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Target:
    """One of three: ``runs`` (one or two, with the ``bundle`` asked for), a study's ``file`` (or
    the folder that holds ``study.yaml``), or the ``folder`` in which a study's runs lie.
    """

    runs: tuple[Path, ...] = ()
    bundle: Manifest | None = None
    file: Path | None = None
    folder: Path | None = None


def find_target(paths: Sequence[Path], store: Path) -> Target:
    """Return what ``paths`` name.

    The run that a bundle was made from is looked for in ``store``.

    Raises:
        InputError: a path that is none of these, more than two runs, or a bundle whose run isn't in
            the store.
    """
    if len(paths) > 1:
        others = [str(path) for path in paths if not (path / RECORD_FILE).is_file()]
        if others or len(paths) > 2:
            got = ", ".join(others) or f"{len(paths)} runs"
            raise InputError(f"several targets must be two runs, before and after; got {got}")
        return Target(runs=tuple(paths))
    (path,) = paths
    if (path / RECORD_FILE).is_file():
        return Target(runs=(path,))
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        return Target(runs=(_run_of(path, manifest, store),), bundle=manifest)
    if path.suffix in STUDY_SUFFIXES or (path / "study.yaml").is_file():
        return Target(file=path)
    if path.is_dir() and runs_below(path, "*"):
        return Target(folder=path)
    got = "a folder with none of them" if path.is_dir() else "no such file or folder"
    raise InputError(
        f"{path}: must be a run directory, a bundle, a study's file or the folder of its runs, got "
        f"{got if not path.is_file() else 'a file'}"
    )


def _run_of(bundle: Path, manifest: Manifest, store: Path) -> Path:
    """Return the run whose weights a bundle holds."""
    wanted = manifest.provenance
    for file in sorted(store.glob(f"runs/**/{RECORD_FILE}")):
        run = file.parent
        try:
            record = read_record(run)
        except InputError:
            continue  # damaged, so not what is looked for
        if record is None or record.identity != wanted.get("identity"):
            continue
        network = record.network_file(run)
        if network.is_file() and file_hash(network) == wanted.get("weights_sha256"):
            return run
    raise InputError(
        f"{bundle}: was made from the run {wanted.get('run', manifest.name)}, which isn't in "
        f"{store}: name the store with --store DIR, or the run itself"
    )
