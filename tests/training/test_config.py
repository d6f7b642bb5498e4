from __future__ import annotations

from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.training.config import LATER_DATA_KEYS, load_experiment, validate_experiment

MINIMAL = "model: {architecture: efficientnet_lite0}\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "small.yaml"
    file.write_text(text)
    return file


def test_the_defaults_are_the_studys(tmp_path):
    config = load_experiment(write(tmp_path, MINIMAL))
    training = config.training

    assert config.name == "small"
    assert (config.input.size, config.input.range, config.input.crop) == (128, "raw", "none")
    assert (training.epochs, training.batch_size, training.learning_rate) == (30, 32, 1e-4)
    assert (training.optimiser, training.weight_decay, training.schedule) == (
        "adamw",
        0.05,
        "cosine",
    )
    assert training.checkpoint_every == 5


def test_all_mistakes_come_in_one_message(tmp_path):
    text = """
model: {architecture: efficientnet_lite0, pretraind: true}
input: {range: bytes, size: 8}
training: {label_smoothing: 1.5, epochs: 0}
"""
    with pytest.raises(InputError) as caught:
        load_experiment(write(tmp_path, text))

    message = str(caught.value)
    assert "model.pretraind: unknown key (did you mean pretrained?)" in message
    assert "input.range: must be 'raw', 'unit' or 'imagenet', got 'bytes'" in message
    assert "input.size: must be an integer in [16, 2048] or a list of 2 of them, got 8" in message
    assert "training.label_smoothing: must be in [0, 1), got 1.5" in message
    assert "training.epochs: must be in [1, ∞), got 0" in message
    assert message.count("small.yaml)") == len(caught.value.problems) == 5


def test_crop_larger_than_the_image():
    with pytest.raises(InputError, match=r"crop must be at most input\.size = 128, got 160"):
        validate_experiment({"model": {"architecture": "test_resnet"}, "input": {"crop": 160}}, "x")


def test_several_folders_in_a_file_are_told_the_way():
    document = {"model": {"architecture": "test_resnet"}, "data": {"root": ["a", "b"]}}
    with pytest.raises(InputError, match=r"data\.root: .* given as --data A --data B, got"):
        validate_experiment(document, "x")


def test_an_unknown_network_names_its_neighbours():
    with pytest.raises(InputError, match=r"resnt50.*resnet50.*\(a\.yaml\)"):
        validate_experiment({"model": {"architecture": "resnt50"}}, "a.yaml")


def test_overrides_win(tmp_path):
    config = load_experiment(write(tmp_path, MINIMAL), {"training": {"epochs": 2}, "seed": 7})

    assert (config.training.epochs, config.seed) == (2, 7)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"name": "other", "hypothesis": "none"}, True),
        ({"training": {"threads": 3, "precision": "fp32", "device": "cpu"}}, True),
        ({"training": {"weight_decay": 0.05}}, True),
        ({"data": {"root": "elsewhere"}}, True),
        ({"training": {"epochs": 2}}, False),
        ({"seed": 1}, False),
        ({"input": {"crop": 96}}, False),
    ],
)
def test_identity_is_what_is_computed_and_not_how(tmp_path, changes, same):
    file = write(tmp_path, MINIMAL)

    equal = load_experiment(file).identity("d") == load_experiment(file, changes).identity("d")

    assert equal is same


def test_identity_depends_on_the_data(tmp_path):
    config = load_experiment(write(tmp_path, MINIMAL))

    assert config.identity("a") != config.identity("b")


def test_a_mistake_elsewhere_hides_none_of_the_network():
    document = {"model": {"architecture": "resnt50", "pretraind": 1}, "training": {"epochs": 0}}
    with pytest.raises(InputError, match="no such network 'resnt50'") as caught:
        validate_experiment(document, "x")
    assert len(caught.value.problems) == 3

    small = {"model": {"architecture": "efficientnet_lite0"}, "input": {"size": 16}, "seed": -1}
    with pytest.raises(InputError, match="takes images of at least") as caught:
        validate_experiment(small, "x")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("model", [None, 5, [], {"architecture": 5}, {"architecture": None}])
def test_a_network_that_is_no_name(model):
    with pytest.raises(InputError, match="model"):
        validate_experiment({"model": model, "input": "x"}, "x")


