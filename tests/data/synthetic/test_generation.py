from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from drupe.data.synthetic.generation import TRUTH_FILE, synthesise
from drupe.data.synthetic.truth import CORRUPT_KINDS, Truth
from drupe.errors import InputError

FAULTS = {
    "leaks": 5,
    "duplicates": 6,
    "near_duplicates": 16,
    "contradictions": 4,
    "blanks": 3,
    "corrupt": 5,
}


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.png"))
    }


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("faulty") / "set"
    return folder, synthesise(folder, images=300, seed=7, label_noise=0.05, **FAULTS)


def test_exact_number_of_files_in_the_promised_layout(faulty: tuple[Path, Truth]) -> None:
    folder, truth = faulty
    found = files(folder)
    assert len(found) == truth.images == 300
    cells = Counter(path.rsplit("/", 1)[0] for path in found)
    assert cells == {
        "train/cherry_clean": 121,
        "train/cherry_pit": 104,  # 46 % of 225 is 103.5
        "val/cherry_clean": 41,
        "val/cherry_pit": 34,  # 46 % of 75 is 34.5
    }
    assert sorted(Path(path).name for path in found) == [f"{n:05d}.png" for n in range(300)]
    assert {path.name for path in folder.iterdir()} == {"train", "val", "truth.json"}


def test_crops_are_rgb_png_of_the_size_asked_for(tmp_path: Path) -> None:
    synthesise(tmp_path / "set", images=12, size=64)
    for path in (tmp_path / "set").rglob("*.png"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))


def test_every_fault_is_named_once_and_as_often_as_asked(faulty: tuple[Path, Truth]) -> None:
    _, truth = faulty
    assert {fault: len(getattr(truth, fault)) for fault in FAULTS} == FAULTS
    assert len(truth.label_noise) == 15
    named = [
        *truth.label_noise,
        *truth.blanks,
        *(path for path, _ in truth.corrupt),
        *(path for pair in (*truth.leaks, *truth.duplicates) for path in pair),
        *(path for pair in truth.contradictions for path in pair),
        *(path for pair in truth.near_duplicates for path in pair[:2]),
    ]
    assert len(named) == len(set(named))


def test_identical_files_are_the_named_pairs_and_no_others(faulty: tuple[Path, Truth]) -> None:
    folder, truth = faulty
    same: dict[str, set[str]] = {}
    for path, content in files(folder).items():
        same.setdefault(hashlib.sha256(content).hexdigest(), set()).add(path)
    found = {frozenset(group) for group in same.values() if len(group) > 1}
    pairs = (*truth.leaks, *truth.duplicates, *truth.contradictions)
    assert found == {frozenset(pair) for pair in pairs}
    for train, val in truth.leaks:
        assert train.split("/")[0] == "train"
        assert val.split("/")[0] == "val"
        assert train.split("/")[1] == val.split("/")[1]
    for one, other in truth.duplicates:
        assert Path(one).parent == Path(other).parent
    for one, other in truth.contradictions:
        assert one.split("/")[0] == other.split("/")[0]
        assert one.split("/")[1] != other.split("/")[1]


def test_near_duplicates_show_the_original_turned_and_hardly_changed(
    faulty: tuple[Path, Truth],
) -> None:
    folder, truth = faulty
    assert len({turn for _, _, turn in truth.near_duplicates}) > 3
    for original, copy, turn in truth.near_duplicates:
        assert Path(original).parent == Path(copy).parent
        image, changed = pixels(folder / original), pixels(folder / copy)
        assert not np.array_equal(image, changed)
        # Independent of the code under test: Pillow does the turning.
        expected = Image.fromarray(image.astype(np.uint8))
        if "flip" in turn:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if "rot" in turn:
            expected = expected.rotate(int(turn.rsplit("rot", 1)[1]))
        shifts = [-2, -1, 1, 2]
        best = max(
            np.corrcoef(np.roll(expected, (dy, dx), (0, 1)).ravel(), changed.ravel())[0, 1]
            for dy in shifts
            for dx in shifts
        )
        assert best > 0.99, (original, copy, turn)


def test_blanks_and_corrupt_files(faulty: tuple[Path, Truth]) -> None:
    folder, truth = faulty
    for path in truth.blanks:
        assert pixels(folder / path).max() <= 2
    assert {kind for _, kind in truth.corrupt} == set(CORRUPT_KINDS)
    broken = {path for path, _ in truth.corrupt}
    for path, kind in truth.corrupt:
        content = (folder / path).read_bytes()
        assert (kind == "empty") == (content == b"")
        assert (kind == "truncated") == content.startswith(b"\x89PNG")
        with pytest.raises((OSError, UnidentifiedImageError, SyntaxError)):
            pixels(folder / path)
    for path in set(files(folder)) - broken - set(truth.blanks):
        assert pixels(folder / path).max() > 50


def test_label_noise_moves_files_and_leaves_the_pixels(tmp_path: Path) -> None:
    noisy = synthesise(tmp_path / "noisy", images=400, label_noise=0.4, val_share=0.5)
    folder = tmp_path / "noisy"
    middle = {
        path: (lambda crop: (crop[56:72, 56:72, 0] - crop[56:72, 56:72, 2]).mean())(
            pixels(folder / path)
        )
        for path in files(folder)
    }
    flipped = set(noisy.label_noise)
    assert len(flipped) == 160
    wrong_pits = [value for path, value in middle.items() if "pit" in path and path in flipped]
    right_pits = [value for path, value in middle.items() if "pit" in path and path not in flipped]
    assert np.median(right_pits) > np.median(wrong_pits) + 30


