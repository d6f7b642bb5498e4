"""The report of a study: one HTML file that needs nothing else, neither a network nor a server.

Data first (:func:`build_report`), template second (:func:`render`). Scripts are named by their hash
in the page's content security policy, so nothing that a path or a class name smuggles in can run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.evaluation.intervals import (
    format_confidence,
    format_interval,
    format_percent,
    format_target,
)
from drupe.progress import duration
from drupe.reporting.charts import (
    Chart,
    accuracy_forest,
    difference_forest,
    pareto_chart,
    recall_yield_chart,
    reliability_chart,
    roc_chart,
)
from drupe.reporting.data_section import DataSection, data_section
from drupe.reporting.explorer import ExplorerRun, explorer_runs, lower_bound_tables
from drupe.reporting.gallery import Gallery, find_mistakes
from drupe.reporting.history import training_charts
from drupe.reporting.page_parts import page_parts
from drupe.reporting.pictures import Pictures
from drupe.reporting.provenance import Provenance, provenance
from drupe.reporting.study_files import StudyFiles, read_study_files
from drupe.reporting.verdict import evidence_text
from drupe.study.verdict.document import StudyVerdict
from drupe.templates import template_environment

SCRIPTS = ("evidence.js", "charts.js", "explorer.js", "gallery.js", "page.js", "start_report.js")
CRITERIA = ("accuracy", "recall", "latency", "size")


@dataclass(frozen=True)
class Source:
    """The request that the report answers: shown as the command that makes it again.

    ``data`` and ``store`` are folders; ``data`` None: no dataset was named and none can be reached.
    """

    study_argument: str
    overrides: tuple[str, ...]
    data: Path | None
    store: Path


@dataclass(frozen=True)
class Report:
    """Everything that the page shows, in the order in which it does."""

    name: str
    classes: tuple[str, str]
    images: int
    defects: int
    verdict: StudyVerdict | None
    explorer: tuple[ExplorerRun, ...]
    gallery: Gallery
    comparison: tuple[Chart, ...]
    training: tuple[Chart, ...]
    data: DataSection
    provenance: Provenance

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that any experiment is judged by: the usual ones first."""
        experiments = self.verdict.experiments if self.verdict else ()
        judged = {one.criterion for item in experiments for one in item.criteria}
        return (*(name for name in CRITERIA if name in judged), *sorted(judged - {*CRITERIA}))

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart of the page."""
        return (*self.comparison, *self.training)

    def page_data(self) -> dict[str, Any]:
        """Return what the page's scripts read."""
        return {
            "study": self.name,
            "runs": [run.to_json() for run in self.explorer],
            "lowerBounds": lower_bound_tables(self.explorer),
            "charts": [chart.to_json() for chart in self.charts if not chart.missing],
            "mistakes": [
                {
                    "path": item.path,
                    "kind": item.kind,
                    "other": item.other,
                    "reason": item.reason,
                    "suspected": item.suspected,
                    "scores": [float(f"{score:.4g}") for score in item.scores],
                    "median": item.median,
                    "wrong": item.wrong,
                    "missedWhenCertified": item.missed_when_certified,
                }
                for item in self.gallery.mistakes
            ],
        }


def build_report(folder: Path, source: Source) -> Report:
    """Collect the report of the study in ``folder`` (``STORE/runs/STUDY``).

    Raises:
        InputError: no finished run, or damaged files.
    """
    study = read_study_files(folder)
    root = _reachable(study, source.data)
    pictures = Pictures(root)
    items = study.runs[0].test.distinct
    gallery = find_mistakes(study, pictures)
    return Report(
        name=study.name,
        classes=study.classes,
        images=len(items),
        defects=int(items.is_defect.sum()),
        verdict=study.verdict,
        explorer=explorer_runs(study),
        gallery=gallery,
        comparison=tuple(_comparison(study)),
        training=training_charts(study),
        data=data_section(study, root, source.store, Pictures(root)),
        provenance=provenance(
            study,
            source.study_argument,
            source.overrides,
            str(source.data or study.runs[0].config.data.root or "DIR"),
            str(source.store),
        ),
    )


def _reachable(study: StudyFiles, data: Path | None) -> Path | None:
    """Return the dataset's folder if it is there: the one named, else the one of the runs."""
    named = data or study.runs[0].config.data.root
    root = Path(named) if named else None
    return root if root and root.is_dir() else None


def _comparison(study: StudyFiles) -> list[Chart]:
    verdict = study.verdict
    curves = [roc_chart(study), recall_yield_chart(study), reliability_chart(study)]
    if verdict is None:
        return curves
    return [accuracy_forest(verdict), difference_forest(verdict), *curves, pareto_chart(verdict)]


def render(report: Report) -> str:
    """Return the page."""
    filters: dict[str, Callable[..., object]] = {
        "evidence": evidence_text,
        "percent": format_percent,
        "target": format_target,
        "confidence": format_confidence,
        "duration": duration,
    }
    environment = template_environment("drupe.reporting", filters, is_html=True)
    environment.globals["interval"] = format_interval
    template = environment.get_template("report.html.j2")
    return template.render(report=report, **page_parts(SCRIPTS))
