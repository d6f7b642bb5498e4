"""A monitor's counters for Prometheus, by its own client library (``drupe[line]``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drupe.errors import MissingExtraError
from drupe.line.watch.monitor import LATENCIES_MS, LineMonitor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

ALARMS = ("drift", "recall", "monitor")


def prometheus_registry(
    monitors: LineMonitor | Callable[[], Mapping[str, LineMonitor]],
) -> CollectorRegistry:
    """Return a registry of one monitor: for ``generate_latest``, or for ``start_http_server``.

    Or of several, as they are when it is asked, by a name that becomes the label ``model``.

    Raises:
        MissingExtraError: without ``drupe[line]``.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ModuleNotFoundError as error:
        raise MissingExtraError("Prometheus", "line", "prometheus-client") from error
    registry = CollectorRegistry()
    if isinstance(monitors, LineMonitor):
        alone = {"": monitors}
        registry.register(_Collector(lambda: alone, []))
    else:
        registry.register(_Collector(monitors, ["model"]))
    return registry


class _Collector:
    def __init__(self, monitors: Callable[[], Mapping[str, LineMonitor]], labels: list[str]):
        self._monitors, self._labels = monitors, labels

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        families = _families(self._labels)
        for name, monitor in self._monitors().items():
            _fill(families, monitor, [name] if self._labels else [])
        yield from (family for family in families.values() if family.samples)


def _families(labels: list[str]) -> dict[str, Any]:
    """Return the metrics, still empty, by the name that this module calls them by."""
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    def labelled(*more: str) -> list[str]:
        return [*labels, *more]

    evidence = "Evidence for drift: 1 is an alarm."
    bounds = "Bounds that hold at every look, 95 %."
    return {
        "lanes": CounterMetricFamily("drupe_images", "Images by lane.", labels=labelled("lane")),
        "faults": CounterMetricFamily(
            "drupe_faults", "Images without a score.", labels=labelled("fault")
        ),
        "latency": HistogramMetricFamily(
            "drupe_decision_seconds", "Time of a call.", labels=labelled()
        ),
        "alarms": GaugeMetricFamily(
            "drupe_alarm", "1 while there is one.", labels=labelled("kind")
        ),
        "evidence": GaugeMetricFamily("drupe_drift_evidence", evidence, labels=labelled()),
        "recall": GaugeMetricFamily("drupe_recall", bounds, labels=labelled("bound")),
    }


def _fill(families: dict[str, Any], monitor: LineMonitor, labels: list[str]) -> None:
    """Put a monitor's figures of this moment into the metrics."""
    said = monitor.snapshot()
    for lane, count in said["lanes"].items():
        families["lanes"].add_metric([*labels, lane], count)
    for fault, count in said["faults"].items():
        families["faults"].add_metric([*labels, fault], count)
    ends = [*(f"{ms / 1000:g}" for ms in LATENCIES_MS), "+Inf"]
    total, buckets = 0, []
    for end, count in zip(ends, said["latency_counts"], strict=True):
        total += count
        buckets.append((end, float(total)))
    families["latency"].add_metric(labels, buckets, said["latency_sum_s"])
    for kind in ALARMS:
        families["alarms"].add_metric([*labels, kind], float(kind in said["alarms"]))
    if monitor.drift:
        families["evidence"].add_metric(labels, monitor.drift.evidence)
    if monitor.recall.defects:
        low, high = monitor.recall.bounds
        families["recall"].add_metric([*labels, "low"], low)
        families["recall"].add_metric([*labels, "high"], high)
