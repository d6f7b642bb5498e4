"""A study, typed: every key of a study file exists here, its default beside it.

``drupe.study.definition.loading`` reads files into these models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from drupe.configuration import IDENTIFIER
from drupe.training.config import Seed
from drupe.training.input_config import Section
from drupe.training.tracking.settings import Tracking

IMPORTED = "BASELINE"
"""The folder of a baseline that was trained elsewhere."""

Rate = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Criteria(Section):
    """Requirements of a model, judged by one-sided bounds; null: not asked for."""

    accuracy: Rate | None = Field(
        None,
        description="share of right decisions at 0.5 on the test split; paired with the baseline "
        "where that has predictions, else against this number",
    )
    recall: Rate | None = Field(
        0.99, description="share of defects caught at the certified threshold"
    )
    latency_ms: Positive | None = Field(
        None, description="milliseconds: p95 of one crop on the CPU, decoding excluded"
    )
    size_mb: Positive | None = Field(
        None, description="megabytes (10⁶ bytes) of the exported graph"
    )


class Checkpoint(Section):
    """A model trained elsewhere, as ``drupe import`` reads it."""

    file: Path = Field(description="the .pt file")
    architecture: str = Field(description="a curated name or any timm name")
    trained_on: str = Field("unknown", description="a file that lists its training images")
    picked_on_test: bool = Field(
        False, description="whether its epoch was chosen on the test split"
    )
    classes: tuple[str, str] | None = Field(
        None, description="the class of each output; null: in sorted order"
    )
    key: str | None = Field(None, description="which state dict, where the file holds several")
    input: dict[str, Any] = Field(
        {}, description="keys of input that differ from those of the experiment that it replaces"
    )


class Baseline(Section):
    """The model that the experiments have to beat."""

    name: str = Field("", description="how the verdict calls it, beside the experiment's id")
    experiment: str | None = Field(None, description="an experiment of this study")
    checkpoint: Checkpoint | None = Field(
        None, description="a model from elsewhere, which then takes the experiment's place"
    )
    accuracy: Rate | None = Field(None, description="its historic accuracy, as description")

    @property
    def id(self) -> str | None:
        """The id of the baseline's runs: ``BASELINE`` for a checkpoint, None without any."""
        return IMPORTED if self.checkpoint else self.experiment

    @property
    def label(self) -> str:
        """Its name in the verdict; empty where there is nothing to keep."""
        return ", ".join(part for part in (self.id, self.name) if part)

    def resolve(self, pair: PlannedComparison) -> PlannedComparison:
        """Return ``pair`` with the checkpoint in the place of the experiment that it replaces."""
        a, b = (self.id if name == self.experiment else name for name in (pair.a, pair.b))
        return pair.model_copy(update={"a": a, "b": b})


class Condition(Section):
    """Run an experiment only if none of those listed meets a criterion as a point figure."""

    none_of: tuple[str, ...] = Field(min_length=1, description="training experiments by id")
    meet: Literal["accuracy"] = Field(description="the criterion")


class PlannedComparison(Section):
    """A difference planned in advance: ``a`` minus ``b``, experiments by id."""

    a: str
    b: str
    question: str = ""


class Experiment(Section):
    """One hypothesis."""

    id: str = Field(pattern=IDENTIFIER, description="also the folder of its runs")
    title: str = Field("", description="a few words for tables")
    hypothesis: str = Field("", description="what the experiment is to find out")
    kind: Literal["training", "ensemble", "threshold", "comparison"] = Field(
        "training",
        description="ensemble: finished runs as one model; threshold: certify the run of another "
        "experiment; comparison: of runs",
    )
    lane: Literal["cpu", "gpu"] | None = Field(
        None, description="where it runs; null: gpu for training if there is one, cpu otherwise"
    )
    when: Condition | None = Field(None, description="null: always")
    of: str | tuple[str, ...] | None = Field(
        None,
        description="threshold: the experiment whose run is certified; ensemble: the experiments "
        "whose first seeds it averages, or one, of which it averages all seeds",
    )
    comparisons: tuple[PlannedComparison, ...] = Field((), description="comparison: which")
    criteria: dict[str, Any] = Field({}, description="what differs from the study's criteria")
    config: dict[str, Any] = Field({}, description="what differs from the study's defaults")

    @model_validator(mode="after")
    def _keys_suit_the_kind(self) -> Self:
        wanted = {"training": None, "comparison": "comparisons"}.get(self.kind, "of")
        problems = []
        if wanted and not getattr(self, wanted):
            problems.append(f"{self.id}: {self._article} {self.kind} needs {wanted}")
        foreign = {"of", "comparisons"} - {wanted}
        foreign |= set() if self.kind == "training" else {"config"}
        foreign |= set() if self.is_model else {"criteria", "when"}
        given = sorted(key for key in foreign if getattr(self, key))
        if given:
            problems.append(f"{self.id}: {self._article} {self.kind} takes no {', '.join(given)}")
        if self.kind == "threshold" and isinstance(self.of, tuple):
            problems.append(f"{self.id}.of: a threshold certifies one experiment, got a list")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def _article(self) -> str:
        return "an" if self.kind == "ensemble" else "a"

    @property
    def is_model(self) -> bool:
        """Whether it brings forth a model: it has runs, criteria, and may be recommended."""
        return self.kind in ("training", "ensemble")

    @property
    def subjects(self) -> tuple[str, ...]:
        """The experiments that it is ``of``."""
        return (self.of,) if isinstance(self.of, str) else self.of or ()


