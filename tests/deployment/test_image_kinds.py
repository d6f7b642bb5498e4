"""Pictures that aren't square bytes in three colours, from their files to the line's decisions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_files import change
from drupe.data.synthetic.generation import synthesise
from drupe.deployment.backends import runs_here
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.export import export_run
from drupe.deployment.model_card import CARD_FILE
from drupe.deployment.predict import find_images, predict
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from drupe.evaluation.predictions_csv import read_predictions
from drupe.training.config import ExperimentConfig, validate_experiment
from drupe.training.run import train_run

pytestmark = pytest.mark.thorough

REQUEST = Request(min_recall=0.8, confidence=0.8)
BACKENDS = ("onnxruntime", "openvino")
WHITE = 4095
WIDTH, HEIGHT = 300, 200
TYPES = ("pit", "split", "stem")
COMPUTES_BF16 = runs_here("openvino", "bf16")

Rewrite = Callable[[Path], None]


def as_deep_tiff(path: Path) -> None:
    """Twelve bits in sixteen, the lowest four of them noise that 8 bits can't hold."""
    with Image.open(path) as image:
        grey = np.asarray(image.resize((WIDTH, HEIGHT))).max(-1).astype(np.uint16)
    random = np.random.default_rng(int(grey.sum()))
    deep = 16 * grey + random.integers(0, 16, grey.shape, dtype=np.uint16)
    Image.fromarray(deep).save(path.with_suffix(".tif"))


def as_grey_png(path: Path) -> None:
    with Image.open(path) as image:
        grey = Image.fromarray(np.asarray(image).max(-1))
    grey.save(path.with_name(f"grey-{path.name}"))


def as_wide_jpeg(path: Path) -> None:
    with Image.open(path) as image:
        image.resize((WIDTH, HEIGHT)).save(path.with_suffix(".jpg"), quality=90)


@dataclass(frozen=True)
class Kind:
    """Pictures of one kind: how a PNG becomes one, and what a configuration says of it."""

    name: str
    rewrite: Rewrite
    input: dict
    order: str
    shape: tuple[int, ...]
    dtype: str
    augmentation: dict
    data: dict

    def experiment(self, folder: Path, **training: object) -> ExperimentConfig:
        """Return the experiment on the pictures in ``folder``."""
        training = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3, "threads": 1, **training}
        document = {
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": self.input,
            "augmentation": self.augmentation,
            "data": {"root": str(folder), **self.data},
            "training": training,
        }
        return validate_experiment(document, self.name)


KINDS = (
    Kind(
        "deep",
        as_deep_tiff,
        {
            "size": [HEIGHT, WIDTH],
            "channels": "mono",
            "white_level": WHITE,
            "range": "imagenet",
            "resolution": [64, 96],
        },
        "mono",
        (HEIGHT, WIDTH),
        "uint16",
        {},
        {"classes": {"good": ["clean"], "defect": list(TYPES)}},
    ),
    Kind(
        "mono",
        as_grey_png,
        {"size": 64, "channels": "mono", "range": "raw", "crop": 48, "views": 8},
        "mono",
        (64, 64),
        "uint8",
        {},
        {"classes": {"good": ["clean"], "defect": list(TYPES)}},
    ),
    Kind(
        "wide",
        as_wide_jpeg,
        {
            "size": [HEIGHT, WIDTH],
            "range": "unit",
            "crop": [192, 288],
            "resolution": [64, 96],
            "views": 4,
        },
        "rgb",
        (HEIGHT, WIDTH, 3),
        "uint8",
        {"rotation": 20},
        {"good": ["clean"]},
    ),
)


