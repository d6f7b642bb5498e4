from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drupe.cli import audit as audit_module
from drupe.data.audit import audit
from drupe.data.fixes import Fixes, write_fix_list
from drupe.data.synthetic.generation import synthesise


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faulty") / "cherries"
    synthesise(folder, images=60, seed=3, leaks=2, duplicates=8, blanks=1, corrupt=1)
    return folder


def test_synth_says_what_it_made(drupe, tmp_path: Path) -> None:
    result = drupe("data", "synth", "crops", "--images", 40, "--size", 32, "--leaks", 2)
    assert result.code == 0, result.stderr
    assert "crops: 40 images of 32 × 32 pixels" in result.stdout
    assert ["leaks", "2"] in [line.split() for line in result.stdout.splitlines()]
    assert len(json.loads((tmp_path / "crops" / "truth.json").read_text())["leaks"]) == 2


def test_synth_prints_its_truth_as_json(drupe, tmp_path: Path) -> None:
    result = drupe("data", "synth", "crops", "--images", 40, "--size", 32, "--blanks", 1, "--json")
    document = json.loads(result.stdout)
    assert document.pop("folder") == "crops"
    assert document == json.loads((tmp_path / "crops" / "truth.json").read_text())


def test_wrong_input_is_one_message_on_stderr_even_with_json(drupe) -> None:
    result = drupe("data", "synth", "crops", "--leaks", -1, "--label-noise", 3, "--json")
    assert result.code == 2
    assert result.stdout == ""
    assert result.stderr.count("error: ") == 2


def test_an_audit_that_finds_errors_is_complete_and_exits_with_1(drupe, faulty: Path) -> None:
    result = drupe("data", "audit", faulty, "--json", "--fix-list", "fixes.csv")
    assert result.code == 1, result.stderr
    document = json.loads(result.stdout)
    assert document["images"] == 60
    assert document["unreadable"] == 1
    assert document["cross_split_duplicate_pairs"] == 2
    assert "fixes.csv" in result.stderr


def test_applied_fixes_end_the_errors(drupe, faulty: Path, tmp_path: Path) -> None:
    proposals = audit(faulty, store=tmp_path / "other").proposed_fixes()
    write_fix_list(tmp_path / "fixes.csv", proposals)
    fixed = drupe("data", "audit", faulty, "--apply", "fixes.csv")
    assert fixed.code == 0, fixed.stdout
    assert "fixes honoured:" in fixed.stdout
    assert "No errors." in fixed.stdout
    assert len([path for path in faulty.rglob("*.png")]) == 60


