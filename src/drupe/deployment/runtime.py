"""The line PC's three calls: ``load``, ``scores``, ``decide``. NumPy, Pillow and a runtime suffice.

An image that doesn't look like those behind the certificate (:mod:`drupe.deployment.frames`) has no
score: ``scores`` refuses it, and its decision is ``review``. One that is unlike anything that was
learnt from (:mod:`drupe.deployment.unknown`) has a score, which decides nothing.

Letters: N images; H × W pixels and C channels of an image, as ``bundle.json`` states them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import Channels, RawPixel
from drupe.deployment.backends import (
    LEAST,
    MOST,
    Session,
    UnusableGraphError,
    is_asked_for,
    no_score,
    obstacle,
    open_session,
    require_scores,
)
from drupe.deployment.capture.writer import Capture
from drupe.deployment.drift import CalibrationScores, read_calibration
from drupe.deployment.explain import Explanation, explain
from drupe.deployment.frames import FrameCheck, read_frames
from drupe.deployment.intake import Intake
from drupe.deployment.manifest import Function, Manifest, read_digest, read_files, read_manifest
from drupe.deployment.unknown import UNKNOWN, UnknownCheck, read_distances
from drupe.deployment.watcher import Examined, Watcher, Watchers, require_names
from drupe.errors import InputError

WARM_UP = 5
"""Images run at load: the first ones take longer, while memory is claimed."""

LANES = ("accept", "review", "reject")
_LANES = np.array(LANES)

Image = NDArray[RawPixel] | str | Path


class Classifier:
    """A verified bundle, ready to decide. Any number of threads may call it at once.

    ``function`` is the graph, backend and precision in use, with its thresholds and certificate;
    ``threads`` how many one call may use (None: all cores that the process may run on);
    ``calibration`` this function's calibration scores, and ``frames`` the check of what images look
    like; None where the bundle has none; ``digest`` the hash that stands in ``bundle.json``.
    """

    def __init__(
        self,
        manifest: Manifest,
        function: Function,
        session: Session,
        threads: int | None,
        calibration: CalibrationScores | None = None,
        frames: FrameCheck | None = None,
        order: Channels | None = None,
        digest: str = "",
        known: UnknownCheck | None = None,
    ) -> None:
        self.manifest, self.function, self.threads = manifest, function, threads
        self.calibration, self.frames, self.known = calibration, frames, known
        self.digest, self.watchers = digest, Watchers()
        self._session = session
        self._intake = Intake(manifest.input.contract, order)
        # Scores are compared as float32, the type that they were certified in.
        self._low, self._high = float(np.float32(function.low)), float(np.float32(function.high))

    @property
    def classes(self) -> tuple[str, str]:
        """(clean, defect)."""
        return self.manifest.classes

    @property
    def type_names(self) -> tuple[str, ...]:
        """The types of defects that it tells apart; none where the bundle tells none."""
        return self.manifest.types.names if self.manifest.types else ()

    @property
    def is_certified(self) -> bool:
        """True where the thresholds in use rest on a certificate."""
        return self.function.is_certified

    def watch(self, watcher: Watcher) -> None:
        """Have ``watcher`` told of every decision from now on, in the order of these calls."""
        self.watchers.add(watcher)

    def scores(self, images: Image | Sequence[Image] | NDArray[RawPixel]) -> Any:
        """Return the probability of *defect*: a float for one image, float32 [N] for many.

        ``images``: an array [H, W, 3] or a path; or [N, H, W, 3], or a sequence of either; of a
        mono bundle [H, W] or [H, W, 1], and [N, H, W] or [N, H, W, 1]. Arrays are uint8, or uint16
        where the bundle's white level lies above 255. Their channels are in the order that
        :func:`load` was told; H and W are what the bundle states, or any where it resizes or pads.

        Raises:
            InputError: another size, type or number of channels; a pixel above the white level; an
                empty batch; an image that can't be read or is a fault (see :meth:`examine`); a
                score that isn't a number.
        """
        one, batch = self._intake.batch(images)
        for place, fault in enumerate(self._faults(batch)):
            if fault is not None:
                raise InputError(f"image{'' if one else f' {place}'}: has no score: {fault}")
        found = self._scores(batch)
        return float(found[0]) if one else found

    def decide(
        self,
        images: Image | Sequence[Image] | NDArray[RawPixel],
        items: str | Sequence[str] | None = None,
    ) -> Any:
        """Return ``accept``, ``review`` or ``reject``: a str for one image, an array for many.

        Takes what :meth:`scores` does; an image that is a fault is reviewed, one that is unknown
        goes where the bundle says (review or reject), anything else that ``scores`` refuses is
        refused here too. An error is never a decision: whoever catches it
        must reject the item or have it reviewed. ``items``: names of the images, for a log.
        """
        if self.watchers.any:
            one, found = self._watched(images, items)
            return str(found.decisions[0]) if one else found.decisions
        one, batch = self._intake.batch(images)
        if not one:
            return self.examine_ready(batch).decisions
        # Plain floats: for one score, NumPy's arrays of strings take longer than all else here.
        outputs = self._session.outputs(batch)
        score = float(outputs[0][0])
        if not LEAST <= score <= MOST:  # NaN compares as "not below low" but means nothing
            raise no_score(score)
        if self._faults(batch)[0] is not None:  # asked last: a fault takes as long as a decision
            return "review"
        if self.known is not None and self.known.is_unknown(float(outputs[-1][0])):
            return self.known.lane
        return LANES[(score >= self._low) + (score >= self._high)]

    def examine(
        self,
        images: Image | Sequence[Image] | NDArray[RawPixel],
        items: str | Sequence[str] | None = None,
    ) -> Examined:
        """Return scores and decisions of many images (or one), and which are faults or unknown.

        A fault is an image that doesn't look like those behind the certificate: swapped channels, a
        black, white or flat frame, noise, other light. It has no score and is reviewed. Good images
        are called a fault at most as often as ``classifier.frames.false_alarm_rate``. An unknown
        image is unlike anything that was learnt from, by its p-value; its score decides nothing.

        Raises:
            InputError: what :meth:`decide` raises.
        """
        return self._watched(images, items)[1]

    def types(self, images: Image | Sequence[Image] | NDArray[RawPixel]) -> Any:
        """Return the type of defect: a str for one image, an array of them for many.

        '' where an image is accepted, a fault or unknown. A type describes what isn't accepted; it
        never changes a decision and isn't certified.

        Raises:
            InputError: what :meth:`decide` raises, or a bundle that tells no types.
        """
        if not self.type_names:
            raise InputError(
                "types: the bundle tells none: export a run whose data has types of defects "
                "(data.good or data.classes)"
            )
        one, batch = self._intake.batch(images)
        found = self._examined(batch).types
        assert found is not None
        return str(found[0]) if one else found

    def _watched(self, images: Any, items: str | Sequence[str] | None) -> tuple[bool, Examined]:
        """Return whether one image was given, and what is found, once all watchers were told."""
        names = [items] if isinstance(items, str) else items
        try:
            one, batch = self._intake.batch(images)
            require_names(names, len(batch))
        except InputError as error:
            self.watchers.refused(names, str(error), None)
            raise
        return one, self.examine_ready(batch, names)

    def explain(self, image: Image) -> Explanation:
        """Return where the score of one image comes from: some 900 decisions, told to nobody.

        Raises:
            InputError: what :meth:`decide` raises, or several images.
        """
        one, batch = self._intake.batch(image)
        if not one:
            raise InputError("image: must be one image, got several")
        return explain(self._scores, batch[0])

    def examine_ready(
        self, batch: NDArray[RawPixel], items: Sequence[str] | None = None
    ) -> Examined:
        """Return what :meth:`examine` does, of images that are as the graph takes them already."""
        return self.watchers.told(self._examined, batch, items)

    def _examined(self, batch: NDArray[RawPixel]) -> Examined:
        scores, *others = self._session.outputs(batch)
        require_scores(scores)
        faults, decisions = self._faults(batch), self.decide_scores(scores)
        strange, p_values = np.zeros(len(scores), np.bool_), None
        if self.known is not None:
            strange = self.known.are_unknown(others[-1])
            p_values = self.known.calibration.p_values(others[-1])
            decisions[strange] = self.known.lane
        if any(faults):
            odd = np.array([fault is not None for fault in faults])
            scores = scores.copy()
            scores[odd], decisions[odd] = np.nan, "review"
        types = self._types(scores, decisions, strange, others)
        told = [
            fault or (UNKNOWN if one else None) for fault, one in zip(faults, strange, strict=True)
        ]
        return Examined(scores, decisions, told, types, p_values)

    def _types(
        self,
        scores: NDArray[np.float32],
        decisions: NDArray[np.str_],
        strange: NDArray[np.bool_],
        others: Sequence[NDArray[np.float32]],
    ) -> NDArray[np.str_] | None:
        """Return the likeliest type of what its score doesn't accept; '' of all else."""
        if not self.type_names:
            return None
        likeliest = np.array(self.type_names)[others[0].argmax(1)]
        return np.where((decisions == "accept") | strange | np.isnan(scores), "", likeliest)

    def _faults(self, batch: NDArray[RawPixel]) -> list[str | None]:
        return self.frames.faults(batch) if self.frames else [None] * len(batch)

    def decide_scores(self, scores: NDArray[np.float32]) -> NDArray[np.str_]:
        """Return the decisions of scores float32 [N] that this bundle gave.

        Raises:
            InputError: a score that isn't in [0, 1]: NaN never means accept.
        """
        require_scores(scores)
        low, high = np.float32(self._low), np.float32(self._high)
        return _LANES[(scores >= low).astype(np.intp) + (scores >= high)]

    def _scores(self, batch: NDArray[RawPixel]) -> NDArray[np.float32]:
        scores = self._session(batch)
        require_scores(scores)
        return scores


