"""A monitor's counters for Prometheus, by its own client library (``drupe[line]``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drupe.errors import MissingExtraError
from drupe.line.watch.monitor import LATENCIES_MS, LineMonitor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

ALARMS = ("drift", "recall", "monitor")


def prometheus_registry(monitor: LineMonitor) -> CollectorRegistry:
    """Return a registry of ``monitor``: for ``generate_latest``, or for ``start_http_server``.

    Raises:
        MissingExtraError: without ``drupe[line]``.
    """
    try:
        from prometheus_client import CollectorRegistry
    except ModuleNotFoundError as error:
        raise MissingExtraError("Prometheus", "line", "prometheus-client") from error
    registry = CollectorRegistry()
    registry.register(_Collector(monitor))
    return registry


class _Collector:
    def __init__(self, monitor: LineMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        monitor = self._monitor
        said = monitor.snapshot()
        lanes = CounterMetricFamily("drupe_images", "Images by lane.", labels=["lane"])
        for lane, count in said["lanes"].items():
            lanes.add_metric([lane], count)
        yield lanes
        faults = CounterMetricFamily("drupe_faults", "Images without a score.", labels=["fault"])
        for fault, count in said["faults"].items():
            faults.add_metric([fault], count)
        yield faults
        ends = [*(f"{ms / 1000:g}" for ms in LATENCIES_MS), "+Inf"]
        total, buckets = 0, []
        for end, count in zip(ends, said["latency_counts"], strict=True):
            total += count
            buckets.append((end, float(total)))
        latency = HistogramMetricFamily("drupe_decision_seconds", "Time of a call.")
        latency.add_metric([], buckets, said["latency_sum_s"])
        yield latency
        alarms = GaugeMetricFamily("drupe_alarm", "1 while there is one.", labels=["kind"])
        for kind in ALARMS:
            alarms.add_metric([kind], float(kind in said["alarms"]))
        yield alarms
        if monitor.drift:
            about = "Evidence for drift: 1 is an alarm."
            yield GaugeMetricFamily("drupe_drift_evidence", about, monitor.drift.evidence)
        if monitor.recall.defects:
            low, high = monitor.recall.bounds
            recall = GaugeMetricFamily(
                "drupe_recall", "Bounds that hold at every look, 95 %.", labels=["bound"]
            )
            recall.add_metric(["low"], low)
            recall.add_metric(["high"], high)
            yield recall