def test_an_audit_is_readable(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = audit(faulty, store=tmp_path).to_json()
    audit_module.print_audit(document)
    printed = capsys.readouterr().out
    assert f"{faulty}: 60 images" in printed
    assert "cherry_pit (defect)" in printed
    assert "input.crop: auto would use" in printed
    assert printed.index("Warnings") < printed.index("Errors"), "what matters ends on screen"
    assert "pairs of identical files across train and val: 2" in printed
    assert "pairs of identical files in all: 10" in printed
    assert "    … and 5 more in --json" in printed


def test_an_audit_fits_a_terminal_and_identical_files_are_no_near_duplicates(
    drupe, faulty: Path, tmp_path: Path
) -> None:
    document = audit(faulty, store=tmp_path).to_json()
    assert document["largest_group"]["images"] == 1
    printed = drupe("data", "audit", faulty).stdout
    assert "largest group of near duplicates" not in printed
    lines = printed.splitlines()
    content = next(place for place, line in enumerate(lines) if line.startswith("content:"))
    assert "keep" in lines[content + 1]
    assert max(map(len, lines[content : content + 2])) <= 80


def test_a_missing_folder_is_named(drupe) -> None:
    result = drupe("data", "audit", "nowhere")
    assert result.code == 2
    assert "nowhere" in result.stderr


def test_fetch_without_a_source_in_reach_says_so(drupe, tmp_path: Path) -> None:
    result = drupe("data", "fetch", "cherries", "--source", tmp_path / "no", "--revision", "0" * 40)
    assert result.code == 2
    assert "could not be fetched" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fix_list_that_cannot_be_written_is_found_out_first(
    drupe, faulty: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = drupe("data", "audit", faulty, "--fix-list", "file/fixes.csv", "--store", "store")
    assert result.code == 2
    assert "file/fixes.csv: Not a directory" in result.stderr
    assert not (tmp_path / "store").exists()


def test_an_audit_has_a_page_and_still_its_answer(quick, faulty: Path, tmp_path: Path) -> None:
    said = quick("data", "audit", faulty, "--html", "out/audit.html", "--json")
    assert said.code == 1
    assert json.loads(said.stdout)["images"] == 60
    assert re.search(r"^page: out/audit\.html \(0\.\d MB\)$", said.stderr, re.MULTILINE)
    page = (tmp_path / "out/audit.html").read_text(encoding="utf-8")
    assert "Pairs of identical files across train and val: 2" in page


def test_a_page_that_cannot_be_made_is_found_out_first(drupe, faulty: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unwritable = drupe("data", "audit", faulty, "--html", "file/a.html", "--store", "store")
    assert (unwritable.code, "file/a.html: Not a directory" in unwritable.stderr) == (2, True)
    lacking = drupe("data", "audit", faulty, "--html", "a.html", blocked=("plotly",))
    assert (lacking.code, "pip install 'drupe[train]'" in lacking.stderr) == (2, True)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "drupe-store").exists()


def test_images_that_look_alike_are_a_hint_and_no_error(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = audit(faulty, store=tmp_path).to_json()
    pair = {"first": "a.png", "second": "b.png", "same_class": True, "correlation": 0.5}
    document["findings"]["alike"] = [pair]
    audit_module.print_audit(document)
    printed = capsys.readouterr().out
    assert "Hints: a person has to look at these" in printed
    assert "pairs that look alike but are no copies" in printed
    assert printed.index("a.png ~ b.png") < printed.index("Warnings")


def test_fixes_that_spoil_a_set_are_errors(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {path.relative_to(faulty).as_posix() for path in faulty.glob("val/cherry_pit/*")}
    fixes = Fixes(frozenset(paths), {"gone.png": "cherry_pit"})
    audit_module.print_audit(audit(faulty, store=tmp_path, fixes=fixes).to_json())
    errors = capsys.readouterr().out.partition("Errors")[2]
    assert "fixes that can't be honoured (correct the list and --apply it): 1" in errors
    assert "gone.png: must be an image of the dataset, got no such image" in errors
    assert "classes without an image: 1\n    val/cherry_pit" in errors


def test_fixes_add_up_are_listed_and_taken_back(drupe, tmp_path: Path) -> None:
    drupe("data", "synth", "crops", "--images", 40, "--size", 32)
    one, two = sorted((tmp_path / "crops/train/cherry_clean").iterdir())[:2]
    lists = {"one": f"{one.name},exclude,,blurred", "two": f"{two.name},relabel,cherry_pit,seen"}
    for name, line in lists.items():
        text = f"path,action,value,reason\ntrain/cherry_clean/{line}\n"
        (tmp_path / f"{name}.csv").write_text(text)
    drupe("data", "audit", "crops", "--apply", "one.csv")
    second = drupe("data", "audit", "crops", "--apply", "two.csv")
    assert "fixes: 1 new, 1 earlier ones kept" in second.stderr
    listed = drupe("data", "fixes", "crops").stdout
    assert "crops: 1 pictures excluded, 1 relabelled" in listed
    assert f"exclude  train/cherry_clean/{one.name}: blurred" in listed
    one.rename(one.with_name("elsewhere.png"))
    two.unlink()
    document = json.loads(drupe("data", "fixes", "crops", "--json").stdout)
    [honoured], [unmatched] = document["honoured"], document["unmatched"]
    assert honoured["path"] == "train/cherry_clean/elsewhere.png"
    assert honoured["applied_to"] == f"train/cherry_clean/{one.name}"
    assert (unmatched["value"], unmatched["reason"]) == ("cherry_pit", "seen")
    assert f"(applied as train/cherry_clean/{one.name})" in drupe("data", "fixes", "crops").stdout
    third = drupe("data", "audit", "crops", "--apply", "one.csv")
    assert third.code == 2
    assert "got no such image" in third.stderr
    cleared = drupe("data", "fixes", "crops", "--clear")
    assert cleared.stdout == "crops: 2 fixes taken back\n"
    assert json.loads(drupe("data", "fixes", "crops", "--json").stdout)["honoured"] == []


def test_replacing_is_asked_for_and_said(drupe, tmp_path: Path) -> None:
    drupe("data", "synth", "crops", "--images", 40, "--size", 32)
    alone = drupe("data", "audit", "crops", "--replace")
    assert alone.code == 2
    assert "--replace: needs --apply FILE" in alone.stderr
    first = sorted((tmp_path / "crops/train/cherry_clean").iterdir())[0].name
    (tmp_path / "one.csv").write_text(f"path,action,value\ntrain/cherry_clean/{first},exclude,\n")
    (tmp_path / "none.csv").write_text("path,action,value\n")
    drupe("data", "audit", "crops", "--apply", "one.csv")
    replaced = drupe("data", "audit", "crops", "--apply", "none.csv", "--replace")
    assert "fixes: 1 earlier ones taken back" in replaced.stderr


def test_a_fix_list_of_one_week_is_refused_for_the_next(drupe, tmp_path: Path) -> None:
    drupe("data", "synth", "week-46", "--images", 40, "--size", 32, "--blanks", 2)
    drupe("data", "synth", "week-47", "--images", 40, "--size", 32, "--blanks", 2, "--seed", 1)
    drupe("data", "audit", "week-46", "--fix-list", "fixes.csv")
    assert drupe("data", "audit", "week-46", "--apply", "fixes.csv").code == 0
    result = drupe("data", "audit", "week-47", "--apply", "fixes.csv")
    assert result.code == 2
    assert "must be the picture that the list was made for" in result.stderr
