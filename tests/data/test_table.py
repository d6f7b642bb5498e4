"""Reading tables, whatever wrote them; every wrong row is named."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

from drupe.data.table import Row, folder_of, is_table, read_table
from drupe.errors import InputError


def csv(tmp_path: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems(table: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_table(table)
    where = str(table)
    assert all(problem.startswith((where, "…")) for problem in caught.value.problems)
    return [problem.removeprefix(where) for problem in caught.value.problems]


WHOLE = (
    Row("line 2", "a/1.png", "ok", "train", "cam 1", "", 1.5),
    Row("line 3", "b/ä, 2.png", "pit", "val", "cam 2", "stem", 2.0),
)


@pytest.mark.parametrize(
    "text",
    [
        "path,label,split,group,type,weight\na/1.png,ok,train,cam 1,,1.5\n"
        '"b/ä, 2.png",pit,Validation,cam 2,stem,2\n',
        "\ufeffpath;label;split;group;type;weight\r\na/1.png;ok;TRAIN;cam 1;;1,5\r\n"
        "b/ä, 2.png;pit;valid;cam 2;stem;2\r\n",
        "weight\ttype\tgroup\tsplit\tlabel\tpath\n1.5\t\tcam 1\ttrain\tok\ta/1.png\n"
        "2\tstem\tcam 2\tval\tpit\tb/ä, 2.png",
    ],
    ids=["comma", "semicolon, mark, decimal comma", "tab, other order, no last line end"],
)
def test_csv_as_programs_write_it(tmp_path: Path, text: str) -> None:
    assert tuple(read_table(csv(tmp_path, text))) == WHOLE


def test_a_table_of_two_columns(tmp_path: Path) -> None:
    rows = read_table(csv(tmp_path, "path,label\n\na/1.png,ok\n"))
    assert rows == [Row("line 3", "a/1.png", "ok")]


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    frame = polars.DataFrame(
        {
            "path": ["a/1.png", "b/ä, 2.png"],
            "label": ["ok", "pit"],
            "split": ["train", "val"],
            "group": ["cam 1", "cam 2"],
            "type": [None, "stem"],
            "weight": [1.5, 2.0],
        }
    )
    frame.write_parquet(tmp_path / "labels.parquet")
    rows = read_table(tmp_path / "labels.parquet")
    assert [(r.path, r.label, r.split, r.group, r.type, r.weight) for r in rows] == [
        (r.path, r.label, r.split, r.group, r.type, r.weight) for r in WHOLE
    ]
    assert [row.place for row in rows] == ["row 1", "row 2"]


def test_numbers_as_labels_and_groups_of_parquet(tmp_path: Path) -> None:
    frame = polars.DataFrame({"path": ["a.png"], "label": [1], "group": [7]})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet") == [Row("row 1", "a.png", "1", group="7")]


def test_parquet_columns_of_the_wrong_kind(tmp_path: Path) -> None:
    frame = polars.DataFrame({"path": [1], "label": [0.5], "weight": [[1]]})
    frame.write_parquet(tmp_path / "t.parquet")
    assert problems(tmp_path / "t.parquet") == [
        ": column 'path' must hold text, got Int64",
        ": column 'label' must hold text, got Float64",
        ": column 'weight' must hold numbers, got List(Int64)",
    ]
    assert "must be a Parquet file" in problems(csv(tmp_path, "path,label\n", "no.parquet"))[0]


def test_every_wrong_row_is_named(tmp_path: Path) -> None:
    table = csv(
        tmp_path,
        "path,label,split,weight\n"
        ",ok,train,1\n"
        "a.png,,train,1\n"
        "b.png,ok,trian,1\n"
        "c.png,ok,train,0\n"
        "d.png,ok,train,nan\n"
        "e.png,ok,train,-1\n"
        "f.png,ok,train,inf\n"
        "g.png,ok,train\n"
        "h\x07.png,ok,train,1\n"
        "i.png,ok ,train,1\n"
        "fine.png,ok,train,1\n",
    )
    grouped = csv(tmp_path, "path,label,group\na.png,ok,\n", "grouped.csv")
    assert problems(grouped) == [", line 2: group: must not be empty"]
    typed = csv(tmp_path, "path,label,group,type\na.png,no, a,pit\u00a0\n", "typed.csv")
    assert problems(typed) == [
        ", line 2: group: must have no spaces around it, got ' a'",
        ", line 2: type: must have no spaces around it, got 'pit\\xa0'",
    ]
    assert problems(table) == [
        ", line 2: path: must not be empty",
        ", line 3: label: must not be empty",
        ", line 4: split: must be train, val, valid, validation or test, got 'trian' "
        "(did you mean train?)",
        ", line 5: weight: must be a number above 0, got '0'",
        ", line 6: weight: must be a number above 0, got 'nan'",
        ", line 7: weight: must be a number above 0, got '-1'",
        ", line 8: weight: must be a number above 0, got 'inf'",
        ", line 9: must have 4 fields, got 3",
        ", line 10: path: must have no control characters, got 'h\\x07.png'",
        ", line 11: label: must have no spaces around it, got 'ok '",
    ]


def test_a_table_of_mistakes_is_cut_short(tmp_path: Path) -> None:
    found = problems(csv(tmp_path, "path,label\n" + "a.png,\n" * 50))
    assert len(found) == 21
    assert found[-1] == "… and 30 more"


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("path,labels", "label missing, got path, labels"),
        ("path,label,camera", "got 'camera'"),
        ("path,label,wieght", "got 'wieght' (did you mean weight?)"),
        ("path,path,label", "column 'path' must appear once, got 2"),
        ("", "must have the columns path, label; path, label missing, got an empty file"),
        ("path,label", "must name images, got a header alone"),
    ],
)
def test_columns(tmp_path: Path, header: str, wanted: str) -> None:
    assert wanted in "\n".join(problems(csv(tmp_path, header)))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("path,label\na.png,ok\n".encode("utf-16"), ": must be a CSV file in UTF-8, got UTF-16"),
        (b"path,label\na.png,ok\n\xe4.png,ok\n", ", line 3: must be text in UTF-8, got the byte"),
        (b"path,label\na\0.png,ok\n", ", line 2: must be text in UTF-8, got a NUL byte"),
        (b'path,label\n"a.png,ok\n', ", line 2: must be CSV, got unexpected end of data"),
    ],
    ids=["utf-16", "latin-1", "nul", "quote"],
)
def test_what_is_no_csv(tmp_path: Path, content: bytes, wanted: str) -> None:
    assert wanted in problems(csv(tmp_path, content))[0]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.csv") == [": must be a dataset, got no such file"]


def test_what_counts_as_a_table(tmp_path: Path) -> None:
    (tmp_path / "crops.csv").mkdir()
    assert not is_table(tmp_path / "crops.csv")  # a folder of such a name
    assert is_table(tmp_path / "Labels.CSV")
    assert folder_of(tmp_path / "labels.parquet") == tmp_path
    assert folder_of(tmp_path) == tmp_path
