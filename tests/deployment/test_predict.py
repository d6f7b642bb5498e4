from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from drupe.deployment.bench import bench
from drupe.deployment.predict import find_images, predict
from drupe.deployment.runtime import load
from drupe.errors import InputError


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


def test_bundles_are_timed_in_turns(classifier) -> None:
    first, second = bench({"a": classifier, "b": classifier}, samples=60)
    assert (first.name, second.name) == ("a", "b")
    document = first.to_json()
    assert document["samples"] == 60
    assert document["p50_ms"] <= document["p90_ms"] <= document["p95_ms"] <= document["p99_ms"]
    assert np.median(first.milliseconds) == pytest.approx(document["p50_ms"])
