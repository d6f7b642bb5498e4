"""An audit document as text for the terminal: the set, then what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drupe.cli.console import print_line, print_prose, stdout, table
from drupe.data.naming import DEFECT
from drupe.data.walk import passing_lines
from drupe.errors import shortened

if TYPE_CHECKING:
    from drupe.data.fix_matching import FixMatch

SHOWN = 5
"""Lines shown of each finding; all of them are in the JSON."""

Finding = tuple[str, int, Sequence[str]]
"""A kind of finding, its count, and a line for each."""


def print_audit(document: Mapping[str, Any]) -> None:
    """Print what ``drupe data audit --json`` prints, for a person; the worst comes last."""
    _print_set(document)
    kinds = (
        ("Hints: a person has to look at these, and nothing may be wrong", "bold", _hints),
        ("Warnings", "bold yellow", _warnings),
        ("Errors", "bold red", _errors),
    )
    for heading, style, listed in kinds:
        findings = [finding for finding in listed(document) if finding[2]]
        if findings:
            print_line("")
            print_line(f"{heading}", style=style)
        for name, count, lines in findings:
            print_line(f"  {name}: {count:,}")
            for line in shortened(lines, SHOWN, "more in --json"):
                print_line(f"    {line}")
    if document["has_errors"]:
        print_line("")
        print_line("Proposed fixes, to look through and edit: --fix-list FILE; then --apply FILE")
    else:
        print_line("")
        print_line("No errors.", style="green")


def print_fix_list(folder: Path, found: FixMatch) -> None:
    """Print the fixes of ``folder`` with their reasons, then those that match no picture."""
    counted = found.to_json()
    print_line(
        f"{folder}: {counted['excluded']:,} pictures excluded, "
        f"{counted['relabelled']:,} relabelled",
        style="bold",
    )
    for fix, path in found.honoured:
        was = f" (applied as {fix.path})" if path != fix.path else ""
        reason = f": {fix.reason}" if fix.reason else ""
        print_line(f"  {fix.change}  {path}{was}{reason}")
    if found.unmatched:
        print_line("")
        print_line(f"No picture here for {len(found.unmatched):,} fixes", style="bold yellow")
    for fix, why in found.unmatched:
        reason = f" ({fix.reason})" if fix.reason else ""
        print_line(f"  {fix.change}  {fix.path}{reason}: {why}")


def _print_set(document: Mapping[str, Any]) -> None:
    print_line(f"{document['root']}: {document['images']:,} images", style="bold")
    clean, defect = document["classes"]["clean"], document["classes"]["defect"]
    rows = [
        [split, counts[clean], counts[defect], counts[clean] + counts[defect]]
        for split, counts in document["per_split"].items()
    ]
    defects = defect if defect == DEFECT else f"{defect} (defect)"
    stdout().print(table(["", clean, defects, "all"], rows))
    if document["per_type"]:
        counts = {name or "unknown": count for name, count in document["per_type"].items()}
        stdout().print(table(["type of defect", "images"], list(counts.items())))
    if document["per_group"]:
        stdout().print(
            table(
                ["group", clean, defects],
                [[name, one[clean], one[defect]] for name, one in document["per_group"].items()],
            )
        )
    for note in document["notes"]:
        print_prose(note)
    for what in ("sizes", "modes"):
        counted = ", ".join(f"{name} ({count:,})" for name, count in document[what].items())
        print_line(f"{what}: {counted or 'nothing could be read'}")
    box = document["content_box"]
    if box:
        print_prose(
            f"content: {box['mean_width']:.0f} x {box['mean_height']:.0f} pixels on average; "
            f"input.crop: auto would use {box['crop']} of {box['image_side']} pixels "
            f"and keep {100 * box['kept']:.2f} % of it"
        )
    fixes = document["fixes"]
    if fixes["excluded"] or fixes["relabelled"]:
        print_line(
            f"fixes honoured: {fixes['excluded']:,} excluded, {fixes['relabelled']:,} relabelled"
            + (f" ({fixes['moved']:,} found under another name)" if fixes["moved"] else "")
        )


def _hints(document: Mapping[str, Any]) -> list[Finding]:
    alike = [_near(pair) for pair in document["findings"]["alike"]]
    name = "pairs that look alike but are no copies, perhaps of one object"
    return [(name, len(alike), alike)]


def _errors(document: Mapping[str, Any]) -> list[Finding]:
    found = document["findings"]
    across = [_near(pair) for pair in found["near_duplicates"] if pair["cross_split"]]
    wrong = [f"{item['path']}: {item['reason']}" for item in document["fixes"]["wrong"]]
    return [
        (
            "unreadable files",
            document["unreadable"],
            [f"{item['path']}: {item['reason']}" for item in found["unreadable"]],
        ),
        ("blank or nearly blank images", document["blank_or_tiny"], found["blank_or_tiny"]),
        (
            "pairs with the same image in both classes",
            document["contradictory_labels"],
            _same(found["contradictory_labels"]),
        ),
        (
            "pairs of identical files across train and val",
            document["cross_split_duplicate_pairs"],
            _same(found["cross_split_duplicates"]),
        ),
        ("pairs of near duplicates across train and val", len(across), across),
        (
            "fixes that can't be honoured (correct the list and --apply it)",
            len(wrong),
            wrong,
        ),
        (
            "classes without an image",
            len(document["empty_classes"]),
            document["empty_classes"],
        ),
    ]


def _warnings(document: Mapping[str, Any]) -> list[Finding]:
    found, group, stale = (
        document["findings"],
        document["largest_group"],
        [f"{one['path']}: {one['change']}: {one['why']}" for one in document["fixes"]["unmatched"]],
    )
    within = [_near(pair) for pair in found["near_duplicates"] if not pair["cross_split"]]
    other_sizes = [
        f"{item['path']}: {'x'.join(map(str, item['size']))}" for item in found["other_sizes"]
    ]
    other_modes = [f"{item['path']}: {item['mode']}" for item in found["other_modes"]]
    return [
        (
            "pairs of identical files in all",
            document["exact_duplicate_pairs"],
            _same(found["exact_duplicates"]),
        ),
        ("pairs of near duplicates within a split", len(within), within),
        (
            "different images in the largest group of near duplicates",
            group["images"],
            group["paths"] if group["images"] > 1 else [],
        ),
        ("images of another size than most", len(other_sizes), other_sizes),
        ("files of another format or mode than most", len(other_modes), other_modes),
        ("fixes that match no picture (drupe data fixes lists all)", len(stale), stale),
        (
            "files not taken, by reason",
            sum(one["files"] for one in document["passed_over"]),
            passing_lines(document["passed_over"]),
        ),
    ]


def _same(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(paths) for paths in groups]


def _near(pair: Mapping[str, Any]) -> str:
    labels = "" if pair["same_class"] else ", in different classes"
    return f"{pair['first']} ~ {pair['second']} (correlation {pair['correlation']:.2f}{labels})"
