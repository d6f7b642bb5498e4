from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.fixes import Fix, Fixes, read_fix_list, write_fix_list
from drupe.errors import InputError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fixes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_written_list_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    write_fix_list(
        path,
        [
            Fix("train/pit/a, b.png", "exclude", "", 'says "blank"'),
            Fix("val/clean/ä.png", "relabel", "pit", "seen by eye"),
        ],
    )
    fixes = Fixes.of(read_fix_list(path))
    assert fixes.exclude == {"train/pit/a, b.png"}
    assert dict(fixes.relabel) == {"val/clean/ä.png": "pit"}
    assert path.read_text().startswith("path,action,value,reason,sha256\n")


def test_a_spreadsheet_with_mark_and_further_columns_reads(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    path.write_bytes(b"\xef\xbb\xbfaction,path,value,seen\r\nexclude,train/pit/1.png,,yes\r\n")
    assert Fixes.of(read_fix_list(path)).exclude == {"train/pit/1.png"}


def test_every_mistake_is_in_one_message(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "path,action,value\n"
        "train/pit/1.png,exclud,\n"
        "/etc/passwd,exclude,\n"
        "train/../../x.png,exclude,\n"
        "C:/x.png,exclude,\n"
        "train/pit/2.png,relabel,\n"
        "train/pit/3.png,exclude,\n"
        "train/pit/3.png,relabel,clean\n",
    )
    with pytest.raises(InputError) as caught:
        read_fix_list(path)
    problems = caught.value.problems
    assert len(problems) == 6
    assert problems[0].endswith(
        "line 2: action: must be exclude or relabel, got 'exclud' (did you mean exclude?)"
    )
    assert all("without '..'" in problem for problem in problems[1:4])
    assert "must name the right class of train/pit/2.png" in problems[4]
    assert "'exclude' (line 7) and 'relabel clean'" in problems[5]


@pytest.mark.parametrize("text", ["", "path,value\n", "a;b;c\n"])
def test_a_missing_column_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"must have the columns path, action, value; .*action"):
        read_fix_list(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_fix_list(tmp_path / "none.csv")


def test_the_same_fix_twice_is_no_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "path,action,value\na/1.png,exclude,\na/1.png,exclude,\n")
    assert Fixes.of(read_fix_list(path)).exclude == {"a/1.png"}


def test_names_and_classes_are_taken_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "path,action,value\n a/1 .png , relabel,pit \n")
    assert read_fix_list(path) == (Fix(" a/1 .png ", "relabel", "pit "),)


def test_a_picture_s_digest_is_read_and_a_wrong_one_named(tmp_path: Path) -> None:
    text = "path,action,value,sha256\n"
    [fix] = read_fix_list(write(tmp_path, text + f"a.png,exclude,,{'AB' * 32}\n"))
    assert fix.sha256 == "ab" * 32
    with pytest.raises(InputError, match=r"line 2: sha256: must be empty or 64 hex.*got '12'"):
        read_fix_list(write(tmp_path, text + "a.png,exclude,,12\n"))
