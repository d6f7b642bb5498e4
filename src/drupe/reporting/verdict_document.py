"""``verdict.json`` as the report reads it: the one place that knows the document's keys.

Keys that the report doesn't show are ignored. Rates are in [0, 1], sizes bytes, times milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from drupe.configuration import validate
from drupe.files import read_json
from drupe.reporting.verdict import evidence_text

Outcome = Literal["pass", "fail", "undecided"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Rate(_Part):
    """A proportion: counts, rate and interval."""

    successes: int
    trials: int
    rate: float | None
    low: float
    high: float
    confidence: float
    sides: int


class MeanRate(_Part):
    """A seed-mean rate with its interval over images."""

    mean: float
    low: float
    high: float
    confidence: float
    sides: int


class Spread(_Part):
    """One figure per seed."""

    values: tuple[float, ...]
    mean: float
    deviation: float | None


class CertificateRecord(_Part):
    """A certified threshold with the counts that prove it."""

    threshold: float
    min_recall: float
    confidence: float
    defects: int
    misses_allowed: int
    candidates: int = 1
    approximate: str | None = None


class CertifiedTest(_Part):
    """What the certified threshold does on the test split."""

    recall: Rate
    clean_yield: Rate


class Settlement(_Part):
    """How many more of what would settle a criterion."""

    further: int
    what: str


class Criterion(_Part):
    """One requirement with its verdict; ``evidence`` is the document of ``Judged``."""

    criterion: str
    required: str
    verdict: Outcome
    reason: str
    evidence: dict[str, Any]
    settles_with: Settlement | None = None

    @property
    def found(self) -> str:
        """The figure that the verdict rests on, in a few words."""
        return evidence_text(self.evidence)


class ExportedFunction(_Part):
    """One graph on one backend, as ``drupe export --json`` lists it."""

    graph: str
    backend: str
    precision: str
    size_bytes: int
    p50_ms: float | None = None


class Export(_Part):
    """The bundle of an experiment's deployed run."""

    bundle: str
    functions: tuple[ExportedFunction, ...]


class Timing(_Part):
    """One row of ``drupe bench --json``."""

    name: str
    backend: str
    precision: str
    threads: int | None
    batch: int
    p50_ms: float
    p95_ms: float
    samples: int


class Bench(_Part):
    """Latencies of an experiment's bundle."""

    results: tuple[Timing, ...]


class ExperimentVerdict(_Part):
    """One experiment: what became of its runs, its figures and its criteria.

    ``runs`` are folders relative to the study's, the deployed one first.
    """

    id: str
    title: str = ""
    hypothesis: str = ""
    kind: Literal["training", "threshold", "comparison", "imported"] = "training"
    state: str
    reason: str | None = None
    note: str | None = None
    caveats: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    deployed: str | None = None
    accuracy: MeanRate | None = None
    accuracy_by_seed: Spread | None = None
    recall: MeanRate | None = None
    clean_yield: MeanRate | None = None
    auroc: Spread | None = None
    certificate: CertificateRecord | None = None
    certified_test: CertifiedTest | None = None
    criteria: tuple[Criterion, ...] = ()
    export: Export | None = None
    bench: Bench | None = None


class PairedDifference(_Part):
    """A planned comparison that was made: a minus b."""

    a: str
    b: str
    question: str = ""
    metric: str = "accuracy"
    difference: float
    low: float
    high: float
    confidence: float
    p_value: float
    p_adjusted: float
    detectable: float | None = None


class PlannedPair(_Part):
    """A planned comparison that could not be made."""

    a: str
    b: str
    question: str = ""


class Recommendation(_Part):
    """The study's advice, and what would change it."""

    experiment: str | None = None
    run: str | None = None
    text: str
    changes_with: str = ""


class Deviation(_Part):
    """Something that differed from the protocol, and when it was seen (UTC)."""

    seen: str
    what: str


class FailedRun(_Part):
    """A run without a result."""

    run: str
    reason: str


class TestSize(_Part):
    """How many distinct items the test split has."""

    images: int
    defects: int


class Verdict(_Part):
    """The whole document."""

    study: str
    question: str = ""
    test: TestSize
    calibration: str = ""
    candidates: int = 1
    experiments: tuple[ExperimentVerdict, ...]
    comparisons: tuple[PairedDifference, ...] = ()
    not_compared: tuple[PlannedPair, ...] = ()
    recommendation: Recommendation
    deviations: tuple[Deviation, ...] = ()
    failed: tuple[FailedRun, ...] = ()


def read_verdict(path: Path) -> Verdict:
    """Read a verdict; a missing or damaged one is an :class:`InputError` that names it."""
    return validate(Verdict, read_json(path), str(path))
