"""From pictures as people have them to decisions: what was certified is what the line runs."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_files import change
from drupe.data.synthetic.generation import synthesise
from drupe.deployment.export import export_run
from drupe.deployment.intake import ChannelOrderWarning
from drupe.deployment.model_card import CARD_FILE
from drupe.deployment.predict import find_images, predict
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from drupe.evaluation.predictions_csv import read_predictions
from drupe.training.config import validate_experiment
from drupe.training.run import train_run

pytestmark = pytest.mark.thorough

REQUEST = Request(min_recall=0.8, confidence=0.8)
BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module", params=["resize", "pad"])
def line(request, tmp_path_factory) -> tuple[Path, Path]:
    """A run on 300 × 200 JPEG crops, its data beside it, and its bundle."""
    folder = tmp_path_factory.mktemp(request.param)
    synthesise(folder / "crops", images=700, size=64, seed=5)
    for path in sorted((folder / "crops").rglob("*.png")):
        with Image.open(path) as image:
            wide = image.resize((300, 200))
        wide.save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    config = validate_experiment(
        {
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64, "range": "imagenet"},
            "data": {"root": str(folder / "crops"), "sizes": request.param},
            "training": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
        },
        "wide",
    )
    train_run(config, folder / "run", folder / "store")
    export_run(folder / "run", folder / "bundle", folder / "store", request=REQUEST, threads=1)
    return folder, folder / "bundle"


def run_scores(folder: Path) -> tuple[list[str], np.ndarray]:
    """The test split's files, and the scores that the run gave them."""
    table = read_predictions(folder / "run" / "predictions" / "test.csv")
    return [str(folder / "crops" / path) for path in table.paths], table.scores


def arrays(paths: list[str]) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in paths]


@pytest.mark.parametrize("backend", BACKENDS)
def test_original_files_get_the_predictions_of_the_run(line, backend) -> None:
    folder, bundle = line
    paths, expected = run_scores(folder)
    classifier = load(bundle, backend=backend, threads=1)
    examined = classifier.examine(paths)
    good = np.array([fault is None for fault in examined.faults])
    assert good.mean() > 0.95
    np.testing.assert_allclose(examined.scores[good], expected[good], atol=1e-5)
    decided = classifier.decide_scores(expected.astype(np.float32))
    assert (examined.decisions[good] == decided[good]).all()
    found = list(predict(classifier, find_images([str(folder / "crops" / "val")])))
    by_path = {one.path: one for one in found}
    assert [by_path[path].decision for path in paths] == examined.decisions.tolist()
    assert not any(one.error and not one.is_unlike for one in found)


def test_arrays_in_either_order_are_the_files(line) -> None:
    folder, bundle = line
    paths, _ = run_scores(folder)
    images = arrays(paths[:40])
    expected = load(bundle, threads=1).examine(paths[:40])
    turned = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    for order, given in (("rgb", images), ("bgr", turned)):
        found = load(bundle, order=order, threads=1).examine(given)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert found.faults == expected.faults


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_that_takes_bgr_sees_the_same(line, tmp_path, backend) -> None:
    folder, bundle = line
    paths, _ = run_scores(folder)
    store = folder / "store"
    export_run(folder / "run", tmp_path / "bgr", store, request=REQUEST, threads=1, channels="bgr")
    document = json.loads((tmp_path / "bgr" / "bundle.json").read_text())
    assert document["input"]["channels"] == "bgr"
    expected = load(bundle, backend=backend, threads=1).examine(paths[:40])
    images = arrays(paths[:40])
    turned = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    for order, given in ((None, paths[:40]), ("rgb", images), ("bgr", turned)):
        found = load(tmp_path / "bgr", backend=backend, order=order, threads=1).examine(given)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        assert found.decisions.tolist() == expected.decisions.tolist()
    card = (tmp_path / "bgr" / CARD_FILE).read_text()
    assert "BGR, 0-255" in card


def test_nobody_said_the_order(line) -> None:
    _, bundle = line
    image = np.zeros((64, 64, 3), np.uint8)
    classifier = load(bundle, threads=1)
    with pytest.warns(ChannelOrderWarning, match='taken as RGB.*order="bgr"'):
        classifier.decide(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.decide(image)  # once is enough
        load(bundle, order="rgb", threads=1).decide(image)
    with pytest.raises(InputError, match='order: must be "rgb", "bgr" or "mono", got \'brg\''):
        load(bundle, order="brg")


def test_a_frame_that_is_no_picture_of_the_line_has_no_score(line) -> None:
    folder, bundle = line
    paths, _ = run_scores(folder)
    good = arrays(paths[:5])
    black, white = np.zeros_like(good[0]), np.full_like(good[0], 255)
    classifier = load(bundle, order="rgb", threads=1)
    assert classifier.decide(white) == "review"
    with pytest.raises(InputError, match=r"image: has no score: (many rows|doesn't look)"):
        classifier.scores(white)
    with pytest.raises(InputError, match="image 5: has no score"):
        classifier.scores([*good, white])
    found = classifier.examine([*good, black, white])
    assert found.decisions[5:].tolist() == ["review", "review"]
    assert np.isnan(found.scores[5:]).all()
    assert np.isfinite(found.scores[:5]).all()
    assert found.decisions[:5].tolist() == classifier.decide(good).tolist()


def test_the_bundle_states_its_contract(line) -> None:
    folder, bundle = line
    document = json.loads((bundle / "bundle.json").read_text())
    given, answer = document["input"], document["output"]
    assert (given["name"], given["size"], given["channels"]) == ("images", 64, "rgb")
    assert given["sizes"] == folder.name.rstrip("0123456789")
    assert given["filter"].startswith("bilinear, antialiased")
    assert given["sees"][0]["range"] == "imagenet"
    assert (answer["name"], answer["accept"]) == ("score", "score < low")
    assert answer["tolerance"]["fp32"] == 1e-4
    assert document["frames"] in document["files"]


def test_bundles_of_schema_1_are_read(line, tmp_path) -> None:
    """They know neither sizes nor channels nor frames."""
    _, bundle = line
    old = shutil.copytree(bundle, tmp_path / "old")
    (old / "frames.json").unlink()
    document = json.loads((old / "bundle.json").read_text())
    files = {name: one for name, one in document["files"].items() if name != "frames.json"}
    kept = {key: document["input"][key] for key in ("size", "dtype", "layout")}
    change(old, schema_version=1, input=kept, files=files, frames=None)
    classifier = load(old, order="rgb", threads=1)
    assert classifier.frames is None
    with pytest.raises(InputError, match=r"must be uint8 \[64, 64, 3\]"):
        classifier.decide(np.zeros((200, 300, 3), np.uint8))
    assert classifier.decide(np.zeros((64, 64, 3), np.uint8)) in ("accept", "review", "reject")
