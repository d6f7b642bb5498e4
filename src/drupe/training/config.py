"""An experiment, typed: every YAML key exists here (or in a model named here), default beside it.

Units stand in each description. ``resolve`` turns a file and overrides into one frozen object.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from drupe.configuration import Tree, fingerprint, flatten, merge, read_yaml, validate
from drupe.data.image_contract import ImageContract, Sizes
from drupe.data.naming import Naming
from drupe.errors import InputError
from drupe.files import write_text
from drupe.models.zoo import check_input, resolve
from drupe.runs.layout import RunFolder
from drupe.runs.record import TRAINING_VERSION
from drupe.sides import simplest
from drupe.training.augmentation import AugmentationConfig
from drupe.training.input_config import LARGEST_SIDE, SMALLEST_SIDE, InputConfig, Section
from drupe.training.recipes import with_ancestor, with_recipes
from drupe.training.tracking.settings import Tracking

Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class ModelConfig(Section):
    """The network, and the weights that it starts from."""

    architecture: str = Field(description="a curated name or any timm name")
    pretrained: bool = Field(True, description="start from ImageNet weights")
    frozen: bool = Field(False, description="train the classification head only")


class InnerFold(Section):
    """A part of the fit split to be judged on: whatever is tried or compared needs no other."""

    fold: int = Field(ge=0, description="the fold that the run is judged on, from 0")
    folds: int = Field(ge=2, le=20, description="of the fit split; copies stay together")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold must be in [0, {self.folds}), got {self.fold}")
        return self


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value or ()


def _as_names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value or ()


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]


class ClassesConfig(Section):
    """All classes of a dataset whose defects are of several types."""

    good: Names = Field(min_length=1, description="the clean classes")
    defect: Names = Field(min_length=1, description="the others, each a type of defect")


LATER_DATA_KEYS = ("good", "classes", "group", "split_by", "labels")
"""Written where they say something: runs, studies and searches from before there were these keys
are recognised as what they are."""


class DataConfig(Section):
    """The images, and what to do with odd ones."""

    root: Path | None = Field(
        None, description="folder ROOT/{train,val}/CLASS or ROOT/CLASS, or a table"
    )
    defect: str | None = Field(None, description="name of the defect class; null: found by name")
    good: Names = Field(
        (), description="names of the clean classes: every other one is a type of defect"
    )
    classes: ClassesConfig | None = Field(
        None, description="instead of good, the clean classes and the types of defects by name"
    )
    group: str | None = Field(
        None,
        description=r"regular expression that finds in each path the group it comes from, such as "
        r"camera-(\w+)",
    )
    labels: str | None = Field(
        None,
        description="revision of the label fixes, by number or name (drupe labels history); null: "
        "the newest",
    )
    unreadable: Literal["error", "skip"] = Field("error", description="files that don't decode")
    sizes: Sizes = Field(
        "refuse",
        description="images of another size; resize: to input.size, whatever their shape; pad: in "
        "the middle of a black image of that size, shrunk where they are larger",
    )
    test_share: float = Field(
        0.2, gt=0, lt=1, description="share of all items, where the folder has no val/"
    )
    split_by: Literal["item", "group"] = Field(
        "item",
        description="group: all items of a group (of data.group) go to one split, the honest way "
        "where those of a group are alike",
    )
    split_seed: int = Field(0, ge=0, description="of the fit/calibration(/test) split; not --seed")
    inner: Annotated[tuple[InnerFold, ...], BeforeValidator(_as_list)] = Field(
        (),
        description="learn from the other folds of the fit split and be judged on this one; "
        "calibration and test are not read; a list: folds inside folds",
    )
    limit: int | None = Field(
        None, ge=2, description="images per split at most, of both classes alike: for a smoke test"
    )

    @field_validator("root", mode="before")
    @classmethod
    def _one_root(cls, root: Any) -> Any:
        if isinstance(root, list):
            raise ValueError(
                f"must be one folder or table; several are given as --data A --data B, got {root}"
            )
        return root

    @model_validator(mode="after")
    def _names_can_be_meant(self) -> Self:
        try:
            self.naming  # noqa: B018
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from None
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in document.items()
            if key not in LATER_DATA_KEYS or getattr(self, key) != fields[key].default
        }

    @property
    def naming(self) -> Naming:
        """How the names of classes and paths are to be read."""
        if self.classes is None:
            return Naming(self.defect, self.good, group=self.group)
        if self.good:
            raise InputError("good: can't be given beside classes, which names the clean ones too")
        return Naming(self.defect, self.classes.good, self.classes.defect, self.group)


class CalibrationConfig(Section):
    """The items that give the temperature and the certificate."""

    holdout: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25,
        description="share of the training items; auto: between a quarter and a half, so that a "
        "certificate for 99 % can allow three misses",
    )
    crossfit: int | None = Field(
        None,
        ge=2,
        le=20,
        description="folds instead of a share: the run learns from all training items, and further "
        "runs that leave a fold out score it (approximate)",
    )
    fold: int | None = Field(
        None, ge=0, description="this run leaves that fold out; drupe threshold --cross-fit sets it"
    )

    @model_validator(mode="after")
    def _one_of_the_folds(self) -> Self:
        if self.fold is not None and self.crossfit is None:
            raise ValueError("fold needs crossfit: a run leaves one of so many folds out")
        if self.crossfit is not None and self.fold is not None and self.fold >= self.crossfit:
            raise ValueError(f"fold must be in [0, {self.crossfit}), got {self.fold}")
        return self

    @property
    def left_out(self) -> tuple[int, int] | None:
        """(fold, folds) of a cross-fitting run, or None."""
        if self.crossfit is None or self.fold is None:
            return None
        return self.fold, self.crossfit

    @property
    def share(self) -> float | Literal["auto"] | None:
        """The share of the training items held out, or None: the run learns from all of them."""
        return None if self.crossfit is not None and self.fold is None else self.holdout

    @property
    def in_words(self) -> str:
        """What decides how much a certificate is worth: how its items were set aside."""
        if self.crossfit is not None:
            return f"cross-fitted on {self.crossfit} folds (approximate)"
        if self.holdout == "auto":
            return "held-out as many as allow three misses, a quarter to a half"
        return f"held-out {100 * self.holdout:g} %"


class ScheduleConfig(Section):
    """How long, how fast and by which loss a network learns, and on which device."""

    epochs: int = Field(30, ge=1, description="passes over the fit split")
    batch_size: int = Field(32, ge=1, description="images per step, over all processes")
    optimiser: Literal["adam", "adamw", "sgd"] = Field(
        "adamw", description="sgd: Nesterov momentum 0.9"
    )
    learning_rate: float = Field(1e-4, gt=0, lt=10, description="peak, per step")
    weight_decay: float | None = Field(
        None, ge=0, description="null: 0.05 for adamw, 1e-5 otherwise; biases and norms have none"
    )
    schedule: Literal["constant", "cosine"] = Field("cosine", description="cosine ends at zero")
    warmup_epochs: float = Field(1.0, ge=0, description="epochs of linear rise to the peak")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target spread over both classes"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: the loss weighs classes by inverse frequency"
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="per step, with warm-up; 0: no EMA")
    clip_norm: float = Field(1.0, ge=0, description="gradient L2 norm at most; 0: off")
    checkpoint_every: int = Field(5, ge=1, description="epochs")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: measured")
    layout: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="memory order of activations; auto: measured"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if present")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; null: all cores")

    @model_validator(mode="before")
    @classmethod
    def _weight_decay_by_optimiser(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("weight_decay") is None:
            decay = 0.05 if values.get("optimiser", "adamw") == "adamw" else 1e-5
            return {**values, "weight_decay": decay}
        return values


class RecipeConfig(Section):
    """All that an experiment learns by, but for the data."""

    model: ModelConfig
    input: InputConfig = InputConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: ScheduleConfig = ScheduleConfig.model_validate({})


class TeacherConfig(Section):
    """Soft targets for the fit items, from networks that were trained without them."""

    recipes: tuple[RecipeConfig, ...] = Field(
        min_length=1,
        description="self, or a preset, experiment file, run or ensemble whose recipe is trained "
        "anew on folds of fit; several are averaged",
    )
    folds: int = Field(3, ge=2, le=20, description="of the fit split; copies stay together")
    share: float = Field(
        0.5, gt=0, le=1, description="of the target that the teacher gives; the rest is the label"
    )


class AncestorConfig(Section):
    """The run that another one goes on from."""

    run: Path = Field(description="its folder, which says what it has learnt from")
    weights: str = Field(description="SHA-256 (hex) of its weights; left out: as they are now")


class TrainingConfig(ScheduleConfig):
    """The schedule, and what is learnt from besides the labels."""

    teacher: TeacherConfig | None = Field(None, description="distillation; null: labels alone")
    init: AncestorConfig | None = Field(
        None, description="a finished run whose weights are the first ones, instead of ImageNet's"
    )


NOT_IDENTITY = {"precision", "layout", "device", "threads", "checkpoint_every"}
"""Training keys that say how, not what, is computed: measured once and written on record."""


class ExperimentConfig(Section):
    """One experiment with one seed: all that a run needs to know."""

    name: str = Field(
        "experiment",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="of the run's folder; left out: the name of the file",
    )
    hypothesis: str = Field("", description="what the experiment is to find out")
    seed: Seed = Field(42, description="of weights, batches and augmentation")
    model: ModelConfig
    input: InputConfig = InputConfig()
    data: DataConfig = DataConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig.model_validate({})
    tracking: Tracking = Tracking()

    @model_serializer(mode="wrap")
    def _without_trackers(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``tracking`` out where there is none: most runs have none."""
        document: dict[str, Any] = write(self)
        if not self.tracking.is_wanted:
            document.pop("tracking", None)
        return document

    @model_validator(mode="after")
    def _teachers_see_the_same_images(self) -> Self:
        teacher = self.training.teacher
        for number, recipe in enumerate(teacher.recipes if teacher else ()):
            for key in ("size", "channels", "white_level"):
                own, theirs = (getattr(one, key) for one in (self.input, recipe.input))
                if own != theirs:
                    raise ValueError(
                        f"training.teacher.recipes.{number}.input.{key}: must be input.{key} = "
                        f"{own}, got {theirs}"
                    )
        return self

    @property
    def contract(self) -> ImageContract:
        """The path from a file to the pixels that are packed."""
        given = self.input
        return ImageContract(given.size, self.data.sizes, given.channels, given.white_level)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Settings that are probably not meant, though they can be used."""
        turned = self.augmentation
        if self.input.views > 1 and not (turned.flips or turned.rotation >= 90):
            return (
                f"input.views: {self.input.views} shows the network mirrored images, and "
                "augmentation (flips: false) lets it learn from none: have they an up?",
            )
        return ()

    def identity(self, data_fingerprint: str) -> str:
        """SHA-256 (hex) by which finished work is recognised: what is computed, on which data."""
        document = self.model_dump(mode="json")
        del document["name"], document["hypothesis"], document["data"]["root"]
        document.pop("tracking", None)
        document["data"].pop("labels", None)  # what they say is in the data's fingerprint
        teacher, ancestor = document["training"]["teacher"], document["training"]["init"]
        if ancestor:
            del ancestor["run"]
        for part in (document, *(teacher["recipes"] if teacher else ())):
            for key in NOT_IDENTITY:
                del part["training"][key]
        if self.calibration.left_out is None:
            document["calibration"] = {"holdout": self.calibration.share}
        return fingerprint(
            {"config": document, "data": data_fingerprint, "version": TRAINING_VERSION}
        )


STUDY_KEYS = frozenset(
    (
        *("study", "question", "seeds", "confidence", "margin", "retries", "criteria", "baseline"),
        *("defaults", "experiments", "comparisons"),
    )
)
"""Keys of a study's file alone."""


