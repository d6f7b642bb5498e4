"""Bundles and runs, opened as subjects of a benchmark."""

from __future__ import annotations

from pathlib import Path

from drupe.deployment.backends import runs_here
from drupe.deployment.graph_run import open_graph
from drupe.deployment.manifest import MANIFEST, read_manifest
from drupe.deployment.runtime import load
from drupe.deployment.timing import Subject
from drupe.errors import InputError
from drupe.runs.layout import RunFolder


def open_subjects(
    path: Path, threads: int, every_function: bool, backend: str | None = None
) -> list[Subject]:
    """Return what is to be timed of a bundle or a run; of a run, its network in PyTorch, or its
    graph where it came as an ONNX file.

    ``every_function``: all of a bundle that this machine can run, not only the one in use;
    ``backend``: of bundles, the one that runs them.

    Raises:
        InputError: neither a bundle nor a finished run, or no function that can be run here.
        MissingExtraError: a run, without ``drupe[train]``.
    """
    if not (path / MANIFEST).is_file() and RunFolder(path).record.is_file():
        if RunFolder(path).graph.is_file():
            session, contract = open_graph(path, threads)
            return [Subject(str(path), "onnxruntime", "fp32", threads, contract, session)]
        from drupe.deployment.eager import eager_subject  # PyTorch: a line PC has none

        return [eager_subject(path, threads)]
    if not every_function:
        return [bundle_subject(path, threads, backend=backend)]
    functions = [one for one in read_manifest(path).functions if backend in (None, one.backend)]
    runnable = [one for one in functions if runs_here(one.backend, one.precision)]
    if not runnable:
        names = ", ".join(one.name for one in functions)
        raise InputError(
            f"{path}: must hold a function that can be run here, got {names or backend}: not "
            "installed, or not computed here"
        )
    return [
        bundle_subject(path, threads, f"{path} ({one.name})", one.backend, one.precision)
        for one in runnable
    ]


def bundle_subject(
    path: Path,
    threads: int,
    name: str | None = None,
    backend: str | None = None,
    precision: str | None = None,
) -> Subject:
    """Return one function of a bundle, the one that :func:`drupe.load` takes unless named.

    Certificates don't matter: nothing is decided. ``name``: the path unless given.

    Raises:
        InputError: what :func:`drupe.load` raises.
    """
    order = read_manifest(path).input.channels
    one = load(
        path,
        order=order,
        backend=backend,
        precision=precision,
        threads=threads,
        uncertified=True,
    )
    function, contract = one.function, one.manifest.input.contract
    return Subject(
        name or str(path), function.backend, function.precision, threads, contract, one.decide
    )
