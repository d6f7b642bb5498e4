"""The documents of ``drupe export --json`` and ``drupe bench --json``, written and read.

Optional keys are missing in what earlier versions wrote; further ones are kept as they are.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Interval = tuple[float | None, float | None]
"""Milliseconds; an end is None where the samples are too few."""


class Answer(BaseModel):
    """A frozen group of keys of a command's answer."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ExportedFunction(Answer):
    """One graph on one backend: its gate, its speed, its thresholds and what they rest on.

    ``p50_ms`` is the median of one image on the exporting machine; ``test`` what the thresholds do
    on the distinct test items; ``certificate`` as in ``bundle.json``, or None with a ``refusal``.
    """

    graph: str
    backend: str
    precision: str
    images: int | None = None
    max_score_difference: float | None = None
    mean_score_difference: float | None = None
    flips: int | None = None
    size_bytes: int
    p50_ms: float | None = None
    low: float | None = None
    high: float | None = None
    test: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    refusal: str | None = None


class ExportAnswer(Answer):
    """The bundle that was written; of its ``functions`` the one to prefer stands first.

    ``types`` and ``unknown``: as in ``bundle.json``; None where none are told. ``all_known``: why
    it doesn't tell what is unknown.
    """

    bundle: str
    flushed_weights: int | None = None
    calibration: dict[str, Any] | None = None
    tested_network: dict[str, Any] | None = None
    alternatives: int | None = None
    certified_together: int | None = None
    int8: dict[str, Any] | None = None
    functions: tuple[ExportedFunction, ...]
    state_dict: dict[str, Any] | None = None
    types: dict[str, Any] | None = None
    unknown: dict[str, Any] | None = None
    all_known: str | None = None


class BenchedFunction(Answer):
    """The milliseconds of ``samples`` calls: quantiles with intervals, and each call's own."""

    name: str
    backend: str
    precision: str
    threads: int | None
    batch: int
    p50_ms: float
    p90_ms: float | None = None
    p95_ms: float
    p99_ms: float | None = None
    p50_interval_ms: Interval | None = None
    p90_interval_ms: Interval | None = None
    p95_interval_ms: Interval | None = None
    p99_interval_ms: Interval | None = None
    confidence: float | None = None
    samples: int
    samples_ms: tuple[float, ...] = ()


class BenchAnswer(Answer):
    """All timings, decoding apart, and the circumstances that they depend on."""

    results: tuple[BenchedFunction, ...]
    decode: tuple[BenchedFunction, ...] = ()
    circumstances: dict[str, Any] = {}

    @property
    def first(self) -> BenchedFunction | None:
        """Return the timing of the first path's function, the one that would run."""
        return next(iter(self.results), None)
