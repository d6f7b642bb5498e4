"""The report of a study or of runs: one HTML file that needs neither a network nor a server.

Data first (:func:`build_report`), template second (:func:`render`). Scripts are named by their hash
in the page's content security policy, so nothing that a path or a class name smuggles in can run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.data.fixes import outside
from drupe.data.joined import description_files
from drupe.data.listing import list_dataset
from drupe.data.table import is_table
from drupe.deployment.manifest import Manifest
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
from drupe.reporting.heatmaps import Explainer, Heatmaps, explain_holders, find_heatmaps
from drupe.reporting.history import training_charts
from drupe.reporting.labels_section import LabelsSection, labels_section
from drupe.reporting.page_parts import page_parts
from drupe.reporting.pictures import Pictures
from drupe.reporting.provenance import Provenance, provenance, report_commands, study_commands
from drupe.reporting.run_section import (
    BeforeAfter,
    RunAnswer,
    before_after,
    bundle_certificate,
    run_answer,
)
from drupe.reporting.slices_section import SlicesSection, slices_section
from drupe.reporting.study_files import StudyFiles, read_single_runs, read_study_files
from drupe.reporting.verdict import evidence_text
from drupe.study.verdict.document import StudyVerdict
from drupe.templates import template_environment

SCRIPTS = (
    "evidence.js",
    "charts.js",
    "fixes.js",
    "explorer.js",
    "gallery.js",
    "picture.js",
    "page.js",
    "start_report.js",
)
CRITERIA = ("accuracy", "recall", "latency", "size")


@dataclass(frozen=True)
class Source:
    """The request that a study's report answers: shown as the command that makes it again.

    ``data`` and ``store`` are folders; ``data`` None: no dataset was named and none can be reached.
    ``explain``: with heatmaps of the recommended run, or else of the first.
    """

    study_argument: str
    overrides: tuple[str, ...]
    data: Path | None
    store: Path
    explain: bool = False


@dataclass(frozen=True)
class Report:
    """Everything that the page shows, in the order in which it does.

    ``answers`` are those of runs that are reported by themselves, in the place of a verdict;
    ``change`` is what differs between two of them.
    """

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
    answers: tuple[RunAnswer, ...] = ()
    change: BeforeAfter | None = None
    slices: SlicesSection | None = None
    heatmaps: Heatmaps | None = None
    labels: LabelsSection | None = None

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

    @property
    def _heats(self) -> dict[str, str]:
        """Return path → where the decision on a crop comes from."""
        held = {one.path: one.heat for answer in self.answers for one in answer.holders if one.heat}
        return held | {one.path: one.heat for one in (self.heatmaps.shown if self.heatmaps else ())}

    def page_data(self) -> dict[str, Any]:
        """Return what the page's scripts read."""
        return {
            "study": self.name,
            "runs": [run.to_json() for run in self.explorer],
            "lowerBounds": lower_bound_tables(self.explorer),
            "scored": list(self.gallery.run_names),
            "heats": self._heats,
            "charts": [chart.to_json() for chart in self.charts if not chart.missing],
            "mistakes": [
                {
                    "path": item.path,
                    "sha256": item.sha256,
                    "kind": item.kind,
                    "other": item.other,
                    "reason": item.reason,
                    "suspected": item.suspected,
                    "scores": [float(f"{score:.9g}") for score in item.scores],
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
    study, store = read_study_files(folder), str(source.store)
    data = _named(study, source.data)
    commands = study_commands(source.study_argument, source.overrides, data, store)
    report = _report(study, _folders(study, folder), source.data, source.store, commands)
    return _explained(report, study, folder, source.data) if source.explain else report


def build_stored_report(
    folder: Path, data: Path | None, store: Path, explain: bool = False
) -> Report:
    """Collect the report of the study in ``folder``, wherever its file lies."""
    study = read_study_files(folder)
    commands = report_commands([str(folder)], _named(study, data), str(store))
    report = _report(study, _folders(study, folder), data, store, commands)
    return _explained(report, study, folder, data) if explain else report


def build_run_report(
    runs: Sequence[Path],
    data: Path | None,
    store: Path,
    bundle: Manifest | None = None,
    explain: Path | None = None,
) -> Report:
    """Collect the report of one run, or of two to compare.

    ``data``: the folder of the crops, None where the runs say. ``bundle``: what was made from the
    run, if the report is about that. ``explain``: the bundle, or the last of the runs, of which
    the report is to have heatmaps.

    Raises:
        InputError: no finished run, damaged files, or no common test items.
    """
    study, common = read_single_runs(runs)
    if bundle is not None:
        (run,) = study.runs
        study = replace(study, runs=(replace(run, certificate=bundle_certificate(bundle)),))
    commands = report_commands([str(run) for run in runs], _named(study, data), str(store))
    report = _report(study, list(reversed(runs)), data, store, commands)
    pictures = _pictures(_reachable(study, data))
    answers = tuple(
        run_answer(run, folder, bundle, pictures)
        for run, folder in zip(study.runs, runs, strict=True)
    )
    change = before_after(study, common, pictures) if len(runs) > 1 else None
    heatmaps = None
    if explain:
        last, explainer = len(runs) - 1, Explainer.of(explain)
        held = explain_holders(answers[last].holders, explainer, pictures)
        answers = (*answers[:last], replace(answers[last], holders=held))
        heatmaps = find_heatmaps(study.runs[last], last, explainer, report.gallery, pictures)
    return replace(report, answers=answers, change=change, heatmaps=heatmaps)


def _explained(report: Report, study: StudyFiles, folder: Path, data: Path | None) -> Report:
    """Return the report of the study in ``folder`` with heatmaps of the run explored first."""
    key = report.explorer[0].key
    place = [run.key for run in study.runs].index(key)
    pictures = _pictures(_reachable(study, data))
    explainer = Explainer.of(folder / key)
    found = find_heatmaps(study.runs[place], place, explainer, report.gallery, pictures)
    return replace(report, heatmaps=found)


def _folders(study: StudyFiles, folder: Path) -> list[Path]:
    """Return the folders of the runs of the study in ``folder``."""
    return [folder / run.key for run in study.runs]


def _report(
    study: StudyFiles,
    folders: Sequence[Path],
    data: Path | None,
    store: Path,
    commands: Sequence[Sequence[str]],
) -> Report:
    """Collect the report; the first of ``folders`` whose labels were ranked says which to doubt."""
    root = _reachable(study, data)
    pictures = _pictures(root)
    items = study.runs[0].test.distinct
    return Report(
        name=study.name,
        classes=study.classes,
        images=len(items),
        defects=int(items.is_defect.sum()),
        verdict=study.verdict,
        explorer=explorer_runs(study),
        gallery=find_mistakes(study, pictures),
        comparison=tuple(_comparison(study)),
        training=training_charts(study),
        data=data_section(study, root, store, _pictures(root)),
        provenance=provenance(study, commands),
        slices=slices_section(study),
        labels=labels_section(folders, _pictures(root)),
    )


def _named(study: StudyFiles, data: Path | None) -> str:
    """Return the crops' folder as a command names it."""
    return str(data or study.runs[0].config.data.root or "DIR")


def _reachable(study: StudyFiles, data: Path | None) -> Path | None:
    """Return the dataset if it is there: the one named, else the one of the runs."""
    named = data or study.runs[0].config.data.root
    root = Path(named) if named else None
    return root if root and (root.is_dir() or (is_table(root) and root.is_file())) else None


def _pictures(root: Path | None) -> Pictures:
    """Return what makes pictures of the dataset ``root``, also of files that a table names."""
    if root is None or not description_files(root):
        return Pictures(root)
    listing = list_dataset(root, either_defect=True)
    return Pictures(listing.root, elsewhere=outside(listing.paths))


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
