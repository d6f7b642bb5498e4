"""What the service counts for Prometheus, beside what its monitors count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from drupe.line.service.desk import Desk
from drupe.line.watch.prometheus import prometheus_registry

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ANSWER_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper ends of the counts of how long an answer takes, from a request's first byte."""


class Metrics:
    """Counts answers; the rest is looked up in ``desks`` when it is asked for."""

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        self._registry: CollectorRegistry = prometheus_registry(
            lambda: {name: desk.monitor for name, desk in desks.items()}
        )
        self._registry.register(_Desks(desks))
        self._answers = Counter(
            "drupe_serve_answers",
            "Answers by HTTP code and lane.",
            ["model", "code", "lane"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "drupe_serve_answer_seconds",
            "Time from a request's first byte to its answer.",
            ["model"],
            buckets=ANSWER_SECONDS,
            registry=self._registry,
        )

    def count(self, model: str, code: int, lane: str, seconds: float) -> None:
        """Count an answer."""
        self._answers.labels(model, str(code), lane).inc()
        self._seconds.labels(model).observe(seconds)

    def page(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _Desks:
    """Looks at the desks when it is asked."""

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        self._desks = desks

    def collect(self) -> Iterator[Metric]:
        """Yield what holds now."""
        taken = GaugeMetricFamily(
            "drupe_serve_requests", "Requests that are here now.", labels=["model"]
        )
        ready = GaugeMetricFamily("drupe_serve_ready", "1 where it decides.", labels=["model"])
        bundle = GaugeMetricFamily(
            "drupe_serve_bundle", "1 for the bundle in force.", labels=["model", "bundle"]
        )
        shadow = GaugeMetricFamily(
            "drupe_serve_candidate_images",
            "Images that the candidate was compared on, by what came of it.",
            labels=["model", "kind"],
        )
        for name, desk in self._desks.items():
            taken.add_metric([name], desk.taken)
            ready.add_metric([name], float(desk.is_ready))
            bundle.add_metric([name, desk.classifier.digest], 1)
            found = desk.shadow.to_json() if desk.shadow else {}
            for kind in found.keys() & {"compared", "turned", "skipped", "failed"}:
                shadow.add_metric([name, kind], found[kind])
        yield from (taken, ready, bundle, shadow)