def load(
    path: str | Path,
    *,
    order: Channels | None = None,
    backend: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    callers: int = 1,
    uncertified: bool = False,
    capture: str | Path | None = None,
    cache: str | Path | None = None,
) -> Classifier:
    """Verify the bundle in ``path``, choose a function, warm it up and return it.

    Every file is checked against its hash first. Without ``backend`` and ``precision`` the first
    function of the bundle's order of preference is taken whose packages are installed and whose
    thresholds are certified. A device that is preferred and missing is an error: what decides in
    its place must be named.

    Parameters
    ----------
    path
        A bundle directory, as ``drupe export`` writes it.
    order
        "rgb" or "bgr": the order of the channels in the arrays that will be given. OpenCV reads
        BGR. None: the graph's own order, with a warning at the first array. Files need none. Arrays
        of one channel are "mono", which can be left out.
    backend, precision
        A backend's name such as "onnxruntime", "openvino" or "onnxruntime-cuda"; "fp32", "tf32",
        "fp16", "bf16" or "int8". None: by preference.
    threads
        CPU threads of one call; None: all cores that the process may run on.
    callers
        How many threads will call at once. More may; with OpenVINO they then wait for each other.
    uncertified
        Also take a function whose thresholds nothing proves.
    capture
        A folder that keeps every *review* and a thousandth of all else, for people to look at;
        :class:`drupe.Capture` with other shares and bounds.
    cache
        A folder where TensorRT and OpenVINO keep what they compiled, to start sooner. What lies
        there decides as it is, unchecked: nobody else may write there.

    Raises
    ------
    InputError
        No bundle, changed or missing files, no function that fits and can be run here, a session
        that would run on another device, or another ``order``.
    """
    if order not in (None, *get_args(Channels)):
        raise InputError(f'order: must be "rgb", "bgr" or "mono", got {order!r}')
    bundle = Path(path)
    manifest = read_manifest(bundle)
    is_mono = manifest.input.contract.is_mono
    if order is not None and is_mono != (order == "mono"):
        takes = '"mono": it takes arrays of one channel' if is_mono else '"rgb" or "bgr"'
        raise InputError(f"{bundle}: order: must be {takes}, got {order!r}")
    contents = read_files(bundle, manifest)
    function = choose_function(manifest, bundle, backend, precision, uncertified)
    session = open_function(
        *(bundle, manifest, contents, function, threads, callers),
        cache=None if cache is None else Path(cache),
    )
    calibration = read_reference(bundle, manifest, contents, function)
    frames = None
    if manifest.frames is not None:
        frames = read_frames(contents[manifest.frames], str(bundle / manifest.frames))
    blank = np.zeros((1, *manifest.input.contract.shape), manifest.input.contract.dtype)
    for _ in range(WARM_UP):
        session(blank)
        if frames:
            frames.faults(blank)
    known = read_known(bundle, manifest, contents, function)
    digest = read_digest(bundle)
    seen = (calibration, frames, order, digest, known)
    loaded = Classifier(manifest, function, session, threads, *seen)
    if capture is not None:
        Capture(loaded, capture)
    return loaded