@pytest.mark.parametrize("seed", [True, -1, 2**32, 1.5, "x"])
def test_a_seed_is_a_whole_number_of_32_bits(seed):
    with pytest.raises(InputError, match="seed: must be"):
        validate_experiment({"model": {"architecture": "test_resnet"}, "seed": seed}, "x")


def test_threads_beyond_reason_are_refused():
    document = {"model": {"architecture": "test_resnet"}, "training": {"threads": 100_000}}
    with pytest.raises(InputError, match=r"training\.threads: must be in \[1, 1024\]"):
        validate_experiment(document, "x")


def test_a_relative_folder_of_data_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    config = load_experiment(write(tmp_path, MINIMAL), {"data": {"root": "crops"}})

    assert config.data.root == tmp_path / "crops"


def test_a_fold_belongs_to_a_number_of_folds(tiny) -> None:
    assert tiny(calibration={"crossfit": 5, "fold": 4}).calibration.left_out == (4, 5)
    for wrong, message in (
        ({"fold": 0}, "fold needs crossfit"),
        ({"crossfit": 5, "fold": 5}, r"fold must be in \[0, 5\), got 5"),
        ({"crossfit": 1, "fold": 0}, r"calibration.crossfit: must be in \[2, 20\], got 1"),
    ):
        with pytest.raises(InputError, match=message):
            tiny(calibration=wrong)


def test_a_run_on_all_training_items_does_not_depend_on_the_number_of_folds(tiny) -> None:
    five, four = (tiny(calibration={"crossfit": k}) for k in (5, 4))
    assert five.calibration.share is None
    assert five.identity("data") == four.identity("data") != tiny().identity("data")


def test_what_is_computed_identifies_a_run(tiny) -> None:
    config = tiny()
    for section, key, value in (
        ("data", "limit", 10),
        ("data", "inner", {"fold": 0, "folds": 3}),
        ("input", "resolution", 96),
        ("input", "views", 2),
    ):
        assert config.identity("data") != tiny(**{section: {key: value}}).identity("data")
    for key, value in (("precision", "bf16"), ("threads", 3), ("checkpoint_every", 9)):
        assert config.identity("data") == tiny(training={key: value}).identity("data")
    assert config.identity("data") != config.identity("other data")


@pytest.mark.parametrize("inner", [{"fold": 3, "folds": 3}, {"fold": 0, "folds": 1}, {"fold": 0}])
def test_an_inner_fold_is_one_of_so_many(tiny, inner) -> None:
    with pytest.raises(InputError, match=r"data\.inner"):
        tiny(data={"inner": inner})


def test_each_fold_is_a_run_of_its_own(tiny) -> None:
    plain = tiny()
    folds = [tiny(calibration={"crossfit": 2, "fold": k}) for k in (0, 1)]
    assert len({config.identity("data") for config in (plain, *folds)}) == 3


def test_views_of_images_that_have_an_up_are_asked_about(tiny) -> None:
    upright = {"flips": False, "rotation": 10}
    assert tiny(input={"size": 64, "views": 4}).caveats == ()
    assert tiny(augmentation=upright).caveats == ()
    (caveat,) = tiny(input={"size": 64, "views": 4}, augmentation=upright).caveats
    assert caveat.startswith("input.views: 4 shows the network mirrored images")


def test_a_resolution_that_the_network_cannot_take_names_its_key(tiny) -> None:
    with pytest.raises(InputError, match=r"input\.resolution: network .* takes .*, got 16"):
        tiny(model={"architecture": "resnet18"}, input={"resolution": 16})
    with pytest.raises(InputError, match=r"input\.views: must be 1, 2, 4 or 8|input\.views"):
        tiny(input={"views": 3})


def test_keys_of_names_change_no_run_unless_they_say_something(tiny, tmp_path) -> None:
    file = write(tmp_path, MINIMAL)
    # What the version before these keys gave for this file.
    before = "7c1e203b3481f29cbf218beb2b1f754ec138768d254155e49665fa81366a1e02"
    assert load_experiment(file, {"data": {"split_seed": 3}}).identity("d") == before
    assert set(tiny().model_dump()["data"]) & set(LATER_DATA_KEYS) == set()
    for changed in (
        {"good": "clean"},
        {"classes": {"good": "clean", "defect": ["pit", "stem"]}},
        {"group": "camera-(.)"},
        {"group": "camera-(.)", "split_by": "group"},
    ):
        assert set(changed) <= set(tiny(data=changed).model_dump()["data"])
        assert tiny(data=changed).identity("d") != tiny().identity("d")


