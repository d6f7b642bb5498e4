from __future__ import annotations

import json

import pytest

from drupe.cli.console import (
    print_error,
    print_fitting,
    print_json,
    print_line,
    print_prose,
    stdout,
    table,
)


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


@pytest.mark.parametrize(("columns", "widest"), [(40, 40), (80, 80), (200, 100)])
def test_prose_wraps_between_words_and_never_gets_too_wide(
    columns: int,
    widest: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "drupe-store/runs/a-study-with-a-long-name/[bold]/seed-42/predictions"
    words = ["the", "run", "to", "take", "further", "is"] * 9
    print_prose(" ".join([*words, path]), indent="  ")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"  {path}" or lines[-1].endswith(f" {path}")
    assert widest - 10 < max(len(line) for line in lines if path not in line) <= widest
    assert lines == [line.rstrip() for line in lines]
    assert all(line.startswith("  ") for line in lines[1:])
    assert " ".join("".join(f" {line}" for line in lines).split()) == " ".join([*words, path])


def test_a_column_of_text_is_left_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("rate", 1, "caught"), ("other", 22, "of all that were shown")]
    print_fitting(("", "count", "meaning"), rows, texts=(0, 2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].index("meaning") == lines[1].index("caught") == lines[2].index("of all")


def test_a_narrow_terminal_gets_blocks_without_empty_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_fitting(("", "state", "epoch"), [("PLAIN seed 42", "running", "1/4"), ("x", "done", "")])
    assert (
        capsys.readouterr().out
        == "PLAIN seed 42\n  state  running\n  epoch  1/4\nx\n  state  done\n"
    )
