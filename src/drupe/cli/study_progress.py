"""A study while it runs: a live table on a terminal, a line per change elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from drupe.cli.console import print_fitting, print_line, print_prose, stderr, stdout, table
from drupe.printable import printable
from drupe.progress import duration
from drupe.workbench.progress_display import per_second

if TYPE_CHECKING:
    from drupe.study.check import Checked
    from drupe.study.execution.journal import Outcome, State
    from drupe.study.execution.scheduler import Watch
    from drupe.study.execution.status import TaskStatus
    from drupe.study.run import OnStart, StudyStart

COLUMNS = ("", "epoch", "loss", "accuracy", "images/s", "left")
"""Of runs at work. ``drupe study status`` shows all runs, and a state behind the name."""
TOLD: tuple[State, ...] = ("failed", "skipped")
ROOMY = 72
"""Columns of a terminal from which on every figure of a run fits beside its name."""
STATE_STYLES = {"failed": "bold red", "skipped": "dim"}


@contextmanager
def study_watch() -> Iterator[OnStart]:
    """Yield what draws a study on stderr from its start on, until the block ends."""
    with ExitStack() as drawings:

        def on_start(start: StudyStart) -> Watch:
            console = stderr()
            for deviation in start.deviations:
                text = Text(
                    printable(f"deviation from the protocol: {deviation.what}"), style="yellow"
                )
                console.print(text, soft_wrap=True)
            if not console.is_terminal or console.is_dumb_terminal:
                return _ChangeLines(console)
            live = Live(console=console, transient=True, auto_refresh=False)
            return _LiveTable(start, drawings.enter_context(live))

        yield on_start


class _ChangeLines:
    """A line for each change of a task's state, for logs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seen: dict[str, Outcome] = {}

    def __call__(self, outcomes: dict[str, Outcome]) -> None:
        """Print what changed since the last call."""
        for name, outcome in outcomes.items():
            shown = outcome.state != "waiting" or outcome.reason  # to be tried again
            if shown and self.seen.get(name) != outcome:
                settled = sum(one.is_settled for one in outcomes.values())
                reason = f": {outcome.reason}" if outcome.reason else ""
                line = f"[{settled} of {len(outcomes)}] {name}: {outcome.state}{reason}"
                self.console.print(Text(printable(line)), soft_wrap=True)
        self.seen = dict(outcomes)


class _LiveTable:
    """A table of the runs at work and what came last, redrawn in place."""

    def __init__(self, start: StudyStart, live: Live) -> None:
        self.start, self.live = start, live
        self.lines = _ChangeLines(live.console)

    def __call__(self, outcomes: dict[str, Outcome]) -> None:
        """Redraw."""
        from drupe.study.execution.status import task_statuses

        self.lines(outcomes)
        rows = task_statuses(self.start.tasks, outcomes)
        states = Counter(row.state for row in rows)
        settled = sum(outcome.is_settled for outcome in outcomes.values())
        head = f"{self.start.work.study.spec.study}: {settled} of {len(rows)} tasks"
        head += "".join(f", {states[name]} {name}" for name in TOLD if states[name])
        running = [_cells(row) for row in rows if row.state == "running"]
        tables = [table(COLUMNS, running)] if running else []
        self.live.update(Group(Text(head), *tables), refresh=True)


def _cells(row: TaskStatus) -> tuple[str, ...]:
    epoch = "" if row.epochs is None else f"{row.epoch or 0}/{row.epochs}"
    return (
        row.task,
        epoch,
        "" if row.loss is None else f"{row.loss:.3f}",
        "" if row.accuracy is None else f"{100 * row.accuracy:.1f} %",
        "" if row.images_per_second is None else per_second(row.images_per_second),
        "" if row.seconds_left is None else duration(row.seconds_left),
    )


def print_status(rows: Sequence[TaskStatus], alive: bool) -> None:
    """Print a row per task, then what failed and why."""
    settled = sum(row.state in ("done", "failed", "skipped") for row in rows)
    print_line(f"{settled} of {len(rows)} tasks, {'running' if alive else 'not running'}")
    print_line("")
    name, *others = COLUMNS
    cells = [(row.task, row.state, *_cells(row)[1:]) for row in rows]
    columns, texts = (name, "state", *others), (0, 1)
    if stdout().width >= ROOMY:
        stdout().print(table(columns, cells, texts))  # long names are folded: a line stays a run
    else:
        print_fitting(columns, cells, texts)
    for row in rows:
        if row.reason and row.state in ("failed", "skipped", "interrupted"):
            print_line(
                f"{row.task}: {row.state}: {row.reason}", style=STATE_STYLES.get(row.state, "")
            )


def print_checked(found: Checked) -> None:
    """Print what each experiment of a study that can run will take, and what it can prove."""
    from drupe.study.verdict.recommendation import names_by_text

    images = ", ".join(f"{count:,} {side}" for side, count in found.images.items())
    print_line(f"{found.study} can run here on {found.device}: {images} images")
    print_line("")
    rows = [
        (
            one.experiment,
            one.architecture,
            f"{one.parameters / 1e6:.1f} M",
            one.weights,
            one.runs,
            duration(one.seconds),
            f"{one.megabytes:.0f} MB",
        )
        for one in found.expectations
    ]
    print_fitting(("", "network", "size", "weights", "runs", "each", "disk"), rows)
    print_line("")
    print_prose(
        f"Training all of it one after another: about {duration(found.seconds)}, in fp32; "
        f"disk {found.megabytes:,.0f} of {found.free_megabytes:,.0f} MB free."
    )
    proofs = ((one.experiment, str(one.provable)) for one in found.expectations if one.provable)
    for said, names in names_by_text(proofs).items():
        print_prose(f"{', '.join(names)}: {said}.")
    shares = ((one.experiment, one.provable.shares) for one in found.expectations if one.provable)
    for said, names in names_by_text(shares).items():
        print_prose(f"{', '.join(names)}: {said}.")