def open_function(
    bundle: Path,
    manifest: Manifest,
    contents: Mapping[str, bytes],
    function: Function,
    threads: int | None,
    callers: int = 1,
    cache: Path | None = None,
) -> Session:
    """Return a session of ``function``, whose graph takes the images that the bundle promises.

    Raises:
        InputError: a graph that the backend can't load, or that takes other images.
    """
    path, contract = bundle / function.graph, manifest.input.contract
    try:
        session = open_session(
            contents[function.graph], function.backend, function.precision, threads, callers, cache
        )
    except UnusableGraphError as error:
        raise InputError(f"{path}: {error}") from None
    pairs = zip(session.takes, contract.shape, strict=False)
    if len(session.takes) != 3 or any(takes not in (None, given) for takes, given in pairs):
        takes, promised = (
            ", ".join("any" if one is None else str(one) for one in shape)
            for shape in (session.takes, contract.shape)
        )
        raise InputError(
            f"{path}: the graph takes images [{takes}] (height, width, channels), but the bundle "
            f"promises [{promised}]"
        )
    try:
        scores, *others = session.outputs(np.zeros((2, *contract.shape), contract.dtype))
    except Exception as error:  # each backend raises types of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: the graph doesn't run on {contract.dtype} images ({reason})"
        ) from None
    if scores.dtype != np.float32 or scores.shape != (2,):
        raise InputError(
            f"{path}: the graph must give a score per image, float32 [2] for two, got "
            f"{scores.dtype} {list(scores.shape)}"
        )
    try:
        require_scores(scores)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    _require_outputs(path, manifest, others)
    return session


