from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation import predictions_csv
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.predictions_csv import read_predictions, write_predictions

CLASSES = ("cherry_clean", "cherry_pit")


def table_of(logits: np.ndarray, temperature: float = 1.3) -> Predictions:
    labels = np.arange(len(logits)) % 2 == 1
    return Predictions(
        paths=tuple(f"val/{CLASSES[int(d)]}/{i}.png" for i, d in enumerate(labels)),
        is_defect=labels,
        logits=logits.astype(np.float32),
        scores=scores_from_logits(logits, temperature),
        classes=CLASSES,
    )


def problems_of(folder: Path, text: str, defect: str | None = None) -> list[str]:
    path = folder / "some.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_predictions(path, defect)
    return [problem.replace(str(path), "some.csv") for problem in caught.value.problems]


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 50_000, dtype=np.uint32).view(np.float32)
    table = table_of(bits[np.isfinite(bits)])
    path = tmp_path / "run" / "test.csv"
    write_predictions(path, table)
    back = read_predictions(path)
    assert back.paths == table.paths
    assert back.classes == CLASSES
    np.testing.assert_array_equal(back.is_defect, table.is_defect)
    np.testing.assert_array_equal(back.scores, table.scores)
    assert back.logits is not None
    np.testing.assert_array_equal(back.logits, table.logits)
    assert (back.scores.dtype, back.logits.dtype, back.is_defect.dtype) == (
        np.float32,
        np.float32,
        np.bool_,
    )


def test_the_file_as_written(tmp_path: Path) -> None:
    table = Predictions(
        paths=('a, "b".png', "c.png"),
        is_defect=np.array([False, True]),
        logits=np.array([-1.5, 0.1], np.float32),
        scores=np.array([0.25, 0.1], np.float32),
        classes=("ok", "ng"),
    )
    write_predictions(tmp_path / "test.csv", table)
    assert (tmp_path / "test.csv").read_bytes() == (
        b'path,label,score,logit\n"a, ""b"".png",ok,0.25,-1.5\nc.png,ng,0.1,0.1\n'
    )
    assert read_predictions(tmp_path / "test.csv").paths == table.paths


def test_a_foreign_csv(tmp_path: Path) -> None:
    path = tmp_path / "foreign.csv"
    text = "\ufefflabel,model,score,path\r\nrotten,m,0.9,b.png\r\n\r\nripe,m,1,a.png\r\n"
    path.write_text(text, encoding="utf-8", newline="")
    table = read_predictions(path, defect="rotten")
    assert table.classes == ("ripe", "rotten")
    assert table.paths == ("b.png", "a.png")
    assert table.is_defect.tolist() == [True, False]
    assert table.logits is None
    write_predictions(path, table)
    assert read_predictions(path, defect="rotten").scores.tolist() == table.scores.tolist()


def test_every_mistake_in_one_message_with_its_line(tmp_path: Path) -> None:
    text = (
        "path,label,score,logit\n"
        "a.png,ok,0.5,1\n"
        "b.png,pit,high,1\n"
        "c.png,pit,nan,1\n"
        "d.png,pit,1.5,inf\n"
        "a.png,pit,0.5,2\n"
        "e.png,pit,0.5\n"
        ",pit,0.5,0\n"
        "f.png,,0.5,0\n"
    )
    assert problems_of(tmp_path, text) == [
        "some.csv, line 3: score: must be in [0, 1], got 'high'",
        "some.csv, line 4: score: must be in [0, 1], got 'nan'",
        "some.csv, line 5: score: must be in [0, 1], got '1.5'",
        "some.csv, line 5: logit: must be a finite number, got 'inf'",
        "some.csv, line 6: path: must be unique, got 'a.png' again (line 2)",
        "some.csv, line 7: must have 4 fields, got 3",
        "some.csv, line 8: path: must not be empty",
        "some.csv, line 9: label: must not be empty",
    ]


