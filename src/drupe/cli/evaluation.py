"""An evaluation document as a table for the terminal."""

from __future__ import annotations

from typing import Any

from drupe.cli.console import print_line, stdout, table
from drupe.evaluation.intervals import Proportion, format_percent

RATES = {
    "accuracy": "decided as labelled",
    "recall": "defects not let through",
    "clean_yield": "clean items accepted",
    "precision": "defects among the rejected",
}


def print_evaluation(document: dict[str, Any]) -> None:
    """Print the test figures at the threshold 0.5 with their exact intervals."""
    test = document["test"]
    print_line(f"Test: {test['images']:,} images, {test['defects']:,} defects, threshold 0.5\n")
    rows = []
    for name, meaning in RATES.items():
        figures = test["argmax"][name]
        rate = Proportion(figures["successes"], figures["trials"], figures["confidence"])
        counts = f"{rate.successes:,} of {rate.trials:,}"
        low, high = (format_percent(bound, sign="") for bound in (rate.low, rate.high))
        rows.append((name.replace("_", " "), rate.percent(), f"{low}-{high}", counts, meaning))
    stdout().print(table(("", "rate", "95 % interval", "counts", ""), rows))
    confusion = test["argmax"]["confusion"]
    print_line(
        f"\nmisses {confusion['fn']}, false rejects {confusion['fp']}, "
        f"AUROC {document['auroc']:.4f}, ECE {document['ece']:.3f}, "
        f"temperature {document['temperature']:.2f}"
    )
