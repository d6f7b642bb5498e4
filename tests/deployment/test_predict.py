from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drupe.deployment.drift import DriftMonitor
from drupe.deployment.predict import AHEAD, BATCH, find_images, predict
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions


@pytest.fixture(scope="module")
def classifier(bundle):
    return load(bundle, backend="onnxruntime", threads=1)


@pytest.fixture
def folder(tmp_path, crops):
    for number in range(100):
        Image.fromarray(np.roll(crops[number % 5], number, axis=0)).save(
            tmp_path / f"{number:03}.png"
        )
    return tmp_path


def test_files_folders_and_globs(folder) -> None:
    (folder / "notes.txt").write_text("no image")
    everything = find_images([str(folder)])
    assert len(everything) == 100
    assert everything == sorted(everything)
    assert find_images([str(folder / "00*.png"), str(folder / "003.png")]) == everything[:10]
    with pytest.raises(InputError) as caught:
        find_images([str(folder / "x*.png"), str(folder / "absent.png")])
    assert len(caught.value.problems) == 2


def test_a_table_names_files_and_those_that_are_gone_are_kept(folder) -> None:
    first = find_images([str(folder)])[0]
    name = Path(first).name
    lines = ["path,label", f"{name},ok", f"./{name},pit", "gone.png,pit"]
    (folder / "labels.csv").write_text("\n".join(lines))
    table = str(folder / "labels.csv")
    assert find_images([table]) == [str(folder / name), str(folder / "gone.png")]
    assert find_images(["-"], [table]) == find_images([table])
    (folder / "labels.csv").write_text("file\n")
    with pytest.raises(InputError, match=r"labels\.csv: must have the columns path; path missing"):
        find_images([table])


def test_a_list_may_name_what_has_vanished_since(folder) -> None:
    gone = str(folder / "00[1].png")  # as a pattern it would be another image
    lines = [f"{folder / '001.png'}\n", "\n", f"{gone}\n", "a\0b\n", f"{folder}\n"]
    found = find_images([str(folder / "000.png"), "-"], lines)
    assert found[:4] == [str(folder / "000.png"), str(folder / "001.png"), gone, "a\0b"]
    assert len(found) == 102
    (folder / "empty").mkdir()
    assert find_images(["-"], [str(folder / "empty")]) == []
    for name in ("", str(folder / "empty"), "absent", "x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="must name images, got none there"):
            find_images([name])


def test_a_folder_that_can_not_be_listed_is_named(folder, monkeypatch) -> None:
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # root may list any
    with pytest.raises(
        InputError, match=r"closed: must be a readable folder, got permission denied"
    ):
        find_images([str(folder)])


def test_decisions_in_order_as_if_one_by_one(classifier, folder) -> None:
    files = find_images([str(folder)])
    found = list(predict(classifier, files))
    assert [one.path for one in found] == files
    for one in found[::17]:
        assert one.score == pytest.approx(classifier.scores(one.path), abs=1e-6)
        assert one.decision == classifier.decide(one.path)


def test_what_cannot_be_read_is_reviewed(classifier, folder) -> None:
    (folder / "010.png").write_bytes(b"not an image")
    Image.new("RGB", (32, 32)).save(folder / "011.png")
    (folder / "012.png").unlink()
    files = [str(folder / f"{number:03}.png") for number in range(20)]
    found = list(predict(classifier, files))
    assert [one.path for one in found] == files
    bad = {one.path[-7:]: one for one in found if one.error}
    assert sorted(bad) == ["010.png", "011.png", "012.png"]
    assert {one.decision for one in bad.values()} == {"review"}
    assert {one.score for one in bad.values()} == {None}
    assert bad["011.png"].error == "must be 64 x 64 pixels, got 32 x 32"


def test_a_batch_without_a_readable_image(classifier, tmp_path) -> None:
    found = list(predict(classifier, [str(tmp_path / f"{n}.png") for n in range(40)]))
    assert {one.decision for one in found} == {"review"}


def test_any_number_of_workers_keeps_the_order(classifier, folder) -> None:
    files = find_images([str(folder)]) * 3
    expected = [(one.path, one.decision) for one in predict(classifier, files, workers=1)]
    for workers in (2, 5):
        found = list(predict(classifier, files, workers=workers))
        assert [(one.path, one.decision) for one in found] == expected


def test_only_so_many_files_are_read_ahead(classifier, folder) -> None:
    taken = 0

    def endless():
        nonlocal taken
        for file in itertools.cycle(find_images([str(folder)])):
            taken += 1
            yield file

    decisions = predict(classifier, endless(), workers=2)
    for done, _ in enumerate(itertools.islice(decisions, 500), start=1):
        assert taken <= done + BATCH * (2 * AHEAD + 1)
    decisions.close()


def test_a_fault_in_the_network_ends_it(classifier, folder, monkeypatch) -> None:
    class Broken:
        def outputs(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
            return (np.full(len(images), np.nan, np.float32),)

    monkeypatch.setattr(classifier, "_session", Broken())
    with pytest.raises(InputError, match="got nan from the graph"):
        list(predict(classifier, find_images([str(folder)])))


def test_the_monitor_sees_every_score_that_there_is(classifier, folder) -> None:
    (folder / "010.png").write_bytes(b"not an image")
    monitor = DriftMonitor(classifier.calibration)
    list(predict(classifier, find_images([str(folder)]), monitor=monitor))
    assert monitor.images == 99


def test_the_bundle_holds_each_functions_calibration_scores(deployed) -> None:
    run, _, bundle = deployed
    table = read_predictions(run / "predictions" / "calibration.csv")
    for backend in ("onnxruntime", "openvino"):
        found = load(bundle, backend=backend, threads=1).calibration
        assert found is not None
        for scores, of_class in (
            (found.clean, table.scores[~table.is_defect]),
            (found.defect, table.scores[table.is_defect]),
        ):
            np.testing.assert_allclose(scores, np.sort(of_class), atol=1e-4)


def test_a_pattern_that_no_file_system_takes_names_nothing(monkeypatch) -> None:
    def refusing(*_: object, **__: object) -> list[str]:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr("glob.glob", refusing)
    with pytest.raises(InputError, match=r"\*: must name images, got none there"):
        find_images(["*"])