def test_a_thousand_mistakes_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,pit,x\n" for i in range(1000))
    problems = problems_of(tmp_path, "path,label,score\n" + rows)
    assert len(problems) == 21
    assert problems[-1] == "… and 980 more"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must have the columns path,label,score (and logit if known), got no column 'path'"),
        ("path,label\na,b\n", "got no column 'score'"),
        ("path,label,score,score\n", "column 'score' must appear once, got 2"),
        ("path,label,score\n", "label: must hold two classes, got 0"),
        ("path,label,score\na,ok,0.1\n", "label: must hold two classes, got 1: 'ok'"),
        (
            "path,label,score\na,ok,0.1\nb,pit,0.2\nc,stem,0.3\n",
            "label: must hold two classes, got 3: 'ok', 'pit', 'stem'",
        ),
        ('path,label,score\n"a,ok,0.1\n', "not a CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_no_predictions(tmp_path: Path, text: str, expected: str) -> None:
    problem = problems_of(tmp_path, text)[0]
    assert problem.startswith("some.csv: ")
    assert expected in problem


def test_an_unknown_defect_class_is_named(tmp_path: Path) -> None:
    text = "path,label,score\na,ok,0.1\nb,pit,0.2\n"
    (problem,) = problems_of(tmp_path, text, defect="pti")
    assert problem.startswith("some.csv: ")
    assert "'pti'" in problem
    assert "pit" in problem


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_predictions(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="can't be read"):
        read_predictions(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(InputError, match="not a CSV file"):
        read_predictions(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    "text",
    [
        "path;label;score\na;ok;0,25\nb;pit;1\n",
        "path;label;score\r\na;ok;0.25\r\nb;pit;1\r\n",
        "\ufeffpath\tlabel\tscore\r\na\tok\t.25\r\nb\tpit\t1e0\r\n",
        '"path" , "label" ,"score"\n"a","ok","0.25"\nb,pit,1\n'.replace(" , ", ","),
        "path,label,score\na,ok, 0.25\n\nb,pit,1",
    ],
)
def test_spreadsheets_of_all_countries(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = read_predictions(path)
    assert table.paths == ("a", "b")
    assert table.scores.tolist() == [0.25, 1.0]
    assert table.is_defect.tolist() == [False, True]


def test_logits_are_recognised_and_accepted_when_named(tmp_path: Path) -> None:
    text = "path,label,score\na,ok,-2\nb,pit,3\nc,pit,0.5\n"
    assert problems_of(tmp_path, text) == [
        "some.csv, line 2: score: must be in [0, 1], got '-2'",
        "some.csv, line 3: score: must be in [0, 1], got '3'",
        "some.csv: score: if these are logits, say so with --logits",
    ]
    table = read_predictions(tmp_path / "some.csv", score_is_logit=True)
    assert table.logits is not None
    assert table.logits.tolist() == [-2, 3, 0.5]
    # sigmoid(-2), sigmoid(3), sigmoid(0.5)
    np.testing.assert_allclose(table.scores, [0.11920292, 0.95257413, 0.62245933], rtol=1e-6)


def test_both_roads_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    table = table_of(generator.normal(0, 5, 2000).astype(np.float32))
    path = tmp_path / "some.csv"
    write_predictions(path, table)
    with monkeypatch.context() as patched:
        patched.setattr(predictions_csv, "_read_carefully", None)  # not needed for a sound file
        fast = read_predictions(path)
    monkeypatch.setattr(predictions_csv, "_read_fast", lambda content, layout: None)
    careful = read_predictions(path)
    assert fast.paths == careful.paths
    assert fast.classes == careful.classes
    for name in ("is_defect", "scores", "logits"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(careful, name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label,score\na,"",0.1\nb,pit,0.2\n', "line 2: label: must not be empty"),
        ('path,label,score\n"",ok,0.1\nb,pit,0.2\n', "line 2: path: must not be empty"),
        ("path,label,score\na,ok,0.1\nb,pit\0,0.2\n", "it holds NUL bytes"),
        ("path,label,score\na,ok,0.1\nb,pit,0.2\nc,pit ,0.2\n", "got 3: 'ok', 'pit', 'pit '"),
    ],
)
def test_nothing_odd_slips_through(tmp_path: Path, text: str, message: str) -> None:
    assert message in problems_of(tmp_path, text)[0]


def test_probabilities_are_not_taken_for_logits(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("path,label,score\na,ok,0.1\nb,pit,0.9\n")
    with pytest.raises(InputError, match=r"with --logits must hold logits, got values in \[0, 1\]"):
        read_predictions(path, score_is_logit=True)


def test_a_logit_too_large_for_float32_is_named(tmp_path: Path) -> None:
    text = "path,label,score,logit\na,ok,0.1,1e300\nb,pit,0.2,1\n"
    expected = "some.csv, line 2: logit: must be a finite number, got '1e300'"
    assert problems_of(tmp_path, text) == [expected]


def test_names_and_headers_that_polars_would_take_for_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "x^2,path,label,score\n1,a,ok,0.1\n2,b,pit,0.2\n"
    monkeypatch.chdir(tmp_path)
    for name in ("~", "a[1].csv", "b*.csv", "http:"):
        Path(name).write_text(text)
        assert read_predictions(Path(name)).paths == ("a", "b")


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "path,label,score\na,ok,0.1\nb,pit,0.2\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    assert read_predictions(pipe).paths == ("a", "b")
    writer.join()
    with pytest.raises(InputError, match="must be a file or a pipe, got a device"):
        read_predictions(Path("/dev/zero"))


def test_types_and_groups_are_columns_where_they_are_known(tmp_path: Path) -> None:
    plain = table_of(np.array([-1.0, 2.0, -3.0]))
    told = replace(plain, types=("", "pit", ""), groups=("cam 1", "cam, 2", ""))
    write_predictions(tmp_path / "told.csv", told)
    header, _, second, _ = (tmp_path / "told.csv").read_text().splitlines()
    assert header == "path,label,score,logit,type,group"
    assert second.endswith(',2.0,pit,"cam, 2"')
    back = read_predictions(tmp_path / "told.csv")
    assert (back.types, back.groups) == (told.types, told.groups)
    turned = back.take(np.array([1, 0], np.intp))
    assert (turned.types, turned.groups) == (("pit", ""), ("cam, 2", "cam 1"))
    write_predictions(tmp_path / "plain.csv", plain)
    assert (tmp_path / "plain.csv").read_text().startswith("path,label,score,logit\n")
    assert read_predictions(tmp_path / "plain.csv").types is None


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_both_roads_read_types_alike(tmp_path: Path, end: str) -> None:
    lines = ("path,label,score,type", "a,ok,0.2,", 'b,pit,0.7,"stem ""x"""', "c,ok,0.1,")
    (tmp_path / "some.csv").write_bytes((end.join(lines) + end).encode())
    assert read_predictions(tmp_path / "some.csv").types == ("", 'stem "x"', "")


def test_unequal_lengths_of_what_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="types: must have length 2, got 1"):
        replace(table_of(np.array([-1.0, 2.0])), types=("",))
