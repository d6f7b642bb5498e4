"""What audit, training, ``drupe predict`` and ``decide`` do with odd files and folders.

    python benchmarks/odd_files.py                                  # a table in Markdown, on stdout
    python benchmarks/odd_files.py --out benchmarks/results/odd_files.md

Makes each case of ``odd_cases.py`` in a folder of its own, looks what becomes of every file in it,
and ends with exit code 1 where one is neither taken, nor counted, nor refused by name, or where
training and the line don't agree on a file. *Training* is :func:`open_dataset`, which packs: all
that training reads of the files. *Predict* and *decide* use a network with random weights: which
lane a sound picture gets means nothing, but what can't be read must be reviewed. *decide* is given
the array that Pillow makes of the odd file, as it comes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from drupe.data.audit import audit
from drupe.data.dataset import open_dataset
from drupe.data.discover import Listing
from drupe.data.joined import join_datasets
from drupe.data.listing import list_dataset
from drupe.data.table import is_table
from drupe.data.walk import PassedOver
from drupe.deployment.predict import Decision, find_images, predict
from drupe.deployment.runtime import Classifier, load
from drupe.errors import InputError
from drupe.files import write_text
from odd_cases import SIDE, Case, all_cases, sound_set
from provenance import commit
from untrained import untrained_bundle

LANES = ("accept", "review", "reject")
CUT = 150
"""Characters of a message that the table shows."""


@dataclass
class Outcome:
    """What became of a case: a cell for each way, and whatever shouldn't be."""

    case: Case
    audit: str = ""
    training: str = ""
    predict: str = ""
    decide: str = "–"
    faults: list[str] = field(default_factory=list)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        named = f"{self.case.group}: {self.case.name}"
        return (named, self.audit, self.training, self.predict, self.decide)


