"""Tables and several folders on the command line, from the audit to the line's decisions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from drupe.data.synthetic.generation import synthesise

EASY = ("--min-recall", "0.5", "--confidence", "0.6")
TINY = (
    *("model.architecture=test_resnet", "model.pretrained=false", "input.size=64"),
    *("training.epochs=1", "training.batch_size=16", "training.threads=1"),
    "training.precision=fp32",
)


def rows(folder: Path, split: bool = True) -> Iterator[str]:
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder).as_posix()
        part, label, _ = name.split("/")
        yield f"{name};{label};{part}" if split else f"{name};{label}"


def table(folder: Path, name: str = "labels.csv") -> Path:
    (folder / name).write_text("\n".join(["path;label;split", *rows(folder)]) + "\n")
    return folder / name


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sets ``week46``, ``week47`` and ``fresh``, each with a table."""
    folder = tmp_path_factory.mktemp("crops")
    for number, (name, images) in enumerate({"week46": 120, "week47": 60, "fresh": 60}.items()):
        synthesise(folder / name, images=images, size=64, seed=20 + number)
        table(folder / name)
    return folder


def train(drupe, tmp_path: Path, *words: str | Path):
    (tmp_path / "tiny.yaml").write_text("model: {architecture: test_resnet}\n")
    return drupe("train", "tiny.yaml", *TINY, "--out", "run", "--store", "store", *words)


@pytest.mark.thorough
def test_a_table_from_the_audit_to_the_line(drupe, crops: Path, tmp_path: Path) -> None:
    week46 = shutil.copytree(crops / "week46", tmp_path / "week46")
    named = week46 / "labels.csv"
    first = next(rows(week46)).split(";")[0]
    (tmp_path / "fix.csv").write_text(f"path,action,value\n{first},exclude,\n")
    audited = drupe("data", "audit", named, "--apply", "fix.csv", "--store", "store", "--json")
    assert audited.code == 0, audited.stderr
    document = json.loads(audited.stdout)
    assert document["root"] == str(named)
    assert document["images"] == 119
    assert [one["names"] for one in document["passed_over"]] == [["truth.json"]]

    trained = train(drupe, tmp_path, "--data", named, "--json")
    assert trained.code == 0, trained.stderr
    assert json.loads(trained.stdout)["fixes"]["excluded"] == 1
    week46.rename(tmp_path / "moved")
    lost = drupe("evaluate", "run", "--store", "store")
    assert lost.code == 2
    assert f"{named}: must be the table that run was trained from, got no such table" in lost.stderr
    found = ("--data", tmp_path / "moved/labels.csv", "--store", "store", "--json")
    (tmp_path / "moved" / "notes.txt").touch()
    again = drupe("evaluate", "run", *found)
    assert again.code == 0, again.stderr
    assert "2 files were not taken:\n  no images, by their suffix: 2 (notes.txt" in again.stderr
    assert json.loads(again.stdout)["passed_over"][0]["files"] == 2

    fresh = (crops / "fresh" / "labels.csv", "--run-data", tmp_path / "moved/labels.csv")
    certified = drupe(*("threshold", "run", "--data", *fresh, *EASY, "--store", "store", "--json"))
    assert certified.code == 0, certified.stderr
    assert f"{fresh[0]}: 1 file was not taken" in certified.stderr
    exported = drupe("export", "run", "b", "--data", *fresh, *EASY, "--store", "store")
    assert exported.code == 0, exported.stderr
    assert f"{fresh[0]}: 1 file was not taken" in exported.stderr
    decided = drupe("predict", "b", crops / "fresh" / "labels.csv", "--json")
    assert json.loads(decided.stdout)["images"] == 60


@pytest.mark.thorough
def test_several_folders_are_one_dataset(drupe, crops: Path, tmp_path: Path) -> None:
    both = (crops / "week46", crops / "week47" / "labels.csv")
    audited = drupe("data", "audit", *both, "--store", "store", "--json")
    assert audited.code == 0, audited.stderr
    assert json.loads(audited.stdout)["images"] == 180
    trained = train(drupe, tmp_path, "--data", both[0], "--data", both[1], "--json")
    assert trained.code == 0, trained.stderr
    predictions = (tmp_path / "run/predictions/test.csv").read_text()
    assert "\nweek46/val/" in predictions
    assert "\nweek47/val/" in predictions

    moved = [
        shutil.copytree(crops / name, tmp_path / "there" / name) for name in ("week46", "week47")
    ]
    words = [word for folder in moved for word in ("--data", folder)]
    again = drupe("evaluate", "run", *words, "--store", "store", "--json")
    assert again.code == 0, again.stderr
    one = drupe("evaluate", "run", "--data", moved[0], "--store", "store")
    assert one.code == 2
    assert "must be the data of the run" in one.stderr
    (moved[0] / "train/cherry_pit/more.png").write_bytes(
        next((crops / "fresh/train/cherry_pit").iterdir()).read_bytes()
    )
    more = drupe("train", "tiny.yaml", *TINY, *words, "--out", "more", "--store", "store")
    assert more.code == 0, more.stderr
    assert "Since " not in more.stdout  # other folders: the store knows no run of them
    resumed = train(drupe, tmp_path, "--data", both[1], "--data", both[0], "--resume")
    assert resumed.code == 0, resumed.stderr
    assert "Done before" in resumed.stdout


def test_a_wrong_table_is_exit_code_2(drupe, crops: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("path,label\nnowhere.png,pit\nagain.png,\n")
    for words in (("data", "audit", "bad.csv"), ("train", "fast", "--data", "bad.csv")):
        result = drupe(*words, "--store", "store")
        assert result.code == 2
        assert "bad.csv, line 3: label: must not be empty" in result.stderr


def test_a_run_says_what_has_joined_since(drupe, crops: Path, tmp_path: Path) -> None:
    week46 = shutil.copytree(crops / "week46", tmp_path / "week46")
    assert train(drupe, tmp_path, "--data", week46).code == 0
    for number, path in enumerate((crops / "week47/train/cherry_pit").iterdir()):
        shutil.copy(path, week46 / f"train/cherry_pit/week47-{number}.png")
    words = ("train", "tiny.yaml", *TINY, "--data", week46, "--out", "more", "--store", "store")
    said = drupe(*words, columns=200)
    assert said.code == 0, said.stderr
    joined = f"{tmp_path / 'run'}: {number + 1} items have joined, 0 have left, 0 are relabelled, "
    assert f"Since {joined}0 are on another side." in " ".join(said.stdout.split())
    document = json.loads(drupe(*words, "--resume", "--json").stdout)
    assert document["changes"] == {
        "run": str(tmp_path / "run"),
        "joined": number + 1,
        "left": 0,
        "relabelled": 0,
        "moved": 0,
    }