class StudySpec(Section):
    """A study file, or a folder of them."""

    study: str = Field(pattern=IDENTIFIER, description="name; also the folder of its runs")
    question: str = Field("", description="what is to be decided")
    seeds: tuple[Seed, ...] = Field((42, 123, 456), min_length=1, description="the first deploys")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of every interval")
    margin: float = Field(
        0.02, ge=0, lt=1, description="clean yield that speed may cost in the recommendation"
    )
    retries: int = Field(1, ge=0, le=10, description="further tries of a run that was killed")
    criteria: Criteria = Criteria()
    baseline: Baseline = Baseline()
    tracking: Tracking = Tracking()
    defaults: dict[str, Any] = Field({}, description="experiment keys that all experiments share")
    experiments: tuple[Experiment, ...]
    comparisons: tuple[PlannedComparison, ...] = Field((), description="planned in advance")

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def training(self) -> tuple[Experiment, ...]:
        """The experiments that train."""
        return tuple(item for item in self.experiments if item.kind == "training")

    @property
    def models(self) -> tuple[Experiment, ...]:
        """The experiments that train, and the ensembles: from these one model is chosen."""
        return tuple(item for item in self.experiments if item.is_model)

    @property
    def ensembles(self) -> tuple[Experiment, ...]:
        """The experiments that average runs of others."""
        return tuple(item for item in self.experiments if item.kind == "ensemble")

    def members(self, item: Experiment) -> tuple[tuple[str, int], ...]:
        """Return (experiment, seed) of each run that an ensemble averages."""
        if len(item.subjects) == 1:
            return tuple((item.subjects[0], seed) for seed in self.seeds)
        return tuple((name, self.seeds[0]) for name in item.subjects)

    @property
    def planned(self) -> tuple[PlannedComparison, ...]:
        """Every planned comparison, those of comparison experiments last: one Holm family."""
        own = (pair for item in self.experiments for pair in self.compared_by(item))
        return (*map(self.baseline.resolve, self.comparisons), *own)

    def compared_by(self, item: Experiment) -> tuple[PlannedComparison, ...]:
        """Return the comparisons of a comparison experiment."""
        return tuple(map(self.baseline.resolve, item.comparisons))

    def experiment(self, name: str) -> Experiment:
        """Return the experiment ``name``; an unknown one is a ``KeyError``."""
        return {item.id: item for item in self.experiments}[name]


def _problems(spec: StudySpec) -> Iterator[str]:
    """Yield messages: names repeated, unknown or of the wrong kind, conditions never decided."""
    if not spec.experiments:  # a shortest length would also complain of what isn't valid
        yield "experiments: must hold at least one"
    identifiers = [item.id for item in spec.experiments]
    repeated = {name for name in identifiers if identifiers.count(name) > 1}
    if repeated:
        yield f"experiments: ids must be unique, got {', '.join(sorted(repeated))}"
    if spec.baseline.checkpoint is not None and IMPORTED in identifiers:
        yield f"experiments: {IMPORTED} is the imported checkpoint, an experiment needs another id"
    if len(set(spec.seeds)) < len(spec.seeds):
        yield f"seeds: must differ, got {', '.join(map(str, spec.seeds))}"
    trained = [item.id for item in spec.training]
    yield from _unknown("baseline.experiment", [spec.baseline.experiment], trained)
    models = [item.id for item in spec.models]
    for item in spec.experiments:
        known = models if item.kind == "threshold" else trained
        yield from _unknown(f"{item.id}.of", item.subjects, known)
        if item.kind == "ensemble":
            yield from _too_few(spec, item)
        if item.when:
            yield from _unknown(f"{item.id}.when.none_of", item.when.none_of, trained)
            if spec.criteria.accuracy is None:
                yield f"{item.id}.when: can never be decided: criteria.accuracy is not set"
    yield from _circles(spec)
    seen = set()
    imported = [IMPORTED] if spec.baseline.checkpoint else []
    for pair in spec.planned:
        yield from _unknown("comparisons", [pair.a, pair.b], [*models, *imported])
        if pair.a == pair.b:
            stands_for = f" (it replaces {spec.baseline.experiment})" if pair.a in imported else ""
            yield f"comparisons: a and b must differ, got {pair.a} twice{stands_for}"
        if (pair.a, pair.b) in seen:
            yield f"comparisons: {pair.a} - {pair.b} must be planned once, got it twice"
        seen.add((pair.a, pair.b))


def _too_few(spec: StudySpec, item: Experiment) -> Iterator[str]:
    """Say where an ensemble would average one run, or one twice."""
    members = spec.members(item)
    if len(members) == 1:
        yield (
            f"{item.id}.of: an ensemble of one experiment averages its seeds, of which the study "
            f"must have at least two, got {spec.seeds[0]}"
        )
    twice = dict.fromkeys(name for name, _ in members if item.subjects.count(name) > 1)
    if twice:
        yield f"{item.id}.of: must name each experiment once, got {', '.join(twice)} again"


def _unknown(where: str, names: Any, known: list[str]) -> Iterator[str]:
    unknown = [name for name in names if name is not None and name not in known]
    if unknown:
        yield f"{where}: must name experiments that train ({', '.join(known)}), got " + ", ".join(
            unknown
        )


def _circles(spec: StudySpec) -> Iterator[str]:
    """Say where a condition waits for itself."""
    waits = {item.id: item.when.none_of if item.when else () for item in spec.experiments}
    reported: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            circle = path[path.index(name) :]
            if not reported & set(circle):
                yield f"when: must not wait for itself, got {' -> '.join((*circle, name))}"
            reported.update(circle)
            return
        for other in waits.get(name, ()):
            yield from walk(other, (*path, name))

    for name in waits:
        yield from walk(name, ())