def test_lookalikes_are_spotted_clean_fruits_and_faint_pits(tmp_path: Path) -> None:
    wanted = {"images": 400, "label_noise": 0.4, "val_share": 0.5}
    sets = {
        kind: synthesise(tmp_path / kind, **wanted, label_noise_kind=kind)
        for kind in ("random", "lookalike")
    }
    assert sets["random"].label_noise == sets["lookalike"].label_noise
    assert Truth.read(tmp_path / "lookalike" / TRUTH_FILE).label_noise_kind == "lookalike"

    def redness(kind: str, label: str) -> float:
        wrong = [path for path in sets[kind].label_noise if label in path]
        middle = [pixels(tmp_path / kind / path)[56:72, 56:72].astype(float) for path in wrong]
        return float(np.mean([(crop[..., 0] - crop[..., 2]).mean() for crop in middle]))

    assert redness("lookalike", "clean") < redness("random", "clean") - 20  # they show pits
    assert redness("lookalike", "pit") > redness("random", "pit") + 10  # they show clean fruits
    with pytest.raises(InputError, match="lookalike needs the one type of defect"):
        synthesise(tmp_path / "typed", types=2, label_noise_kind="lookalike")


def test_bytes_depend_on_the_arguments_alone(tmp_path: Path, faulty: tuple[Path, Truth]) -> None:
    folder, truth = faulty
    again = synthesise(
        tmp_path / "again", images=300, seed=7, label_noise=0.05, workers=1, **FAULTS
    )
    assert again == truth
    assert files(tmp_path / "again") == files(folder)
    assert (tmp_path / "again" / TRUTH_FILE).read_bytes() == (folder / TRUTH_FILE).read_bytes()
    synthesise(tmp_path / "other", images=300, seed=8)
    assert not set(files(tmp_path / "other").values()) & set(files(folder).values())


def test_truth_survives_json(faulty: tuple[Path, Truth]) -> None:
    folder, truth = faulty
    assert Truth.from_json(json.loads(json.dumps(truth.to_json()))) == truth
    assert Truth.read(folder / TRUTH_FILE) == truth
    assert truth.to_json() == json.loads((folder / TRUTH_FILE).read_text())


@pytest.mark.parametrize("document", [[], {"images": 3}, {"colour": "red"}])
def test_a_foreign_truth_is_refused(tmp_path: Path, document: object) -> None:
    path = tmp_path / TRUTH_FILE
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="truth of a synthetic set"):
        Truth.read(path)


def test_a_complete_set_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    first = synthesise(folder, images=20, size=32)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert synthesise(folder, images=20, size=32) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before


def test_a_set_of_other_arguments_is_refused(tmp_path: Path) -> None:
    synthesise(tmp_path / "set", images=20, size=32)
    with pytest.raises(InputError, match="other arguments"):
        synthesise(tmp_path / "set", images=20, size=32, seed=1)


def test_a_damaged_set_is_made_whole(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    synthesise(folder, images=20, size=32)
    whole = files(folder)
    next(folder.rglob("*.png")).unlink()
    synthesise(folder, images=20, size=32)
    assert files(folder) == whole


def test_an_interrupted_run_is_finished_by_the_same_call(tmp_path: Path) -> None:
    @contextmanager
    def interrupting(what: str, total: int, unit: str):
        class Tracker:
            def advance(self, units: int = 1, note: str = "") -> None:
                raise KeyboardInterrupt

        yield Tracker()

    folder = tmp_path / "set"
    with pytest.raises(KeyboardInterrupt):
        synthesise(folder, images=400, size=32, leaks=3, progress=interrupting)
    assert files(folder)
    assert not (folder / TRUTH_FILE).exists()
    with pytest.raises(InputError, match="other arguments"):
        synthesise(folder, images=300, size=32)
    synthesise(folder, images=400, size=32, leaks=3)
    synthesise(tmp_path / "straight", images=400, size=32, leaks=3)
    assert files(folder) == files(tmp_path / "straight")
    assert {path.name for path in folder.iterdir()} == {"train", "val", "truth.json"}


def test_progress_counts_every_file(tmp_path: Path) -> None:
    counted = []

    @contextmanager
    def counting(what: str, total: int, unit: str):
        class Tracker:
            def advance(self, units: int = 1, note: str = "") -> None:
                counted.append(units)

        assert (what, total, unit) == ("synthesise", 150, "images")
        yield Tracker()

    synthesise(tmp_path / "set", images=150, size=32, leaks=3, near_duplicates=4, progress=counting)
    assert sum(counted) == 150


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"must be absent or empty"):
        synthesise(tmp_path, images=20)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("")
    with pytest.raises(InputError, match="must be a folder, got a file"):
        synthesise(tmp_path / "set", images=20)
    with pytest.raises(InputError, match="can't write"):
        synthesise(tmp_path / "set" / "below", images=20)


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        synthesise(
            tmp_path / "set", images=3, size=8, seed=-1, label_noise=0.7, leaks=-2, val_share=1.0
        )
    assert caught.value.problems == (
        "images: must be in [8, 10000000], got 3",
        "size: must be in [32, 1024], got 8",
        "seed: must be in [0, 9223372036854775807], got -1",
        "label_noise: must be in [0, 0.5], got 0.7",
        "val_share: must be in [0.05, 0.95], got 1.0",
        "leaks: must be in [0, 10000000], got -2",
    )
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"leaks": 30}, "images: must be at least 60 for these faults, got 40"),
        ({"corrupt": 30, "label_noise": 0.5}, "images: must be at least 50 for these faults"),
        ({"leaks": 15}, "left for leaks"),  # val holds 10 files
        ({"leaks": 10, "duplicates": 12}, "images: must be at least 44"),
    ],
)
def test_too_few_images_for_the_faults(
    tmp_path: Path, faults: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        synthesise(tmp_path / "set", images=40, **faults)
    assert message in str(caught.value)
    assert not (tmp_path / "set").exists()