def validate_experiment(document: Tree, source: str) -> ExperimentConfig:
    """Validate a whole experiment, the architecture and its input contract included.

    A relative ``data.root`` becomes absolute: a run is judged again from another folder.

    Raises:
        InputError: every mistake, in one message.
    """
    problems = [
        f"{key}: belongs into a study's file (drupe study run), not into an experiment's ({source})"
        for key in document
        if key in STUDY_KEYS
    ]
    document = {key: value for key, value in document.items() if key not in STUDY_KEYS}
    try:
        document = with_ancestor(with_recipes(document))
        config = validate(ExperimentConfig, document, source)
        document = config.model_dump()
    except InputError as error:
        problems += error.problems
    problems += [f"{problem} ({source})" for problem in _network_problems(document)]
    teacher = _section(_section(document, "training"), "teacher")
    for number, recipe in enumerate(teacher.get("recipes") or ()):
        where = f"training.teacher.recipes.{number}"
        found = _network_problems(recipe) if isinstance(recipe, Mapping) else []
        problems += [f"{where}: {problem} ({source})" for problem in found]
    if problems:
        raise InputError(problems)
    if config.data.root is None:
        return config
    data = config.data.model_copy(update={"root": config.data.root.absolute()})
    return config.model_copy(update={"data": data})


