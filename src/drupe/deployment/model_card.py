"""The model card of a bundle: what a reader must know before the bundle decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drupe.data.image_contract import ImageContract
from drupe.deployment.card_heatmaps import CardHeatmap
from drupe.deployment.evidence import Evidence
from drupe.deployment.frames import FrameCheck
from drupe.deployment.functions import EvaluatedFunction, FunctionEvaluation
from drupe.deployment.manifest import TypeOutput, UnknownOutput
from drupe.evaluation.certificate import describe_promise
from drupe.evaluation.intervals import Proportion, format_confidence, format_target
from drupe.models.ensemble import AnyNetwork
from drupe.runs.graph_record import GraphRecord
from drupe.runs.record import AncestorRecord, AugmentRecord, RunRecord, TeacherRecord
from drupe.sides import Size, height_and_width
from drupe.templates import template_environment
from drupe.training.saved import Metadata, NetworkMetadata

CARD_FILE = "model_card.md"
TEMPLATE = "model_card.md.j2"


@dataclass(frozen=True)
class FunctionCard:
    """A function, as the card's tables show it; rates are text with their counts."""

    name: str
    graph: str
    megabytes: float
    p50_ms: float | None
    max_difference: float
    mean_difference: float
    flips: int
    images: int
    low: float
    high: float
    accuracy: str
    recall: str
    clean_yield: str
    claim: str

    @classmethod
    def of(cls, evaluated: EvaluatedFunction, size: int) -> FunctionCard:
        """Put one function and its evidence into words."""
        one, test = evaluated.function, evaluated.test
        counts = test.at_thresholds.counts
        return cls(
            name=one.name,
            graph=one.graph,
            megabytes=size / 1e6,
            p50_ms=one.p50_ms,
            max_difference=one.gate.max_score_difference,
            mean_difference=one.gate.mean_score_difference,
            flips=one.gate.flips,
            images=one.gate.images,
            low=one.low,
            high=one.high,
            accuracy=test.argmax.accuracy().with_counts(),
            recall=counts.recall().with_counts(),
            clean_yield=counts.clean_yield().with_counts(),
            claim=_claim(one.certificate, str(evaluated.refusal) if evaluated.refusal else None),
        )


@dataclass(frozen=True)
class TypesCard:
    """The types that are told apart; of each function its name, agreement and what it says right.

    Rates are text with their counts.
    """

    names: tuple[str, ...]
    functions: tuple[tuple[str, str, str, float], ...]


@dataclass(frozen=True)
class UnknownCard:
    """What is unknown; of each function its name, limit, rates at most and counts on test items.

    Rates are text, those of test with their counts.
    """

    rate: str
    lane: str
    fit: int
    clean: int
    defects: int
    functions: tuple[tuple[str, float, str, str, str, str, int], ...]

    @classmethod
    def of(cls, unknown: UnknownOutput) -> UnknownCard:
        """Put the output into words."""
        any_one = next(iter(unknown.functions.values()))
        rows = tuple(
            (
                name,
                one.limit,
                f"{100 * one.clean_rate:.2g} %",
                f"{100 * one.defect_rate:.2g} %",
                Proportion(one.test_clean, one.of_test_clean).with_counts(),
                Proportion(one.test_defects, one.of_test_defects).with_counts(),
                one.turned,
            )
            for name, one in unknown.functions.items()
        )
        rate = f"{100 * unknown.rate:.2g} %"
        return cls(rate, unknown.lane, unknown.fit, any_one.clean, any_one.defects, rows)


@dataclass(frozen=True)
class Decides:
    """What decides in a bundle: ``networks`` together where there are several, or a ``graph``.

    architecture: in words; parameters: numbers that were learnt; temperature: of the score.
    ``graph``: of an ONNX file that was trained elsewhere, how it is run; there are no ``networks``.
    """

    architecture: str
    parameters: int
    networks: tuple[NetworkMetadata, ...] = ()
    temperature: float = 1.0
    graph: GraphRecord | None = None

    @classmethod
    def of(cls, metadata: Metadata, network: AnyNetwork) -> Decides:
        """Describe a network in PyTorch."""
        parameters = sum(weight.numel() for weight in network.parameters())
        return cls(metadata.architecture, parameters, metadata.networks, metadata.temperature)


