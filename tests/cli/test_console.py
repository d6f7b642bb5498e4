from __future__ import annotations

import json

import pytest

from drupe.cli.console import print_error, print_json, print_line, stdout, table


def test_json_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"path": "kirsche/grün.png", "counts": [1, 2.5, None]}
    print_json(document)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == document
    assert "grün" in printed.out
    assert printed.err == ""


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"rate": float("nan")})


@pytest.mark.parametrize("text", ["crops/[bold]/a.png", "x" * 200, ":cherries:"])
def test_text_is_printed_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_line(text)
    print_error(text)
    printed = capsys.readouterr()
    assert printed.out == text + "\n"
    assert printed.err == f"error: {text}\n"


def test_a_table_aligns_figures_and_keeps_text(capsys: pytest.CaptureFixture[str]) -> None:
    stdout().print(table(["class", "images"], [["[red]", 12_345], ["pit", 7]]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["class", "images"],
        ["[red]", "12,345"],
        ["pit", "7"],
    ]
    assert lines[1].index("5") == lines[2].index("7")