def _network_problems(document: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the network, whatever else may be wrong with the document."""
    architecture = _section(document, "model").get("architecture")
    if not isinstance(architecture, str):
        return []
    images = {**InputConfig().model_dump(), **_section(document, "input")}
    side, key = images["resolution"], "input.resolution"
    if side is None:
        key = "input.size" if images["crop"] in ("none", "auto") else "input.crop"
        side = images[key.removeprefix("input.")]
    elif side == "auto":
        side, key = images["size"], "input.size"
    sides = (side, side) if isinstance(side, int) else side
    try:
        resolve(architecture)
        if _are_sides(sides):
            mono = images.get("channels") == "mono"
            check_input(architecture, simplest(sides), key, channels=1 if mono else 3)
    except InputError as error:
        return list(error.problems)
    return []


def _are_sides(sides: Any) -> bool:
    return (
        isinstance(sides, list | tuple)
        and len(sides) == 2
        and all(type(one) is int and SMALLEST_SIDE <= one <= LARGEST_SIDE for one in sides)
    )


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name)
    return section if isinstance(section, Mapping) else {}


def load_experiment(path: Path, overrides: Tree | None = None) -> ExperimentConfig:
    """Read an experiment YAML, lay ``overrides`` on top and validate the result."""
    return validate_experiment(read_experiment(path, overrides), str(path))


def read_experiment(path: Path, overrides: Tree | None = None) -> Tree:
    """Return an experiment YAML with ``overrides`` on top, as it is written: no defaults.

    A file that gives no ``name`` is named after itself.
    """
    return merge({"name": path.stem}, merge(read_yaml(path), overrides or {}))


def write_config(
    folder: Path, config: ExperimentConfig, leave_out: Mapping[str, Any] | None = None
) -> None:
    """Write ``config.yaml``, defaults spelled out, but for what is to ``leave_out``.

    That is a section by its name (``True``), or the set of a section's keys.
    """
    document = config.model_dump(mode="json", exclude=dict(leave_out or {}))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    write_text(RunFolder(folder).config, text)


def written_settings(folder: Path) -> Tree:
    """Return the settings in ``config.yaml`` by dotted key, as the run in ``folder`` wrote them."""
    return flatten(read_yaml(RunFolder(folder).config))


def read_config(folder: Path) -> ExperimentConfig:
    """Read the resolved configuration of the run in ``folder``."""
    path = RunFolder(folder).config
    return validate(ExperimentConfig, read_yaml(path), str(path))
