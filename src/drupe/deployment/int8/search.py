"""The search for the layers that bear int8, on crops of ``fit``, never of calibration or test.

Each unit is quantised alone and its error measured; the units that hurt least are then quantised
together, as many as the criterion allows. A graph is measured in every backend that is to run it,
and the worst counts: what one computes well may be far off in another. The number of graphs made
is bounded by the number of units (at most :data:`quantise.MOST_UNITS` and a few), so a search
takes minutes at most.

Letters: n crops of the search; z the logit of a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import Images, open_session
from drupe.deployment.gate import run_all
from drupe.deployment.int8.quantise import QuantisableGraph, Unit
from drupe.deployment.int8.ranges import RANGES
from drupe.progress import Progress, Tracker, silent

RANGE_CROPS, SEARCH_CROPS, PROBE_CROPS = 128, 512, 64
"""Crops for ranges, for the criterion, and for one unit's own error (part of the criterion's)."""

MOST_ERROR = 0.1
"""Root mean square of the logit's error, as a share of the logits' standard deviation."""

MOST_TURNED = 0.01
"""Share of crops decided otherwise than in float: at 0.5, and where defects begin to be missed."""

SATURATION = 1e-5
"""Scores nearer to 0 or 1 are taken as this: float32 resolves no logit beyond."""


@dataclass(frozen=True)
class Closeness:
    """The distance of a quantised graph to the float one, in the backend where it is largest.

    ``error`` is relative (see :data:`MOST_ERROR`); ``turned_argmax`` and ``turned_low`` are the
    crops decided otherwise at 0.5, and at each graph's own threshold that catches the wanted
    share of the search's defects: a stand-in for the certified one, which calibration decides.
    """

    crops: int
    error: float
    turned_argmax: int
    turned_low: int

    @property
    def is_close_enough(self) -> bool:
        """True where this graph may be offered at all."""
        allowed = MOST_TURNED * self.crops
        return self.error <= MOST_ERROR and max(self.turned_argmax, self.turned_low) <= allowed


@dataclass(frozen=True)
class UnitError:
    """The relative logit error of quantising one unit alone, and whether it is in int8 now."""

    name: str
    kind: str
    error: float
    quantised: bool


@dataclass(frozen=True)
class QuantisedGraph:
    """The int8 graph that was found, and the evidence of the search."""

    content: bytes
    ranges: str
    closeness: Closeness
    units: tuple[UnitError, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what was measured on ``fit``, and which units stay in float."""
        return {
            "ranges": self.ranges,
            "fit": asdict(self.closeness),
            "units": len(self.units),
            "quantised": sum(unit.quantised for unit in self.units),
            "kept_in_float": [asdict(unit) for unit in self.units if not unit.quantised],
        }


class LayerSearch:
    """The search for one graph on crops [n, H, W, C] with labels bool [n], all of ``fit``.

    ``backends``: those that the graph is to run in.
    """

    def __init__(
        self,
        graph: bytes,
        images: Images,
        is_defect: NDArray[np.bool_],
        min_recall: float,
        backends: Sequence[str],
        threads: int,
        progress: Progress = silent,
    ) -> None:
        order = np.random.default_rng(0).permutation(len(images))
        count = min(RANGE_CROPS, len(order) // 2)
        ranges, search = order[:count], order[count:][:SEARCH_CROPS]
        self._images, self._is_defect = images[search], is_defect[search]
        self._miss_share, self._backends = 1 - min_recall, backends
        self._threads, self._progress = threads, progress
        self._graph = QuantisableGraph(graph, images[ranges], threads, progress)
        self._expected = self._logits(graph, "onnxruntime", len(search))

    def run(self) -> QuantisedGraph | None:
        """Return the graph with most units in int8 that meets the criterion; None: not even one."""
        units = self._graph.units
        steps = len(units) + len(RANGES) + len(units).bit_length()
        with self._progress("int8 search", steps, "graphs") as tracker:
            first = next(iter(RANGES))
            alone = [self._probe_error([unit], first, tracker) for unit in units]
            ranked = [units[place] for place in np.argsort(alone, kind="stable")]
            half = ranked[: max(1, len(ranked) // 2)]
            ranges = min(RANGES, key=lambda rule: self._probe_error(half, rule, tracker))
            found = self._longest_close_enough(ranked, ranges, tracker)
        if found is None:
            return None
        content, closeness, count = found
        chosen = set(ranked[:count])
        return QuantisedGraph(
            content,
            ranges,
            closeness,
            tuple(
                UnitError(unit.name, unit.kind, error, unit in chosen)
                for unit, error in zip(units, alone, strict=True)
            ),
        )

    def _longest_close_enough(
        self, ranked: Sequence[Unit], ranges: str, tracker: Tracker
    ) -> tuple[bytes, Closeness, int] | None:
        """Return the graph of the longest beginning of ``ranked`` that is close enough."""
        found, low, high = None, 0, len(ranked) + 1
        while high - low > 1:
            middle = (low + high) // 2
            content = self._graph.quantised(ranked[:middle], ranges)
            closeness = self._worst_closeness(content, len(self._images))
            tracker.advance(note=f"{middle} of {len(ranked)}: off by {closeness.error:.3f}")
            if closeness.is_close_enough:
                found, low = (content, closeness, middle), middle
            else:
                high = middle
        return found

    def _probe_error(self, units: Sequence[Unit], ranges: str, tracker: Tracker) -> float:
        """Return the relative error with ``units`` in int8, on a few crops."""
        error = self._worst_closeness(self._graph.quantised(units, ranges), PROBE_CROPS).error
        tracker.advance(note=f"{units[0].kind}: off by {error:.3f}")
        return error

    def _worst_closeness(self, graph: bytes, count: int) -> Closeness:
        """Return the worst of each figure that a backend gives on the first ``count`` crops."""
        found = [self._closeness(self._logits(graph, one, count)) for one in self._backends]
        return Closeness(
            crops=min(one.crops for one in found),
            error=max(one.error for one in found),
            turned_argmax=max(one.turned_argmax for one in found),
            turned_low=max(one.turned_low for one in found),
        )

    def _logits(self, graph: bytes, backend: str, count: int) -> NDArray[np.float64]:
        """Return the logits of the first ``count`` crops, float64 [n]."""
        session = open_session(graph, backend, "int8", self._threads)
        scores = run_all(session, self._images[:count], silent, "")
        clipped = np.clip(scores.astype(np.float64), SATURATION, 1 - SATURATION)
        logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
        return logits

    def _closeness(self, found: NDArray[np.float64]) -> Closeness:
        """Compare a graph's logits, float64 [n], with those of the float graph."""
        count = len(found)
        expected, is_defect = self._expected[:count], self._is_defect[:count]
        spread = float(self._expected.std())
        error = float(np.sqrt(np.mean((found - expected) ** 2)))
        reached = self._reaches_threshold(found, is_defect)
        expected_reached = self._reaches_threshold(expected, is_defect)
        return Closeness(
            crops=count,
            error=error / spread if spread else float(error > 0),
            turned_argmax=int(np.count_nonzero((found >= 0) != (expected >= 0))),
            turned_low=int(np.count_nonzero(reached != expected_reached)),
        )

    def _reaches_threshold(
        self, logits: NDArray[np.float64], is_defect: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return bool [n], True from the threshold on that misses the allowed share of defects."""
        if not is_defect.any():
            return logits >= 0
        low = np.quantile(logits[is_defect], self._miss_share)
        reached: NDArray[np.bool_] = logits >= low
        return reached
