"""Which type was said of which defects, as rows of a table and in a sentence."""

from __future__ import annotations

from drupe.evaluation.type_confusion import TypeConfusion

Row = tuple[str, ...]

WHAT = "Types said of defects"


def confusion_columns(confusion: TypeConfusion) -> Row:
    """Return the headings: the type of a defect, how many, and what was said of them."""
    return ("", "defects", *(f"said {name}" for name in confusion.names))


def confusion_rows(confusion: TypeConfusion) -> list[Row]:
    """Return a row of :func:`confusion_columns` for each type."""
    return [
        (row.name, f"{row.defects:,}", *(f"{count:,}" for count in row.said))
        for row in confusion.rows
    ]


def confusion_in_words(confusion: TypeConfusion) -> list[str]:
    """Return how many types were told right, and which ones can't be said."""
    sentences = [
        f"Type told right: {confusion.accuracy().describe()}. It describes a defect, and decides "
        "nothing."
    ]
    if confusion.unnamed:
        sentences.append(
            f"Never told, because the network has learnt from none of them: "
            f"{', '.join(confusion.unnamed)}."
        )
    return sentences
