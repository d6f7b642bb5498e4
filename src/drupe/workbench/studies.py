"""A study from Python: run it, read its verdict, write its report, take its model to the line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from drupe.configuration import merge, parse_overrides
from drupe.files import check_replaceable, write_text
from drupe.reporting.report import Source, build_report, render
from drupe.reporting.verdict import criterion_rows, verdict_markdown
from drupe.study.definition.loading import load_study
from drupe.study.definition.plan import study_folder
from drupe.study.delivery import Delivery
from drupe.study.delivery import deliver as deliver_study
from drupe.study.execution.local import LocalExecutor
from drupe.study.run import current_verdict, run_study
from drupe.study.verdict.document import StudyVerdict
from drupe.workbench.html import html_table
from drupe.workbench.runs import STORE, Drawing, Run, drawn


class OpenStudy:
    """A study file with its data, as :mod:`drupe` offers it under the name ``Study``.

    Parameters
    ----------
    path
        A study file, or a folder with ``study.yaml``.
    data
        The labelled crops; None: where the study says.
    changes
        Keys on top, as on the command line: ``["seeds=[1,2]", "training.epochs=3"]``.
    store
        Where packed images and runs are kept.

    Raises
    ------
    InputError
        With everything wrong with the study.
    """

    def __init__(
        self,
        path: str | Path,
        data: str | Path | None = None,
        *,
        changes: Sequence[str] = (),
        store: str | Path = STORE,
    ) -> None:
        self.path, self.changes, self.store = Path(path), tuple(changes), Path(store)
        self.data = None if data is None else Path(data)
        given = {"root": str(data)} if data is not None else {}
        self.loaded = load_study(self.path, merge(parse_overrides(list(changes)), {"data": given}))

    @property
    def folder(self) -> Path:
        """Where its runs lie: ``STORE/runs/STUDY``."""
        return study_folder(self.loaded, self.store)

    def run(self, *, parallel: int = 1, progress: Drawing = True) -> StudyVerdict:
        """Run what isn't done yet and return the verdict; stopped, the same call goes on.

        Raises:
            InputError: what every run would fail of, before the first one starts.
        """
        executor = LocalExecutor(parallel)
        found = run_study(self.loaded, self.store, executor, progress=drawn(progress))
        write_text(found.file(".md"), verdict_markdown(found.verdict))
        return found.verdict

    @property
    def verdict(self) -> StudyVerdict:
        """The verdict on what is finished by now; nothing is run."""
        return current_verdict(self.loaded, self.store)

    def runs(self) -> tuple[Run, ...]:
        """Return the finished runs that the verdict is about."""
        return tuple(
            Run((self.folder / key).resolve())
            for item in self.verdict.experiments
            for key in item.runs
        )

    def report(self, out: str | Path | None = None, *, explain: bool = False) -> Path:
        """Write the report as one HTML file, ``STORE/runs/STUDY/report.html``; return its path.

        ``explain``: with heatmaps of a few crops that the recommended run decides wrongly.
        """
        page = Path(out) if out else self.folder / "report.html"
        check_replaceable(page)
        source = Source(str(self.path), self.changes, self.data, self.store, explain)
        write_text(page, render(build_report(self.folder, source)))
        return page

    def deliver(self, bundle: str | Path | None = None, *, progress: Drawing = True) -> Delivery:
        """Export the recommended model for the promise that it was chosen by.

        Raises:
            LookupError: no model is recommended; the message says what would change that.
            GateError: a function turned a decision; nothing is written.
        """
        verdict = self.verdict
        found = deliver_study(
            self.loaded,
            verdict,
            self.store,
            None if bundle is None else Path(bundle),
            data=self.data,
            progress=drawn(progress),
        )
        if found is None:
            advice = verdict.recommendation
            raise LookupError(f"{advice.text} What would change it: {advice.changes_with}.")
        return found

    def _repr_html_(self) -> str:
        spec = self.loaded.spec
        title = f"<p><b>{escape(spec.study)}</b>: {escape(spec.question)}</p>"
        if not (self.folder / "protocol.lock.json").exists():
            return title + "<p>not run yet</p>"
        verdict = self.verdict
        rows = [
            (one.experiment, f"{one.criterion} {one.required}", one.verdict, one.found)
            for one in criterion_rows(verdict)
        ]
        columns = ("experiment", "criterion", "verdict", "found")
        advice = escape(verdict.recommendation.text)
        return f"{title}{html_table(columns, rows)}<p>{advice}</p>"


Study = OpenStudy
"""The name in the public surface; inside, a study is :class:`drupe.study.definition.loading.Study`.
"""