@dataclass(frozen=True)
class Line:
    """A run on pictures of one kind in ``folder``, and its bundle."""

    folder: Path
    kind: Kind

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def scores(self) -> tuple[list[str], np.ndarray]:
        """The test split's files, and the scores that the run gave them."""
        table = read_predictions(self.folder / "run" / "predictions" / "test.csv")
        return [str(self.folder / "crops" / path) for path in table.paths], table.scores

    def arrays(self, paths: list[str]) -> list[np.ndarray]:
        """The pictures as a camera would hand them over, in the kind's order."""
        return [np.asarray(Image.open(path)) for path in paths]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def line(request, tmp_path_factory) -> Line:
    kind: Kind = request.param
    folder = tmp_path_factory.mktemp(kind.name)
    synthesise(folder / "crops", images=700, size=64, seed=5, types=len(TYPES))
    for path in sorted((folder / "crops").rglob("*.png")):
        kind.rewrite(path)
        path.unlink()
    config = kind.experiment(folder / "crops")
    train_run(config, folder / "run", folder / "store")
    export_run(folder / "run", folder / "bundle", folder / "store", request=REQUEST, threads=1)
    return Line(folder, kind)


@pytest.mark.parametrize("backend", BACKENDS)
def test_original_files_get_the_predictions_of_the_run(line, backend) -> None:
    paths, expected = line.scores()
    classifier = load(line.bundle, backend=backend, threads=1, order=line.kind.order)
    assert classifier.is_certified
    examined = classifier.examine(paths)
    good = np.array([fault is None for fault in examined.faults])
    assert good.mean() > 0.95
    np.testing.assert_allclose(examined.scores[good], expected[good], atol=1e-5)
    assert np.ptp(expected) > 0.02, "scores that all agree would prove nothing"
    decided = classifier.decide_scores(expected.astype(np.float32))
    assert (examined.decisions[good] == decided[good]).all()
    found = predict(classifier, find_images([str(line.folder / "crops" / "val")]))
    by_path = {one.path: one for one in found}
    assert [by_path[path].decision for path in paths] == examined.decisions.tolist()
    assert not any(one.error and not one.is_unlike for one in by_path.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_are_the_files(line, backend) -> None:
    paths, _ = line.scores()
    classifier = load(line.bundle, backend=backend, threads=1, order=line.kind.order)
    expected = classifier.examine(paths[:40])
    images = line.arrays(paths[:40])
    assert images[0].shape == line.kind.shape
    assert images[0].dtype == line.kind.dtype
    for given in (images, np.stack(images)):
        found = classifier.examine(given)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        assert found.faults == expected.faults
    assert classifier.decide(images[0]) == expected.decisions[0]
    if line.kind.order == "mono":
        with_channel = np.stack(images)[..., np.newaxis]
        np.testing.assert_array_equal(classifier.examine(with_channel).scores, expected.scores)
        assert classifier.decide(with_channel[0]) == expected.decisions[0]
    else:
        turned = [np.ascontiguousarray(image[..., ::-1]) for image in images]
        found = load(line.bundle, backend=backend, threads=1, order="bgr").examine(turned)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_types_are_told_of_every_kind(line, backend) -> None:
    classifier = load(line.bundle, backend=backend, threads=1, order=line.kind.order)
    assert classifier.type_names == TYPES
    paths, _ = line.scores()
    told = classifier.types(paths)
    assert (told == classifier.types(line.arrays(paths))).all()
    accepted = np.array([decision == "accept" for decision in classifier.decide(paths)])
    assert set(told[accepted]) <= {""}
    assert set(TYPES) <= set(told[~accepted])


def test_arrays_of_another_kind_are_refused(line) -> None:
    classifier = load(line.bundle, threads=1, order=line.kind.order)
    shape, dtype = line.kind.shape, np.dtype(line.kind.dtype)
    other = np.dtype(np.uint8 if dtype == np.uint16 else np.uint16)
    wanted = rf"must be {dtype} \[{', '.join(map(str, shape))}\], got "
    for wrong in (
        np.zeros(shape, other),
        np.zeros(shape, np.float32),
        np.zeros((*shape[:2], 4), dtype),
        np.zeros((shape[1] + 1, *shape[1:]), dtype),
    ):
        with pytest.raises(InputError, match=wanted):
            classifier.decide(wrong)


def test_a_black_a_white_and_a_noisy_frame_have_no_score(line) -> None:
    classifier = load(line.bundle, threads=1, order=line.kind.order)
    white = WHITE if line.kind.dtype == "uint16" else 255
    shape, dtype = line.kind.shape, line.kind.dtype
    noise = np.random.default_rng(0).integers(0, white + 1, shape).astype(dtype)
    frames = [np.zeros(shape, dtype), np.full(shape, white, dtype), noise]
    found = classifier.examine(frames)
    assert found.decisions.tolist() == ["review"] * 3
    assert np.isnan(found.scores).all()


def test_the_bundle_and_its_card_state_the_kind(line) -> None:
    given = json.loads((line.bundle / "bundle.json").read_text())["input"]
    card = (line.bundle / CARD_FILE).read_text()
    kind = line.kind
    assert given["size"] == kind.input["size"]
    assert (given["dtype"], given["channels"]) == (kind.dtype, kind.order)
    assert given["white_level"] == kind.input.get("white_level", 255)
    channels = 3 if kind.order == "rgb" else 1
    assert f"{kind.dtype} `[N, {kind.shape[0]}, {kind.shape[1]}, {channels}]`" in card
    assert f"0-{given['white_level']}, as the camera gives it" in card
    assert "black" not in card.split("## Network")[0]  # nothing of padding: sizes are refused
    assert all(one.passed is not False for one in verify_bundle(line.bundle))


def test_a_mono_run_has_no_order_of_channels(line, tmp_path) -> None:
    run, store = line.folder / "run", line.folder / "store"
    if line.kind.order == "mono":
        with pytest.raises(InputError, match=r"--channels: must be left out.*input.channels: mono"):
            export_run(run, tmp_path / "bgr", store, request=REQUEST, threads=1, channels="bgr")
        with pytest.raises(InputError, match=r'order: must be "mono".*got \'rgb\''):
            load(line.bundle, order="rgb")
        load(line.bundle, threads=1).decide(np.zeros(line.kind.shape, line.kind.dtype))
    else:
        with pytest.raises(InputError, match=r'order: must be "rgb" or "bgr", got \'mono\''):
            load(line.bundle, order="mono")


def test_a_pixel_above_the_white_level_is_refused_by_value(line, tmp_path) -> None:
    if line.kind.dtype != "uint16":
        pytest.skip("bytes end at 255")
    paths, _ = line.scores()
    image = line.arrays(paths[:1])[0].copy()
    image[3, 5] = WHITE + 1
    classifier = load(line.bundle, threads=1)
    reason = "pixel value 4,096, must be at most the white level 4,095"
    with pytest.raises(InputError, match=f"image: {reason}"):
        classifier.decide(image)
    good = line.arrays(paths[:3])
    with pytest.raises(InputError, match=f"image 2: {reason}"):
        classifier.decide(np.stack([*good[:2], image]))
    Image.fromarray(image).save(tmp_path / "bright.tif")
    with pytest.raises(InputError, match=rf"bright\.tif: can't be read \({reason}\)"):
        classifier.decide(tmp_path / "bright.tif")
    (found,) = predict(classifier, [str(tmp_path / "bright.tif")])
    assert (found.decision, found.score, found.error) == ("review", None, reason)


def test_files_of_another_kind_are_refused_by_name(line, tmp_path) -> None:
    classifier = load(line.bundle, threads=1, order=line.kind.order)
    height, width = line.kind.shape[:2]
    deep = np.full((height, width), 900, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep.astype(np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGB", (width, height)).save(tmp_path / "colour.png")
    reasons = {
        "deep": {
            "grey": "8 bits per channel, must be 9 to 16 (input.white_level=255 takes 8)",
            "colour": "8 bits per channel, must be 9 to 16 (input.white_level=255 takes 8)",
        },
        "mono": {
            "deep": "16 bits per channel, must be 8 or fewer (input.channels=mono with "
            "input.white_level above 255 takes grey files of 16)",
            "colour": "colour mode RGB, must be grey (input.channels=rgb takes colour)",
        },
        "wide": {
            "deep": "16 bits per channel, must be 8 or fewer (input.channels=mono with "
            "input.white_level above 255 takes grey files of 16)",
        },
    }[line.kind.name]
    for name, reason in reasons.items():
        (found,) = predict(classifier, [str(tmp_path / f"{name}.png")])
        assert (found.decision, found.error) == ("review", reason)


def test_a_manifest_of_two_kinds_is_refused(line, tmp_path) -> None:
    bundle = shutil.copytree(line.bundle, tmp_path / "bundle")
    given = json.loads((bundle / "bundle.json").read_text())["input"]
    change(bundle, input=given | {"white_level": 1023 if given["dtype"] == "uint8" else 255})
    with pytest.raises(InputError, match="dtype, white_level and channels must be"):
        load(bundle)


def test_a_graph_of_another_shape_is_refused(line, tmp_path) -> None:
    bundle = shutil.copytree(line.bundle, tmp_path / "bundle")
    given = json.loads((bundle / "bundle.json").read_text())["input"]
    change(bundle, input=given | {"size": [HEIGHT, 304]})
    with pytest.raises(
        InputError, match=rf"the graph takes images \[{line.kind.shape[0]}, .*promises \[200, 304, "
    ):
        load(bundle, order=line.kind.order)


def test_deep_pictures_in_int8(line, tmp_path) -> None:
    """The gate, the certificate and the golden samples are those of any other function."""
    if line.kind.name != "deep":
        pytest.skip("one kind will do")
    run, store = line.folder / "run", line.folder / "store"
    bundle = tmp_path / "int8"
    done = export_run(run, bundle, store, request=REQUEST, threads=1, precision="int8")
    assert done.quantised is not None
    paths, expected = line.scores()
    for backend in BACKENDS:
        classifier = load(bundle, backend=backend, precision="int8", threads=1, uncertified=True)
        examined = classifier.examine(paths)
        good = np.array([fault is None for fault in examined.faults])
        assert np.abs(examined.scores[good] - expected[good]).max() < 0.1
    assert all(one.passed for one in verify_bundle(bundle))


@pytest.mark.skipif(not COMPUTES_BF16, reason="this processor doesn't compute bf16")
def test_deep_pictures_trained_and_run_in_bf16(line, tmp_path) -> None:
    """A bf16 number has 8 bits: pictures of 12 are scaled before they are rounded to it."""
    if line.kind.name != "deep":
        pytest.skip("one kind will do")
    run, store = tmp_path / "run", line.folder / "store"
    config = line.kind.experiment(line.folder / "crops", precision="bf16", epochs=6)
    train_run(config, run, store)
    table = read_predictions(run / "predictions" / "test.csv")
    paths = [str(line.folder / "crops" / path) for path in table.paths]
    assert np.ptp(table.scores) > 0.02, "scores that all agree would prove nothing"
    for precision, backends, tolerance in (("fp32", BACKENDS, 1e-5), ("bf16", ["openvino"], 0.05)):
        bundle = tmp_path / precision
        export_run(run, bundle, store, request=REQUEST, threads=1, precision=precision)
        for backend in backends:
            classifier = load(bundle, backend=backend, precision=precision, threads=1)
            assert classifier.is_certified
            examined = classifier.examine(paths)
            good = np.array([fault is None for fault in examined.faults])
            assert good.mean() > 0.9
            np.testing.assert_allclose(examined.scores[good], table.scores[good], atol=tolerance)
        assert all(one.passed for one in verify_bundle(bundle))
