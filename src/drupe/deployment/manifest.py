"""``bundle.json``: what a bundle holds, and the check that it still does.

A *function* is a graph run by a backend in a precision: scores differ between functions, so each
has its own certificate.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import fingerprint, validate
from drupe.data.decode import BYTE, DEEPEST
from drupe.data.image_contract import FILTER, Channels, ImageContract, Sizes
from drupe.deployment.backends import NAME, Precision
from drupe.deployment.unknown import UnknownLane
from drupe.derived import DIGEST, is_sealed, sealed
from drupe.errors import InputError
from drupe.files import read_json, write_json

SCHEMA_VERSION = 4
"""Raised when an older runtime would misread a bundle."""

KNOWS_ALL = 3
"""Of a bundle without a check of what it doesn't know, which an older runtime may read."""

READABLE = (1, 2, KNOWS_ALL, SCHEMA_VERSION)
"""1: without sizes and channels (refuse, RGB), and with no check of frames; 2: square images in 8
bits and three channels alone; 3: nothing is unknown to it, and its functions are those of
``KNOWN_TO_ALL``."""

KNOWN_TO_ALL = (
    *(("onnxruntime", "fp32"), ("onnxruntime", "int8")),
    *(("openvino", "fp32"), ("openvino", "int8"), ("openvino", "bf16")),
)
"""Backends and precisions of functions that a runtime of schema 3 can read."""

TOLERANCE = {"fp32": 1e-4, "tf32": 0.02, "fp16": 0.02, "bf16": 0.15, "int8": 0.05}
"""The largest difference allowed to a golden score on another processor, by precision.

tf32 and fp16 round to three bits more than bf16, to an eighth of its error.
"""

