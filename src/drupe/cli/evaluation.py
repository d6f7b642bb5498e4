"""The answer of ``train`` and ``evaluate``: an evaluation as JSON or as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drupe.cli.console import print_fitting, print_json, print_line, print_note, print_prose
from drupe.cli.slices import print_confusion, print_slices
from drupe.data.walk import passing_lines
from drupe.errors import shortened
from drupe.evaluation.intervals import Proportion, format_interval
from drupe.evaluation.slices import Slices
from drupe.evaluation.type_confusion import TypeConfusion
from drupe.runs.record import read_record

if TYPE_CHECKING:
    from drupe.runs.evaluation_file import Evaluation, Rate
    from drupe.runs.items import ItemChanges
    from drupe.runs.record import AncestorRecord, FixesRecord, ImportRecord, RunRecord
    from drupe.training.run import RunOutcome

RATES = {
    "accuracy": "decided as labelled",
    "recall": "defects not let through",
    "clean_yield": "clean items accepted",
    "precision": "defects among the rejected",
}

SKIPPED_SHOWN = 20
"""Names of files left out before a message only counts."""


def print_run_json(
    run: Path,
    evaluation: Evaluation,
    skipped: Sequence[tuple[str, str]],
    imported: ImportRecord | None = None,
    ancestor: AncestorRecord | None = None,
) -> None:
    """Print the document of a run: its folder, the files left out or not taken, its evaluation.

    Of an imported network also its record, and what that says about the figures; of one that goes
    on from an ancestor, what that had learnt.
    """
    left_out = [{"path": path, "reason": reason} for path, reason in skipped]
    document: dict[str, Any] = {"run": str(run), "skipped": left_out}
    record = read_record(run)
    document["passed_over"] = record.data.passed_over if record else []
    fixes = record.data.fixes if record else None
    document["fixes"] = fixes.model_dump() if fixes else None
    document["notes"] = record.notes if record else []
    document |= evaluation.to_json()
    if imported:
        document["imported"] = imported.model_dump(mode="json")
        document["caveats"] = list(imported.seen.caveats)
        document["in_sample"] = imported.seen.in_sample
    if ancestor:
        document["ancestor"] = ancestor.model_dump(mode="json")
    changes = record.changes if record else None
    document["changes"] = changes.model_dump(mode="json") if changes else None
    print_json(document)


def print_trained(run: Path, outcome: RunOutcome, as_json: bool) -> None:
    """Print what became of a training: its folder, what it began with, its evaluation."""
    print_skipped(outcome.skipped)
    record = read_record(run)
    ancestor = record.ancestor if record else None
    if record:
        print_data(record)
    if as_json:
        print_run_json(run, outcome.evaluation, outcome.skipped, ancestor=ancestor)
        return
    print_line(f"{'Done before' if outcome.already_done else 'Run'}: {run}")
    if ancestor:
        _print_ancestor(ancestor)
    if record and record.changes:
        _print_changes(record.changes)
    print_evaluation(outcome.evaluation)


def _print_ancestor(ancestor: AncestorRecord) -> None:
    """Say what the ancestor had learnt from, and which items were left out for that."""
    learnt = ancestor.learnt
    print_prose(
        f"Goes on from {ancestor.run}, which had learnt from {learnt.fit:,} of the fit items: "
        f"{ancestor.joined:,} are new, {ancestor.gone:,} of its files are gone. Left out, because "
        f"it had learnt from them: {learnt.calibration:,} calibration items and {learnt.test:,} "
        "test items."
    )


def _print_changes(changes: ItemChanges) -> None:
    """Say what has become of the items of an earlier run, unless its data was the same."""
    if changes.are_news:
        print_prose(
            f"Since {changes.run}: {changes.joined:,} items have joined, {changes.left:,} have "
            f"left, {changes.relabelled:,} are relabelled, {changes.moved:,} are on another side."
        )


def print_data(record: RunRecord) -> None:
    """Say on stderr what isn't as usual about a run's data, and which files were not taken."""
    for note in record.notes:
        print_note(note)
    print_passed(record.data.passed_over)
    print_fixes(record.data.fixes)


def print_passed(passed_over: Sequence[Mapping[str, Any]], dataset: Path | None = None) -> None:
    """Say on stderr which files of the run's data, or of ``dataset``, were not taken, if any."""
    if not passed_over:
        return
    files = sum(one["files"] for one in passed_over)
    what = "1 file was" if files == 1 else f"{files:,} files were"
    lines = [f"{dataset}: " * bool(dataset) + f"{what} not taken:"]
    lines += [f"  {line}" for line in passing_lines(passed_over)]
    for line in lines:
        print_note(line)