def main() -> None:
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="drupe-odd-"))
    try:
        classifier = untrained_classifier(folder)
        outcomes = [examine(case, folder, classifier) for case in all_cases()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(outcomes)
    if options.out:
        write_text(options.out, text)
    else:
        print(text)
    faults = [f"{one.case.name}: {fault}" for one in outcomes for fault in one.faults]
    print("\n".join(faults), file=sys.stderr)
    sys.exit(1 if faults else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="file for the table")
    return parser.parse_args()


def untrained_classifier(folder: Path) -> Classifier:
    """Return a classifier of 32 × 32 pixels that was never trained."""
    bundle = untrained_bundle(folder / "bundle", "test_resnet", SIDE)
    return load(bundle, order="rgb", backend="onnxruntime", threads=1, uncertified=True)


def examine(case: Case, folder: Path, classifier: Classifier) -> Outcome:
    """Make ``case`` below ``folder`` and put it through everything."""
    place = Path(tempfile.mkdtemp(dir=folder))
    root, store = place / "set", place / "store"
    sound_set(root)
    before = set(files_below(root))
    made = case.make(root)
    datasets = [root] if made is None else [made] if isinstance(made, Path) else made
    odd = sorted(set(files_below(root)) - before)
    outcome = Outcome(case)
    try:
        listing = _dataset(outcome, datasets, store)
        _train(outcome, datasets, listing, store)
        decisions = _predict(outcome, datasets, listing, classifier)
        _agree(outcome, datasets, store, decisions)
        _decide(outcome, [root / name for name in odd], classifier)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return outcome


def files_below(root: Path) -> list[str]:
    """Return everything below ``root`` that is no folder, links to folders included."""
    found: list[Path] = []
    for parent, folders, names in os.walk(root):
        below = Path(parent)
        linked = [name for name in folders if (below / name).is_symlink()]
        found += [(below / name).relative_to(root) for name in (*names, *linked)]
    return [os.fspath(path) for path in found]


def expected_files(datasets: Sequence[Path], taken: Sequence[str]) -> int:
    """Return how many files there are to account for, given the paths that were ``taken``.

    A linked folder that was followed counts as what is in it, any other link as one file; the table
    that names pictures is none of them.
    """
    total = 0
    for dataset in datasets:
        root = dataset.parent if is_table(dataset) else dataset
        for name in files_below(root):
            followed = [path for path in taken if f"{os.fspath(root)}/{name}/" in path]
            if followed and (root / name).is_dir():
                total += len(files_below((root / name).resolve()))
            else:
                total += 1
        total -= is_table(dataset)
        inside = f"{os.fspath(root)}/"
        total += sum(not path.startswith(inside) for path in taken) if len(datasets) == 1 else 0
    return total


def _places(listing: Listing, datasets: Sequence[Path]) -> list[str]:
    """Return where the files of the listing lie, the datasets named as they were given."""
    if len(datasets) == 1:
        return [os.fspath(listing.root / path) for path in listing.paths]
    folders = {
        os.path.realpath(one.parent if is_table(one) else one): one.parent if is_table(one) else one
        for one in datasets
    }
    places = []
    for path in listing.paths:
        link, _, rest = path.partition("/")
        places.append(os.fspath(folders[os.path.realpath(listing.root / link)] / rest))
    return places


def _dataset(outcome: Outcome, datasets: Sequence[Path], store: Path) -> Listing | None:
    """Audit the dataset; every file is taken, counted or named as the reason why it is refused."""
    try:
        root = join_datasets(datasets, store)
        document = audit(root, store=store).to_json()
        listing = list_dataset(root)
    except InputError as error:
        outcome.audit = f"refused: {_shown(error, datasets)}"
        if not outcome.case.is_refused:
            outcome.faults.append(f"audit refused it: {error}")
        return None
    if outcome.case.is_refused:
        outcome.faults.append("audit took what should be refused")
    taken, passed = document["images"], sum(one["files"] for one in document["passed_over"])
    _balance(outcome, "audit", taken + passed, expected_files(datasets, _places(listing, datasets)))
    parts = [f"{taken} taken"]
    parts += [f"{one['files']} not taken ({one['reason']})" for one in document["passed_over"]]
    parts += [f"unreadable: {one['reason']}" for one in document["findings"]["unreadable"]]
    found = {
        "identical files": document["exact_duplicate_pairs"],
        "across train and val": document["cross_split_duplicate_pairs"],
        "in both classes": document["contradictory_labels"],
        "of another size": len(document["findings"]["other_sizes"]),
    }
    parts += [f"{name}: {count}" for name, count in found.items() if count]
    outcome.audit = "; ".join([*parts, *listing.notes])
    return listing


def _train(
    outcome: Outcome, datasets: Sequence[Path], listing: Listing | None, store: Path
) -> None:
    """Pack the dataset, as training does first."""
    try:
        dataset = open_dataset(join_datasets(datasets, store), store=store, size=SIDE)
    except InputError as error:
        outcome.training = f"refused: {_shown(error, datasets)}"
        if listing is None:
            folders = [child.name for one in datasets if one.is_dir() for child in one.rglob("*/")]
            if not any(name in str(error) for name in (*map(os.fspath, datasets), *folders)):
                outcome.faults.append(f"training names nothing: {error}")
        elif not any(path in str(error) for path in listing.paths):
            outcome.faults.append(f"training names no file: {error}")
        return
    if listing is None:
        outcome.faults.append("training took what the audit refused")
        return
    everything = expected_files(datasets, _places(listing, datasets))
    _balance(outcome, "training", len(dataset.paths) + dataset.passed.total, everything)
    outcome.training = f"{len(dataset.paths)} taken"
    if dataset.passed.total:
        outcome.training += f", {dataset.passed.total} counted"


def _predict(
    outcome: Outcome, datasets: Sequence[Path], listing: Listing | None, classifier: Classifier
) -> dict[str, Decision]:
    """Decide every file of the datasets; return the decisions by the files' places."""
    passed = PassedOver()
    try:
        files = find_images([os.fspath(one) for one in datasets], passed=passed)
    except InputError as error:
        outcome.predict = f"refused: {_shown(error, datasets)}"
        return {}
    decisions = {one.path: one for one in predict(classifier, files, workers=1)}
    strange = [one for one in decisions.values() if one.decision not in LANES]
    strange += [one for one in decisions.values() if one.error and one.decision != "review"]
    outcome.faults += [f"predict: {one.path}: {one.decision}" for one in strange]
    if not any(map(is_table, datasets)) and (len(datasets) == 1 or listing is not None):
        everything = expected_files(datasets, files)
        _balance(outcome, "predict", len(files) + passed.total, everything)
    parts = [f"{len(files)} decided"]
    parts += [f"{n} not taken ({reason})" for reason, n in passed.files.items()]
    parts += [f"review: {one.error}" for one in decisions.values() if one.error]
    outcome.predict = "; ".join(parts)
    return decisions


def _agree(
    outcome: Outcome, datasets: Sequence[Path], store: Path, decisions: dict[str, Decision]
) -> None:
    """Require that training leaves out the very files that the line can't decide."""
    if outcome.case.is_refused or not decisions:
        return
    root = join_datasets(datasets, store)
    try:
        dataset = open_dataset(root, store=store, size=SIDE, unreadable="skip", sizes="refuse")
    except InputError:  # of another size, which isn't skipped
        return
    left_out = {os.path.realpath(dataset.root / path) for path, _ in dataset.skipped}
    taken = {os.path.realpath(dataset.root / path) for path in dataset.paths}
    for place, decision in decisions.items():
        real = os.path.realpath(place)
        if (real in left_out and not decision.error) or (real in taken and decision.error):
            outcome.faults.append(f"training and predict disagree on {place}: {decision}")


def _decide(outcome: Outcome, odd: Sequence[Path], classifier: Classifier) -> None:
    """Give ``decide`` the array that Pillow makes of the one odd file."""
    if len(odd) != 1 or not odd[0].is_file() or is_table(odd[0]):
        return
    try:
        with Image.open(odd[0]) as image:
            array: Any = np.asarray(image)
    except Exception as error:  # whoever loads pictures himself sees this first
        outcome.decide = f"no array: Pillow raises {type(error).__name__}"
        return
    shown = f"{array.dtype} {list(array.shape)}"
    try:
        decision = classifier.decide(array)
    except InputError as error:
        outcome.decide = f"refused: {_cut(str(error))}"
        return
    outcome.decide = f"{shown}: {'decided' if decision in LANES else decision}"
    if decision not in LANES:
        outcome.faults.append(f"decide: {decision}")


def _balance(outcome: Outcome, way: str, accounted: int, there: int) -> None:
    if accounted != there:
        outcome.faults.append(f"{way} accounts for {accounted} of {there} files")


def _shown(error: InputError, datasets: Sequence[Path]) -> str:
    """Return the message without the temporary folder's name, cut to a table's cell."""
    return _cut(" ".join(error.problems).replace(f"{datasets[0].parents[0]}/", ""))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    place = tempfile.gettempdir()
    words = [word if place not in word else word[word.rfind("/") + 1 :] for word in text.split(" ")]
    text = " ".join(words)
    return text if len(text) <= CUT else f"{text[:CUT]}…"


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the table as Markdown."""
    heads = ("case", "audit", "training", "predict", "decide")
    lines = [
        "# Odd files and folders",
        "",
        f"`python benchmarks/odd_files.py`, commit {commit()}: {len(outcomes)} cases, each a set "
        "of 12 sound pictures and something odd (or laid out oddly). No file is passed over "
        "without a count, and training and the line agree on each.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
    ]
    for one in outcomes:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in one.cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
