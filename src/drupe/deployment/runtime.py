"""The line PC's three calls: ``load``, ``scores``, ``decide``. NumPy, Pillow and a runtime suffice.

Letters: N images; S pixels of an image's side, as ``bundle.json`` states it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import UnreadableImageError, decode
from drupe.deployment.backends import Session, UnusableGraphError, open_session, runs_here
from drupe.deployment.drift import CalibrationScores, read_calibration
from drupe.deployment.manifest import Function, Manifest, read_files, read_manifest
from drupe.errors import InputError

WARM_UP = 5
"""Images run at load: the first ones take longer, while memory is claimed."""

LANES = ("accept", "review", "reject")
_LANES = np.array(LANES)
_BYTES = np.dtype(np.uint8)

Image = NDArray[np.uint8] | str | Path


class Classifier:
    """A verified bundle, ready to decide. Any number of threads may call it at once.

    ``function`` is the graph, backend and precision in use, with its thresholds and certificate;
    ``threads`` how many one call may use (None: all cores that the process may run on);
    ``calibration`` this function's calibration scores, None where the bundle has none.
    """

    def __init__(
        self,
        manifest: Manifest,
        function: Function,
        session: Session,
        threads: int | None,
        calibration: CalibrationScores | None = None,
    ) -> None:
        self.manifest, self.function, self.threads = manifest, function, threads
        self.calibration = calibration
        self._session = session
        self._shape = (manifest.input.size, manifest.input.size, 3)
        # Scores are compared as float32, the type that they were certified in.
        self._low, self._high = float(np.float32(function.low)), float(np.float32(function.high))

    @property
    def classes(self) -> tuple[str, str]:
        """(clean, defect)."""
        return self.manifest.classes

    @property
    def is_certified(self) -> bool:
        """True where the thresholds in use rest on a certificate."""
        return self.function.is_certified

    def scores(self, images: Image | Sequence[Image] | NDArray[np.uint8]) -> Any:
        """Return the probability of *defect*: a float for one image, float32 [N] for many.

        ``images``: uint8 [S, S, 3] (RGB) or a path; or uint8 [N, S, S, 3], or a sequence of either.

        Raises:
            InputError: another size, type or number of channels; an empty batch; an image that
                can't be read; a score that isn't a number.
        """
        one, batch = self._batch(images)
        return self._score(batch) if one else self._scores(batch)

    def decide(self, images: Image | Sequence[Image] | NDArray[np.uint8]) -> Any:
        """Return ``accept``, ``review`` or ``reject``: a str for one image, an array for many.

        Takes and refuses what :meth:`scores` does. An error is never a decision: whoever catches
        it must reject the item or have it reviewed.
        """
        one, batch = self._batch(images)
        if not one:
            return self.decide_scores(self._scores(batch))
        # Plain floats: for one score, NumPy's arrays of strings take longer than all else here.
        score = self._score(batch)
        return LANES[(score >= self._low) + (score >= self._high)]

    def decide_scores(self, scores: NDArray[np.float32]) -> NDArray[np.str_]:
        """Return the decisions of scores float32 [N] that this bundle gave."""
        low, high = np.float32(self._low), np.float32(self._high)
        return _LANES[(scores >= low).astype(np.intp) + (scores >= high)]

    def _score(self, batch: NDArray[np.uint8]) -> float:
        score = float(self._session(batch)[0])
        if not math.isfinite(score):  # NaN compares as "not below low" but means nothing
            raise _not_finite()
        return score

    def _scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = self._session(batch)
        if not np.isfinite(scores).all():
            raise _not_finite()
        return scores

    def _batch(self, images: Any) -> tuple[bool, NDArray[np.uint8]]:
        """Return whether one image was given, and all as uint8 [N, S, S, 3]."""
        if isinstance(images, np.ndarray) and images.dtype == _BYTES:
            if images.shape == self._shape:
                return True, images[np.newaxis]
            if images.ndim == 4 and images.shape[1:] == self._shape and len(images):
                return False, images
        if isinstance(images, (str, Path)):
            return True, self._checked(images)[np.newaxis]
        if isinstance(images, np.ndarray) and images.ndim != 4:
            self._checked(images)
        if not isinstance(images, (np.ndarray, Sequence)):
            raise InputError(
                "images: must be a path, a uint8 array or a sequence of them, got "
                f"{type(images).__name__}"
            )
        if len(images) == 0:
            raise InputError("images: must hold at least one, got none")
        return False, np.stack([self._checked(image) for image in images])

    def _checked(self, image: Any) -> NDArray[np.uint8]:
        where = "image"
        if isinstance(image, (str, Path)):
            where = str(image)
            try:
                image = decode(image)
            except UnreadableImageError as error:
                raise InputError(f"{where}: can't be read ({error.reason})") from None
        if not isinstance(image, np.ndarray):
            raise InputError(
                f"{where}: must be a path or a uint8 array, got {type(image).__name__}"
            )
        if image.dtype != np.uint8 or image.shape != self._shape:
            wanted = "uint8 [{}, {}, {}]".format(*self._shape)
            raise InputError(f"{where}: must be {wanted}, got {image.dtype} {list(image.shape)}")
        return image


def _not_finite() -> InputError:
    return InputError("scores: must be numbers, got NaN or infinity from the graph")


def load(
    path: str | Path,
    *,
    backend: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    callers: int = 1,
    uncertified: bool = False,
) -> Classifier:
    """Verify the bundle in ``path``, choose a function, warm it up and return it.

    Every file is checked against its hash first. Without ``backend`` and ``precision`` the first
    function of the bundle's order of preference is taken whose packages are installed and whose
    thresholds are certified.

    Parameters
    ----------
    path
        A bundle directory, as ``drupe export`` writes it.
    backend, precision
        "onnxruntime" or "openvino"; "fp32", "bf16" or "int8". None: by preference.
    threads
        CPU threads of one call; None: all cores that the process may run on.
    callers
        How many threads will call at once. More may; with OpenVINO they then wait for each other.
    uncertified
        Also take a function whose thresholds nothing proves.

    Raises
    ------
    InputError
        No bundle, changed or missing files, or no function that fits.
    """
    bundle = Path(path)
    manifest = read_manifest(bundle)
    contents = read_files(bundle, manifest)
    function = choose_function(manifest, bundle, backend, precision, uncertified)
    session = open_function(bundle, manifest, contents, function, threads, callers)
    calibration = read_reference(bundle, manifest, contents, function)
    classifier = Classifier(manifest, function, session, threads, calibration)
    blank = np.zeros((1, *classifier._shape), np.uint8)
    for _ in range(WARM_UP):
        classifier.scores(blank)
    return classifier


def open_function(
    bundle: Path,
    manifest: Manifest,
    contents: Mapping[str, bytes],
    function: Function,
    threads: int | None,
    callers: int = 1,
) -> Session:
    """Return a session of ``function``, whose graph takes the images that the bundle promises.

    Raises:
        InputError: a graph that the backend can't load, or that takes other images.
    """
    path, size = bundle / function.graph, manifest.input.size
    try:
        session = open_session(
            contents[function.graph], function.backend, function.precision, threads, callers
        )
    except UnusableGraphError as error:
        raise InputError(f"{path}: {error}") from None
    if session.side not in (None, size):
        raise InputError(
            f"{path}: the graph takes images of {session.side} pixels a side, but the bundle "
            f"promises {size}"
        )
    try:
        scores = session(np.zeros((2, size, size, 3), np.uint8))
    except Exception as error:  # each backend raises types of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: the graph doesn't run on uint8 images ({reason})") from None
    if scores.dtype != np.float32 or scores.shape != (2,):
        raise InputError(
            f"{path}: the graph must give a score per image, float32 [2] for two, got "
            f"{scores.dtype} {list(scores.shape)}"
        )
    return session


def read_reference(
    bundle: Path, manifest: Manifest, contents: Mapping[str, bytes], function: Function
) -> CalibrationScores | None:
    """Return the calibration scores of ``function``; None where the bundle has none.

    Raises:
        InputError: a damaged file.
    """
    if manifest.calibration is None:
        return None
    try:
        return read_calibration(contents[manifest.calibration], function.name)
    except ValueError as error:
        raise InputError(f"{bundle / manifest.calibration}: {error}") from None


def choose_function(
    manifest: Manifest,
    bundle: Path,
    backend: str | None,
    precision: str | None,
    uncertified: bool,
) -> Function:
    """Return the first function that was asked for, is installed and is certified."""
    asked = [
        one
        for one in manifest.functions
        if backend in (None, one.backend) and precision in (None, one.precision)
    ]
    if not asked:
        names = ", ".join(one.name for one in manifest.functions)
        wanted = " ".join(filter(None, (backend, precision)))
        raise InputError(f"{bundle}: must be run as one of: {names}; got {wanted}")
    installed = [one for one in asked if runs_here(one.backend, one.precision)]
    if not installed:
        missing = sorted({one.name for one in asked})
        raise InputError(
            f"{bundle}: needs {' or '.join(missing)}, which is not installed or not computed by "
            "this processor"
        )
    for one in installed:
        if one.is_certified or uncertified:
            return one
    names = ", ".join(one.name for one in installed)
    raise InputError(
        f"{bundle}: holds no exact certificate for {names}: certify the run (drupe threshold) and "
        "export it again, or ask for uncertified decisions (uncertified=True, --uncertified)"
    )