def print_fixes(fixes: FixesRecord | None, folder: Path | None = None) -> None:
    """Say on stderr how many fixes of the run's data, or of ``folder``, were honoured, if any."""
    if not fixes or not (fixes.excluded or fixes.relabelled or fixes.unmatched):
        return
    line = f"fixes honoured: {fixes.excluded:,} excluded, {fixes.relabelled:,} relabelled"
    line = f"{folder}: {line}" if folder else line
    if fixes.moved:
        line += f" ({fixes.moved:,} found under another name)"
    if fixes.unmatched:
        line += f"; {len(fixes.unmatched):,} match no picture, see drupe data fixes"
    print_note(line)
    for doubt in (fixes.doubt("calibration"), fixes.doubt("test")):
        if doubt:
            print_note(f"Mind: {doubt}; nothing passes on them.")


def print_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Name the unreadable files that were left out, on stderr."""
    if not skipped:
        return
    lines = [f"{len(skipped):,} unreadable files were left out:"]
    listed = [f"  {path}: {reason}" for path, reason in skipped]
    lines += shortened(listed, SKIPPED_SHOWN, "more, in the run's run.json")
    for line in lines:
        print_note(line)


def print_evaluation(evaluation: Evaluation, imported: ImportRecord | None = None) -> None:
    """Print the test figures at the threshold 0.5 with their exact intervals.

    Where types of defects or groups are known, those of each as well, and which types were said.
    Of an imported network also what makes them optimistic.
    """
    test = evaluation.test
    print_line(f"Test: {test.images:,} images, {test.defects:,} defects, threshold 0.5")
    print_line("")
    rows = []
    for name, meaning in RATES.items():
        counted: Rate = getattr(test.argmax, name)
        rate = Proportion(counted.successes, counted.trials, counted.confidence)
        bounds = format_interval(rate.low, rate.high, dash="-", sign="")
        rows.append((name.replace("_", " "), rate.percent(), bounds, rate.counts, meaning))
    print_fitting(("", "rate", "95 % interval", "counts", "meaning"), rows, texts=(0, 4))
    confusion = test.argmax.confusion
    print_line("")
    print_prose(
        f"misses {confusion.fn}, false rejects {confusion.fp}, "
        f"AUROC {evaluation.auroc:.4f}, ECE {evaluation.ece:.3f}, "
        f"temperature {evaluation.temperature:.2f}"
    )
    if test.distinct.slices:
        at = test.distinct.slices
        print_slices(Slices.of_record(at.argmax), "distinct test items, threshold 0.5")
        if at.certified:
            where = f"distinct test items, certified threshold {at.certified.threshold:.4g}"
            print_slices(Slices.of_record(at.certified), where)
    if test.distinct.types_said:
        said = TypeConfusion.of_record(test.distinct.types_said)
        print_confusion(said, "distinct test items, whatever the decision")
    way = "drupe threshold RUN"
    if imported:
        for caveat in imported.seen.caveats:
            print_prose(f"Mind: {caveat}.", style="yellow")
        if imported.seen.in_sample:
            print_prose(
                f"No threshold can be certified on this calibration: {imported.seen.in_sample}.",
                style="yellow",
            )
            way += " --data NEW-CROPS"
    print_line(f"A threshold that provably catches enough defects: {way}")
