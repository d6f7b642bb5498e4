from __future__ import annotations

import json

import pytest

from drupe.files import read_json, write_json
from drupe.printable import (
    from_spreadsheet_cell,
    printable,
    printable_json,
    spreadsheet_cell,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("train/pit/a b.png", "train/pit/a b.png"),
        ("Kirsche ü ≥ 90 % × 日本 🍒\u3000\xa0", "Kirsche ü ≥ 90 % × 日本 🍒\u3000\xa0"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the same control sequence in one byte
        ("a\nerror: forged\r\tb", "a\\nerror: forged\\r\\tb"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("gnp.\u202egpj", "gnp.\\u202egpj"),  # shown, it would read gnp.jpg
        ("\udcff.png", "\\xff.png"),  # a byte of a name that is no UTF-8
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("name", ["\x1b[2J\x9b", "\u202e\u2028", "\udcff", "\U000e0041", "ü\n"])
def test_json_says_the_same_and_a_terminal_obeys_nothing(name: str, tmp_path) -> None:
    document = {name: [name]}
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(text) == document
    assert text.replace("\n", "").isprintable()
    write_json(tmp_path / "a.json", document)
    assert read_json(tmp_path / "a.json") == document


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "'=1", "''@x", "'", "'x", "", "a=1", "1-2"]
)
def test_a_spreadsheet_gets_text_and_gives_it_back(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert from_spreadsheet_cell(cell) == text