@dataclass(frozen=True)
class ModelCard:
    """Everything that the card says; :meth:`render` puts it on a page.

    ``members`` are the runs that the networks of ``decides`` come from, by name, where there are
    several. ``caveats``: what a reader must know of figures and certificates. ``frames``: the check
    of what images look like, None where there is none.
    ``compared``: name and images of each split that the gate looked at. ``labels``: the state that
    the labels were in, None where that isn't recorded; ``test_doubt``: why the test figures may be
    too good. ``heatmaps`` lie beside the card. ``unknown``: what it says it doesn't know, None
    where it takes everything for known.
    """

    name: str
    clean: str
    defect: str
    contract: ImageContract
    frames: FrameCheck | None
    decides: Decides
    members: tuple[str, ...]
    caveats: tuple[str, ...]
    data_fingerprint: str
    fit: int
    calibration: int
    test: int
    dropped: int
    is_certified: bool
    alternatives: int
    certified_together: int
    functions: tuple[FunctionCard, ...]
    compared: tuple[tuple[str, int], ...]
    provenance: Mapping[str, Any]
    teacher: TeacherRecord | None
    augment: AugmentRecord | None
    ancestor: AncestorRecord | None
    labels: str | None
    test_doubt: str | None
    types: TypesCard | None
    heatmaps: tuple[CardHeatmap, ...]
    unknown: UnknownCard | None

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        record: RunRecord,
        decides: Decides,
        evaluation: FunctionEvaluation,
        provenance: Mapping[str, Any],
        sizes: Mapping[str, int],
        frames: FrameCheck | None,
        types: TypeOutput | None = None,
        heatmaps: tuple[CardHeatmap, ...] = (),
        unknown: UnknownOutput | None = None,
    ) -> ModelCard:
        """Collect what the card says from the run, its data and its functions."""
        clean, defect = record.data.classes
        functions = evaluation.functions
        return cls(
            name=evidence.model.name,
            clean=clean,
            defect=defect,
            contract=evidence.contract,
            frames=frames,
            members=tuple(member.run for member in record.members),
            caveats=record.imported.seen.caveats if record.imported else (),
            decides=decides,
            data_fingerprint=record.data.fingerprint,
            fit=record.data.fit,
            calibration=record.data.calibration,
            test=record.data.test,
            dropped=record.data.dropped,
            is_certified=any(one.function.is_certified for one in functions),
            alternatives=evaluation.alternatives,
            certified_together=evaluation.certified_together,
            functions=tuple(FunctionCard.of(one, sizes[one.function.graph]) for one in functions),
            compared=tuple((one.name, len(one.images)) for one in evidence.splits),
            provenance=provenance,
            teacher=record.teacher,
            augment=record.augment,
            ancestor=record.ancestor,
            labels=record.data.fixes.revision if record.data.fixes else None,
            test_doubt=evidence.model.test_doubt,
            types=_told_types(types),
            heatmaps=heatmaps,
            unknown=None if unknown is None else UnknownCard.of(unknown),
        )

    def render(self) -> str:
        """Return the card as Markdown."""
        environment = template_environment(
            "drupe.deployment", {"cell": _cell, "side": _side, "sides": _sides}
        )
        return environment.get_template(TEMPLATE).render(card=self)


def _told_types(types: TypeOutput | None) -> TypesCard | None:
    """Put into words how well a bundle tells types; None where it tells none."""
    if types is None:
        return None
    rows = tuple(
        (
            name,
            Proportion(one.same, one.images).with_counts(),
            Proportion(one.right, one.typed).describe() if one.typed else "not known",
            one.max_score_difference,
        )
        for name, one in types.functions.items()
    )
    return TypesCard(types.names, rows)


def _claim(certificate: Mapping[str, Any] | None, refusal: str | None) -> str:
    """Return in a sentence what is proven about a function's threshold."""
    if certificate is None:
        return (
            f"nothing is proven: {refusal}" if refusal else "nothing is proven: a threshold given"
        )
    words = (
        f"with confidence {format_confidence(certificate['confidence'])} at least "
        f"{format_target(certificate['min_recall'])} of the defects to come are not accepted "
        f"({certificate['misses']:,} of {certificate['defects']:,} distinct calibration defects "
        f"were missed; {certificate['misses_allowed']:,} were allowed)"
    )
    together = [
        f"{describe_promise(one['kind'], one['name'], one['min_recall'])} ({one['misses']:,} of "
        f"{one['defects']:,} missed, {one['misses_allowed']:,} allowed)"
        for one in certificate.get("slices", ())
    ]
    if together:
        words += f"; together with that, {', '.join(together)}"
    if certificate["approximate"] is not None:
        return f"approximately, which is no guarantee ({certificate['approximate']}): {words}"
    return words


def _side(size: Size) -> str:
    return str(size) if isinstance(size, int) else _sides(size)


def _sides(size: Size) -> str:
    height, width = height_and_width(size)
    return f"{width} × {height}"


def _cell(text: object) -> str:
    """Keep a name from ending a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")
