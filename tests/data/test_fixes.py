from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.fixes import Fixes, Proposal, read_fixes, write_fix_list
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
            Proposal("train/pit/a, b.png", "exclude", "", 'says "blank"'),
            Proposal("val/clean/ä.png", "relabel", "pit", "seen by eye"),
        ],
    )
    fixes = read_fixes(path)
    assert fixes.exclude == {"train/pit/a, b.png"}
    assert dict(fixes.relabel) == {"val/clean/ä.png": "pit"}
    assert path.read_text().startswith("path,action,value,reason\n")


def test_a_spreadsheet_with_mark_and_further_columns_reads(tmp_path: Path) -> None:
    path = tmp_path / "fixes.csv"
    path.write_bytes(b"\xef\xbb\xbfaction,path,value,seen\r\nexclude,train/pit/1.png,,yes\r\n")
    assert read_fixes(path).exclude == {"train/pit/1.png"}


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
        read_fixes(path)
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
        read_fixes(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_fixes(tmp_path / "none.csv")


def test_the_same_fix_twice_is_no_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "path,action,value\na/1.png,exclude,\na/1.png,exclude,\n")
    assert read_fixes(path).exclude == {"a/1.png"}


def test_fingerprint_follows_the_changes_only() -> None:
    one = Fixes(frozenset({"a", "b"}), {"c": "pit", "d": "clean"})
    same = Fixes(frozenset({"b", "a"}), {"d": "clean", "c": "pit"})
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() != Fixes(frozenset({"a", "b"}), {"c": "pit"}).fingerprint()
    assert one
    assert not Fixes()
