from __future__ import annotations

import csv
import json
import os

import pytest

from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.sinks.files import COLUMNS, CsvSink, JsonlSink

BEAT = Beat(1, 0)
ANSWER = LineAnswer(
    3, "=a\u202e.png", "review", "now", piece=9, score=0.5, decided="accept", fault="late"
)


def test_a_line_of_json_is_added_for_each_answer(tmp_path) -> None:
    sink = JsonlSink(tmp_path / "out" / "answers.jsonl")
    assert sink.probe() == "can be written"
    for _ in range(2):
        sink.open(BEAT)
        sink.take(ANSWER, BEAT, 1)
        sink.beat(BEAT)
        sink.close(BEAT)
        sink.close(None)
    lines = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [ANSWER.to_json()] * 2
    assert "\u202e" not in lines[0]


def test_a_row_is_added_below_the_names_of_the_columns(tmp_path) -> None:
    file = tmp_path / "answers.csv"
    for _ in range(2):
        sink = CsvSink(file)
        sink.open(BEAT)
        sink.take(ANSWER, BEAT, 1)
        sink.close(None)
    header, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    assert tuple(header) == COLUMNS
    assert rows == [["3", "9", "'=a\u202e.png", "review", "0.5", "accept", "late", "0", "now"]] * 2


def test_a_line_that_was_cut_off_stays_a_line_apart(tmp_path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"number": 1, "la')
    sink = JsonlSink(file)
    sink.open(BEAT)
    sink.take(ANSWER, BEAT, 1)
    sink.close(None)
    first, second = file.read_text().splitlines()
    assert first == '{"number": 1, "la'
    assert json.loads(second)["number"] == 3


def test_a_full_disk_and_a_file_that_was_removed_are_errors(tmp_path, monkeypatch) -> None:
    sink = JsonlSink(tmp_path / "answers.jsonl")
    sink.open(BEAT)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:3]))
    with pytest.raises(OSError, match="Only a part of a line"):
        sink.take(ANSWER, BEAT, 1)
    monkeypatch.undo()
    (tmp_path / "answers.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="The file was removed"):
        sink.beat(BEAT)
    sink.close(None)