MANIFEST = "bundle.json"
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Score = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A frozen group of keys that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GraphInput(Section):
    """The images that every graph takes: [N, H, W, C], 0 to white, any N ≥ 1.

    ``name``: of the graph's input; ``size``: H = W, or (H, W); ``dtype``: of a pixel, uint8 or,
    where ``white_level`` (the value of a white one) lies above 255, uint16; ``channels``: their
    order in it, or mono, which is C = 1; ``sizes``: what becomes of an
    image of another size before (see :class:`drupe.data.image_contract.ImageContract`), ``filter``:
    how it is scaled; ``sees``: what the graph itself does to an image, one mapping per network
    (crop, resolution and views, in pixels; range of values), for whoever reads the file.
    """

    name: str = "images"
    size: Pixels | tuple[Pixels, Pixels]
    dtype: Literal["uint8", "uint16"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    channels: Channels = "rgb"
    white_level: Annotated[int, Field(ge=BYTE, le=DEEPEST)] = BYTE
    sizes: Sizes = "refuse"
    filter: str = FILTER
    sees: tuple[dict[str, Any], ...] = ()

    @property
    def contract(self) -> ImageContract:
        """The path from a file or an array to the graph's input."""
        return ImageContract(self.size, self.sizes, self.channels, self.white_level)

    @classmethod
    def of(cls, contract: ImageContract, sees: tuple[dict[str, Any], ...] = ()) -> Self:
        """Describe the end of ``contract``."""
        return cls(
            size=contract.size,
            dtype="uint8" if contract.white_level == BYTE else "uint16",
            channels=contract.channels,
            white_level=contract.white_level,
            sizes=contract.sizes,
            sees=sees,
        )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        deep = self.white_level > BYTE
        if deep != (self.dtype == "uint16") or (deep and self.channels != "mono"):
            raise ValueError(
                "dtype, white_level and channels must be uint8 and 255, or uint16, more and mono, "
                f"got {self.dtype}, {self.white_level} and {self.channels}"
            )
        return self


class GraphOutput(Section):
    """What every graph gives, float32 [N], and how it is compared with the thresholds.

    ``tolerance``: by precision, how far a golden score may lie off on another processor.
    """

    name: str = "score"
    dtype: Literal["float32"] = "float32"
    means: str = "probability of a defect"
    accept: str = "score < low"
    reject: str = "score >= high"
    compared_as: Literal["float32"] = "float32"
    tolerance: dict[str, float] = Field(default_factory=lambda: dict(TOLERANCE))


class TypeAgreement(Section):
    """The types that a function says of the distinct test defects, against PyTorch's.

    ``same`` of ``images`` are said alike; of ``typed`` ones, whose type is known, ``right`` are
    said right.
    """

    images: int
    same: int
    max_score_difference: float
    typed: int
    right: int


class TypeOutput(Section):
    """The second output of every graph, float32 [N, T]: which type it is, if it is a defect.

    ``names`` [T]: the types in the order of the columns; ``functions``: how each function, by its
    name, agrees with the tested network. It describes what isn't accepted, and is not certified.
    """

    name: str = "type_scores"
    dtype: Literal["float32"] = "float32"
    means: str = "probability of each type, if it is a defect"
    names: Annotated[tuple[str, ...], Field(min_length=2)]
    functions: dict[str, TypeAgreement] = Field(default_factory=dict)


class UnknownFigures(Section):
    """What a function calls unknown: beyond ``limit``, compared as float32.

    ``clean`` and ``defects``: distinct calibration items of each class; ``clean_rate`` and
    ``defect_rate``: the most that an item of either is unknown with, the draw of calibration
    included; ``test_clean`` and ``test_defects``: how many of ``of_test_clean`` and
    ``of_test_defects`` distinct test items are unknown. ``images``, ``turned``: compared with
    PyTorch, and called otherwise; ``max_difference``: of a distance, as a share of it.
    """

    limit: Annotated[float, Field(ge=0)]
    clean: int
    defects: int
    clean_rate: Score
    defect_rate: Score
    test_clean: int
    of_test_clean: int
    test_defects: int
    of_test_defects: int
    images: int
    turned: int
    max_difference: float


class UnknownOutput(Section):
    """The last output of every graph, float32 [N]: how far an image lies from those learnt from.

    ``rate``: α, the most that an item of either class is unknown with; ``lane``: where what is
    unknown goes, whatever its score; ``fit``: items that distances start from; ``functions``: each
    function's limit, by its name.
    """

    name: str = "distance"
    dtype: Literal["float32"] = "float32"
    means: str = "distance of an image from those that were learnt from; about 1 for one like them"
    unknown: str = "not distance <= limit"
    rate: Annotated[float, Field(gt=0, le=0.5)]
    lane: UnknownLane
    fit: int
    functions: dict[str, UnknownFigures]


class Gate(Section):
    """The comparison of a function with PyTorch on the run's crops, and on new ones if given."""

    images: int
    max_score_difference: float
    mean_score_difference: float
    flips: int


class Function(Section):
    """A function of the bundle, with its thresholds and the certificate that they rest on.

    ``p50_ms``: the median milliseconds of one image on the exporting machine.
    """

    graph: FileName
    backend: Annotated[str, Field(pattern=NAME)]
    precision: Precision
    low: Score
    high: Score
    certificate: dict[str, Any] | None
    gate: Gate
    p50_ms: float | None = None

    @property
    def is_certified(self) -> bool:
        """True where an exact certificate stands behind the thresholds, not an approximate one."""
        return self.certificate is not None and self.certificate.get("approximate") is None

    @property
    def name(self) -> str:
        """``onnxruntime fp32``: its name in messages."""
        return f"{self.backend} {self.precision}"

    @property
    def certificate_id(self) -> str | None:
        """The SHA-256 (hex) of the certificate, None where there is none.

        The graph's own hash is left out, because the graph's file states this one.
        """
        if self.certificate is None:
            return None
        return fingerprint(self.measured_on("").certificate)

    def measured_on(self, digest: str) -> Function:
        """Return the same with ``digest`` as the hash of the graph that was certified."""
        if self.certificate is None:
            return self
        measured = {**self.certificate.get("measured_on", {}), "graph": digest}
        return self.model_copy(
            update={"certificate": {**self.certificate, "measured_on": measured}}
        )


class Manifest(Section):
    """The content of ``bundle.json``, beside ``digest``: the hash of all else that stands there.

    ``functions`` stand in the order of preference. ``files`` maps every other file of the
    bundle to the SHA-256 (hex) of its bytes. ``calibration`` names the file of each function's
    calibration scores (see :mod:`drupe.deployment.drift`), None where there are none to compare
    a line with; ``frames`` the file of what its pictures look like (see
    :mod:`drupe.deployment.frames`), None where they are too few. ``provenance`` says where the
    weights come from, and on which crops certificates were made. ``types``: the output that tells
    types of defects, None where there is none; ``unknown``: the one that tells what the network
    doesn't know, or None.
    """

    schema_version: int
    name: str
    classes: tuple[str, str]
    input: GraphInput
    output: GraphOutput = GraphOutput()
    functions: Annotated[tuple[Function, ...], Field(min_length=1)]
    golden: FileName
    calibration: FileName | None = None
    frames: FileName | None = None
    files: dict[FileName, str]
    provenance: dict[str, Any]
    types: TypeOutput | None = None
    unknown: UnknownOutput | None = None


def file_digest(content: bytes) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Write ``bundle.json``."""
    # Without types, say, it is the document that it was before there were any.
    without = {name for name in ("types", "unknown") if getattr(manifest, name) is None}
    write_json(bundle / MANIFEST, sealed(manifest.model_dump(mode="json", exclude=without)))


def read_manifest(bundle: Path) -> Manifest:
    """Read ``bundle.json``; no other file is looked at.

    Raises:
        InputError: no bundle, another schema, or a manifest that is damaged, was changed or
            contradicts itself.
    """
    path = bundle / MANIFEST
    document = _read_document(bundle)
    digest = document.pop(DIGEST, None)
    manifest = validate(Manifest, document, str(path))
    if problems := _contradictions(manifest, path):
        raise InputError(problems)
    if digest is None:
        raise InputError(
            f"{path}: {DIGEST}: required, but missing: made by an older Drupe, or changed; export "
            "the run again"
        )
    if not is_sealed({**document, DIGEST: digest}):
        raise InputError(
            f"{path}: changed since the bundle was made: thresholds and certificates are never "
            "edited; export the run again"
        )
    return manifest


def read_digest(bundle: Path) -> str:
    """Return the ``digest`` of a bundle whose manifest was read: what tells it from any other."""
    return str(_read_document(bundle)[DIGEST])


def _read_document(bundle: Path) -> dict[str, Any]:
    """Return the mapping in ``bundle.json``, of the schema that this Drupe reads."""
    path = bundle / MANIFEST
    if not path.is_file():
        found = f"holds no {MANIFEST}" if bundle.is_dir() else "there is no such folder"
        raise InputError(f"{bundle}: must be a bundle, but {found}")
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be a mapping, got {type(document).__name__}")
    version = document.get("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version not in READABLE:
        newer = type(version) is int and version > SCHEMA_VERSION
        raise InputError(
            f"{path}: schema_version: must be {' or '.join(map(str, READABLE))}, got {version!r}"
            + (": the bundle was made by a newer Drupe" if newer else "")
        )
    return document


def _contradictions(manifest: Manifest, path: Path) -> list[str]:
    """Return what of the manifest can't hold together: unlisted files, thresholds out of order."""
    needed = {manifest.golden, *(function.graph for function in manifest.functions)}
    needed |= {name for name in (manifest.calibration, manifest.frames) if name}
    unlisted = sorted(needed - set(manifest.files))
    problems = [f"{path}: files: must list {name}" for name in unlisted] + [
        f"{path}: functions: {one.name}: low must be at most high, got {one.low:g} and {one.high:g}"
        for one in manifest.functions
        if one.low > one.high
    ]
    if manifest.unknown is None:
        return problems
    limits = manifest.unknown.functions if manifest.calibration else {}
    return problems + [
        f"{path}: unknown: must hold a limit of {one.name}, and calibration its distances"
        for one in manifest.functions
        if one.name not in limits
    ]


def read_files(bundle: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the bytes of every listed file, each checked against its hash.

    What is checked is what is returned: a file that changes afterwards changes nothing.

    Raises:
        InputError: every file that is missing or has other bytes.
    """
    contents, problems = {}, []
    for name, expected in manifest.files.items():
        path = bundle / name
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            problems.append(f"{path}: can't be read ({error.strerror})")
            continue
        found = file_digest(contents[name])
        if found != expected:
            problems.append(
                f"{path}: changed since the bundle was made: must have the SHA-256 "
                f"{expected[:12]}…, got {found[:12]}…"
            )
    if problems:
        raise InputError(problems)
    return contents
