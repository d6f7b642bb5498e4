"""The network of a run that came as an ONNX file, opened without PyTorch."""

from __future__ import annotations

from pathlib import Path

from drupe.data.image_contract import ImageContract
from drupe.deployment.backends import Session, open_session
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record, require_done
from drupe.runs.results import require_own
from drupe.sides import simplest


def open_graph(run: Path, threads: int | None = None) -> tuple[Session, ImageContract]:
    """Return the graph of such a run in ONNX Runtime, and the images that it takes.

    Raises:
        InputError: no finished run, or not its own graph.
        UnusableGraphError: ONNX Runtime can't load it.
    """
    record, graph = read_record(run), RunFolder(run).graph
    assert record is not None  # who asks has seen it
    require_done(run, record.status)
    require_own(run, record, graph)
    session = open_session(graph.read_bytes(), "onnxruntime", "fp32", threads)
    height, width, channels = session.takes
    assert height is not None
    assert width is not None
    size = simplest((height, width))
    return session, ImageContract(size, channels="mono" if channels == 1 else "rgb")
