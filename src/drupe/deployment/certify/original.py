"""The file as it came, run by ONNX Runtime on one image at a time: what the wrapped graph must say.

Images are prepared here in numpy, and scores made of the outputs in numpy, without any of the nodes
that were added to the graph.

Letters: N images of H × W pixels and C channels, K outputs for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from drupe.deployment.backends import Images, Session, UnusableGraphError, open_session
from drupe.deployment.certify.reading import InputFacts, OnnxFile
from drupe.errors import InputError
from drupe.progress import Progress
from drupe.runs.graph_record import GraphRecord

SUM_TOLERANCE = 1e-3
"""How far probabilities of all classes may add up to something else than one."""


@dataclass(frozen=True)
class Original:
    """A session of the file; ``place``: which of its outputs decides."""

    session: Session
    facts: InputFacts
    place: int

    @classmethod
    def open(cls, file: OnnxFile, facts: InputFacts, output: str, threads: int | None) -> Original:
        """Open the file as it came.

        Raises:
            InputError: ONNX Runtime can't load it.
        """
        try:
            session = open_session(file.content, "onnxruntime", "fp32", threads)
        except UnusableGraphError as error:
            raise InputError(f"{file.path}: {error}") from None
        names = [one.name for one in file.model.graph.output]
        return cls(session, facts, names.index(output))

    def outputs(self, images: Images, progress: Progress, what: str) -> NDArray[np.float32]:
        """Return the outputs of raw RGB or mono ``images`` [N, H, W, C], float32 [N, K].

        Raises:
            InputError: the graph can't be run on such images.
        """
        found = []
        with progress(what, len(images), "images") as tracker:
            for place in range(len(images)):
                found.append(self._outputs(images[place : place + 1]))
                tracker.advance(1)
        return np.stack(found)

    def _outputs(self, image: Images) -> NDArray[np.float32]:
        pixels = self.prepared(image)
        try:
            return np.asarray(self.session.outputs(pixels)[self.place], np.float32).ravel()
        except Exception as error:  # ONNX Runtime raises types of its own
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"the graph can't be run on {self.facts.name} {list(pixels.shape)} ({reason})"
            ) from None

    def prepared(self, images: Images) -> NDArray[Any]:
        """Return raw images as the file's own graph takes them."""
        facts = self.facts
        if facts.channels == "bgr":
            images = images[..., ::-1]
        pixels = facts.scale.applied(images) if facts.scale else images
        ordered = pixels.transpose(0, 3, 1, 2) if facts.layout == "NCHW" else pixels
        return np.ascontiguousarray(ordered)


def scores_of(outputs: NDArray[np.float32], facts: GraphRecord) -> NDArray[np.float32]:
    """Return the scores, float32 [N], of outputs [N, K]; computed in float64."""
    values = outputs.astype(np.float64)
    if facts.outputs == 1:
        single = values[:, 0]
        of_clean = facts.positive == (0,)
        if facts.apply == "sigmoid":
            return np.asarray(expit(-single if of_clean else single), np.float32)
        return np.asarray(1 - single if of_clean else single, np.float32)
    if facts.apply == "sigmoid":
        values = expit(values)
    elif facts.apply == "softmax":
        values = softmax(values, axis=1)
    return np.asarray(values[:, facts.positive].sum(1), np.float32)


def require_meaning(outputs: NDArray[np.float32], facts: GraphRecord, name: str) -> None:
    """Refuse outputs [N, K] that can't be what ``facts`` take them for.

    Raises:
        InputError: NaN; with ``none`` what is no probability; or where logits were assumed, what
            looks like probabilities.
    """
    if not np.isfinite(outputs).all():
        raise InputError(
            f"{name}: answers with NaN or infinity on the images of the data: is --scale what it "
            "was trained with?"
        )
    are_shares = bool(((outputs >= 0) & (outputs <= 1)).all())
    if facts.apply == "none":
        if not are_shares:
            wrong = outputs[(outputs < 0) | (outputs > 1)].flat[0]
            raise InputError(
                f"{name}: output {facts.output}: must be probabilities in [0, 1] "
                f"({facts.origins['apply']}), got {wrong:g}: give --apply sigmoid or softmax where "
                "they are logits"
            )
        return
    adds_up = facts.outputs == 1 or bool(np.allclose(outputs.sum(1), 1, atol=SUM_TOLERANCE))
    if facts.origins["apply"] != "--apply" and are_shares and adds_up:
        raise InputError(
            f"{name}: output {facts.output}: looks like probabilities (all of {outputs.size:,} "
            f"numbers lie in [0, 1]), though the graph doesn't end in what makes them: give "
            f"--apply none, or --apply {facts.apply} where they are logits all the same"
        )