def _require_outputs(path: Path, manifest: Manifest, others: Sequence[NDArray[np.float32]]) -> None:
    """Refuse a graph that doesn't give, for two images, what else the manifest promises."""
    types, unknown = manifest.types, manifest.unknown
    wanted = [
        *([(f"scores of {len(types.names)} types", (2, len(types.names)))] if types else ()),
        *([("a distance", (2,))] if unknown else ()),
    ]
    if wanted and [one.shape for one in others] != [shape for _, shape in wanted]:
        words = " and ".join(what for what, _ in wanted)
        raise InputError(
            f"{path}: the graph must give {words} per image, got outputs of the shapes "
            f"{[list(one.shape) for one in others]}"
        )


def read_known(
    bundle: Path, manifest: Manifest, contents: Mapping[str, bytes], function: Function
) -> UnknownCheck | None:
    """Return the check of what ``function`` doesn't know; None where the bundle has none.

    Raises:
        InputError: a damaged file.
    """
    unknown = manifest.unknown
    if unknown is None:
        return None
    assert manifest.calibration is not None  # read_manifest saw to it
    try:
        calibration = read_distances(contents[manifest.calibration], function.name)
    except ValueError as error:
        raise InputError(f"{bundle / manifest.calibration}: {error}") from None
    limit = unknown.functions[function.name].limit
    return UnknownCheck(float(np.float32(limit)), unknown.lane, calibration)


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
    """Return the first function that was asked for, can be run here and is certified.

    Raises:
        InputError: none, or one of a device that comes first, wasn't named and can't be run here.
    """
    asked = [
        one
        for one in manifest.functions
        if backend in (None, one.backend) and precision in (None, one.precision)
    ]
    if not asked:
        names = ", ".join(one.name for one in manifest.functions)
        wanted = " ".join(filter(None, (backend, precision)))
        raise InputError(f"{bundle}: must be run as one of: {names}; got {wanted}")
    missing = {}
    for one in asked:
        why = obstacle(one.backend, one.precision)
        may_decide = one.is_certified or uncertified
        if why is None and may_decide:
            return one
        if why is not None:
            missing[one.name] = why
            if may_decide and backend is None and is_asked_for(one.backend):
                raise _not_here(bundle, manifest, missing)  # nothing else without being told
    if len(missing) == len(asked):
        raise _not_here(bundle, manifest, missing)
    names = ", ".join(one.name for one in asked if one.name not in missing)
    raise InputError(
        f"{bundle}: holds no exact certificate for {names}: certify the run (drupe threshold) and "
        "export it again, or ask for uncertified decisions (uncertified=True, --uncertified)"
    )


def _not_here(bundle: Path, manifest: Manifest, missing: Mapping[str, str]) -> InputError:
    """Return the error that says why functions are ``missing``, and which can decide instead."""
    reasons = "; ".join(f"{name} ({why})" for name, why in missing.items())
    able = [
        one.name
        for one in manifest.functions
        if one.is_certified and obstacle(one.backend, one.precision) is None
    ]
    instead = (
        f"certified and available here, if named as backend and precision: {', '.join(able)}"
        if able
        else "no certified function is available here"
    )
    return InputError(f"{bundle}: can't be run here as {reasons}; {instead}")