def test_the_two_ways_of_naming_classes(tiny) -> None:
    named = tiny(data={"good": "clean"}).data.naming
    assert (named.good, named.defects) == (("clean",), ())
    listed = tiny(data={"classes": {"good": ["clean"], "defect": ["pit", "stem"]}}).data.naming
    assert (listed.good, listed.defects) == (("clean",), ("pit", "stem"))
    with pytest.raises(InputError, match=r"good: can't be given beside classes"):
        tiny(data={"good": "a", "classes": {"good": "a", "defect": "b"}})
    with pytest.raises(InputError, match=r"data: .*one capture group.*got 'cam' with 0"):
        tiny(data={"group": "cam"})
    with pytest.raises(InputError, match=r"data\.classes\.defect"):
        tiny(data={"classes": {"good": "a", "defect": []}})


KNOWN = {
    "d653f9273a350ad1336912fb909127e272d105ceee9f3e31ebcdf4288bf545b2": {},
    "90b1905217d372912a1e45a5ec04ede87ec11c6f374d460f295c97fac130dc73": {
        "input": {"size": 64, "crop": 48, "resolution": "auto", "views": 8},
        "training": {"teacher": {"recipes": ["self"]}},
    },
}
"""Identities that runs had before there were other channels, depths and shapes."""


@pytest.mark.parametrize("identity", KNOWN)
def test_identities_of_earlier_runs_stay(tiny, identity) -> None:
    model = {"architecture": "test_efficientnet", "pretrained": False}
    config = validate_experiment({"model": model, **KNOWN[identity]}, "x")
    assert config.identity("d") == identity
    spelled = {"channels": "rgb", "white_level": 255}
    given = KNOWN[identity] | {"input": {**KNOWN[identity].get("input", {}), **spelled}}
    assert validate_experiment({"model": model, **given}, "x").identity("d") == identity
    assert tiny(input={"channels": "mono"}).identity("d") != tiny().identity("d")


def test_a_pair_of_equal_sides_is_one_number(tiny) -> None:
    assert tiny(input={"size": [64, 64]}).identity("d") == tiny(input={"size": 64}).identity("d")
    config = tiny(input={"size": [64, 96], "crop": [48, 64], "resolution": [64, 64]})
    assert config.input.size == (64, 96)
    assert config.input.resolution == 64
    assert config.contract.shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": [64, 96], "views": 8}, r"views: 8 turns images by quarters.*got \[64, 96\]"),
        ({"size": [64, 96], "crop": "auto"}, r"crop: auto takes square images, got input\.size"),
        ({"size": [64, 96], "crop": [72, 80]}, r"crop must be at most input\.size = \[64, 96\]"),
        ({"white_level": 4095}, "white_level: above 255 takes channels: mono, got rgb"),
        ({"white_level": 254}, r"input\.white_level: must be in \[255, 65535\], got 254"),
        ({"channels": "bgr"}, r"input\.channels: must be 'rgb' or 'mono', got 'bgr'"),
        ({"size": [64, 96, 3]}, r"must be an integer in \[16, 2048\] or a list of 2 of them"),
        ({"size": [64, 20]}, r"input\.size: network .* takes images of at least 32 .*\[64, 20\]"),
    ],
)
def test_kinds_of_images_that_cannot_be(tiny, given, message) -> None:
    with pytest.raises(InputError, match=message):
        tiny(input=given)
    if given.get("views") == 8:
        tiny(input=given | {"crop": 64})  # a square of it can be turned


def test_a_teacher_sees_the_same_kind_of_images(tiny) -> None:
    recipe = {"model": {"architecture": "test_resnet", "pretrained": False}}
    teacher = {"teacher": {"recipes": [recipe | {"input": {"size": 64}}]}}
    with pytest.raises(InputError, match=r"recipes\.0\.input\.channels: must be input\.channels"):
        tiny(input={"size": 64, "channels": "mono"}, training=teacher)
