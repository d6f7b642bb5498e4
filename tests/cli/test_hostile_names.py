"""Names of files and classes that forge lines, steer terminals and compute in spreadsheets."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

CLEAN, PIT = "=cl\x1b[31mean", "@pit\nerror: forged"
ODD = "-a\x1b[2J\x9b\u202e\nwarning: forged.png"


@pytest.fixture
def crops(small_synthetic: Path, tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for given, name in (("cherry_clean", CLEAN), ("cherry_pit", PIT)):
            shutil.copytree(small_synthetic / split / given, tmp_path / "crops" / split / name)
    first = next((tmp_path / "crops" / "val" / PIT).iterdir())
    first.rename(first.with_name(ODD))
    shutil.copy(first.with_name(ODD), tmp_path / "crops" / "train" / PIT / "leaked.png")
    return tmp_path / "crops"


def shows_nothing_to_obey(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n")) and "\nerror: forged" not in text


def test_an_audit_shows_names_and_obeys_none(crops: Path, quick, tmp_path: Path) -> None:
    said = quick("data", "audit", "crops", "--fix-list", "fixes.csv")
    assert said.code == 1
    assert shows_nothing_to_obey(said.stdout)
    assert shows_nothing_to_obey(said.stderr)
    assert "@pit\\nerror: forged" in said.stdout
    table = (tmp_path / "fixes.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines(keepends=True)))
    assert rows
    assert not [cell for row in rows for cell in row.values() if cell[:1] in "=+-@" and cell]
    assert quick("data", "audit", "crops", "--apply", "fixes.csv").code == 0


def test_json_keeps_names_to_the_letter(crops: Path, quick) -> None:
    said = quick("data", "audit", "crops", "--json")
    assert said.stdout.replace("\n", "").isprintable()
    found = json.loads(said.stdout)
    assert set(found["classes"].values()) == {CLEAN, PIT}
    leaks = found["findings"]["cross_split_duplicates"]
    assert [sorted(pair) for pair in leaks] == [[f"train/{PIT}/leaked.png", f"val/{PIT}/{ODD}"]]


def test_a_fix_list_gives_names_back(crops: Path, tmp_path: Path) -> None:
    from drupe.data.fixes import Fix, read_fix_list, write_fix_list

    fixes = (Fix("=a.png", "relabel", "@pit", "-1: looks odd"), Fix("'+b.png", "exclude"))
    write_fix_list(tmp_path / "list.csv", fixes)
    assert read_fix_list(tmp_path / "list.csv") == fixes


@pytest.mark.parametrize("name", ["no\x1b[2Jthing", "no\nerror: forged", "no\udcffthing"])
@pytest.mark.parametrize("command", [("data", "audit"), ("threshold",), ("study", "status")])
def test_an_error_is_one_line_whatever_the_name(quick, command: tuple[str, ...], name: str) -> None:
    said = quick(*command, name)
    assert said.code == 2
    assert said.stderr.count("\n") == 1
    assert shows_nothing_to_obey(said.stderr)
