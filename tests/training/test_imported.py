from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drupe.errors import InputError
from drupe.evaluation.candidates import read_lineup
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import file_hash
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.runs.record import read_record
from drupe.training import imported as imported_module
from drupe.training.config import read_config
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.imported import ImportRequest, import_checkpoint
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run, load_network

LOOSE = Request(min_recall=0.6, confidence=0.6)
"""What a dozen defects can certify."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Random weights under DataParallel's names, two of them subnormal."""
    torch.manual_seed(3)
    built = build_network(
        "test_resnet", input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
    )
    weights = built.network.backbone.state_dict()
    with torch.no_grad():
        weights["fc.weight"].mul_(0.05)
        weights["fc.weight"].view(torch.int32)[0, :2] = 71362  # 1e-40
    path = tmp_path_factory.mktemp("elsewhere") / "model best.pt"
    torch.save({"state_dict": {f"module.{name}": item for name, item in weights.items()}}, path)
    return path


@pytest.fixture
def request_for(checkpoint, crops):
    def build(trained_on: Path | None = None, **keys) -> ImportRequest:
        settings = {"data": {"root": str(crops)}, "input": {"size": 64}}
        request = ImportRequest(checkpoint, "test_resnet", trained_on, settings=settings)
        return replace(request, **keys)

    return build


@pytest.fixture
def list_of(tmp_path):
    def write(*lines: str) -> Path:
        path = tmp_path / f"files-{len(list(tmp_path.iterdir()))}.txt"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def splits(request_for, store, tmp_path) -> dict[str, tuple[str, ...]]:
    """The paths of calibration and test."""
    import_checkpoint(request_for(), tmp_path / "for-paths", store)
    folder = tmp_path / "for-paths" / "predictions"
    return {
        name: read_predictions(folder / f"{name}.csv").paths for name in ("calibration", "test")
    }


def test_an_import_is_a_run_like_any_other(request_for, store, tmp_path, crops) -> None:
    folder = tmp_path / "run"
    outcome = import_checkpoint(request_for(), folder, store)

    assert not outcome.already_done
    assert {item.name for item in folder.iterdir()} == {
        "run.json",
        "config.yaml",
        "model.safetensors",
        "predictions",
        "evaluation.json",
    }
    record, config = read_record(folder), read_config(folder)
    assert record is not None
    assert record.imported is not None
    assert (record.status, record.experiment, record.seed) == ("done", "model-best", 0)
    assert (record.imported.key, record.imported.names) == ("state_dict", "timm")
    assert record.imported.flushed_weights == 2
    assert record.imported.class_order == ("cherry_clean", "cherry_pit")
    assert config.model.architecture == "test_resnet"
    assert config.input.range == "raw"
    assert "training" not in (folder / "config.yaml").read_text()
    before = (folder / "predictions" / "test.csv").read_bytes()
    assert evaluate_run(folder, store) == outcome.evaluation
    assert (folder / "predictions" / "test.csv").read_bytes() == before


def test_the_saved_network_answers_as_the_checkpoint(
    request_for, checkpoint, store, tmp_path
) -> None:
    for order, sign in ((("cherry_clean", "cherry_pit"), 1), (("cherry_pit", "cherry_clean"), -1)):
        folder = tmp_path / order[0]
        import_checkpoint(request_for(classes=order), folder, store)
        network, metadata = load_network(folder)
        theirs = build_network(
            "test_resnet", input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
        ).network.eval()
        weights = torch.load(checkpoint, weights_only=True)["state_dict"]
        theirs.backbone.load_state_dict({k.removeprefix("module."): v for k, v in weights.items()})
        images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
        with torch.inference_mode():
            found, expected = network.defect_logit(images), theirs.defect_logit(images)
        torch.testing.assert_close(found, sign * expected, rtol=1e-5, atol=1e-5)
        assert metadata.temperature == 1.0, "calibration of unknown files fits no temperature"


def test_finished_work_is_recognised(request_for, store, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "run"
    first = import_checkpoint(request_for(), folder, store)
    monkeypatch.setattr(imported_module, "judge", None)  # to be called no more
    moved = tmp_path / "renamed.pt"
    shutil.copy(request_for().checkpoint, moved)

    again = import_checkpoint(request_for(checkpoint=moved), folder, store)

    assert again.already_done
    assert again.evaluation == first.evaluation


def test_an_interrupted_import_is_done_again(request_for, store, tmp_path, monkeypatch) -> None:
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(imported_module, "save_network", stop)
        with pytest.raises(KeyboardInterrupt):
            import_checkpoint(request_for(), tmp_path / "run", store)
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.status == "interrupted"

    assert not import_checkpoint(request_for(), tmp_path / "run", store).already_done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picked_on_test": True}, "the same checkpoint with other --trained-on or --picked"),
        ({"classes": ("cherry_pit", "cherry_clean")}, "another architecture, class order"),
    ],
)
def test_another_import_in_the_same_folder(request_for, store, tmp_path, change, message) -> None:
    import_checkpoint(request_for(), tmp_path / "run", store)
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(InputError, match=f"already holds another run.*{message}"):
        import_checkpoint(request_for(**change), tmp_path / "run", store)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_another_checkpoint_and_a_trained_run_are_left_alone(
    request_for, checkpoint, tiny, store, tmp_path
) -> None:
    import_checkpoint(request_for(), tmp_path / "run", store)
    other = tmp_path / "other.pt"
    weights = torch.load(checkpoint, weights_only=True)
    weights["state_dict"]["module.fc.bias"] += 1
    torch.save(weights, other)
    with pytest.raises(InputError, match=r"another checkpoint: .*model best\.pt"):
        import_checkpoint(request_for(checkpoint=other), tmp_path / "run", store)
    with pytest.raises(InputError, match=r"already holds another run \(imported from"):
        train_run(tiny(), tmp_path / "run", store, resume=True)

    train_run(tiny(), tmp_path / "trained", store)
    with pytest.raises(InputError, match=r"already holds another run \(tiny seed 42, trained"):
        import_checkpoint(request_for(), tmp_path / "trained", store)


def test_unknown_training_files_certify_nothing(request_for, store, tmp_path) -> None:
    import_checkpoint(request_for(picked_on_test=True), tmp_path / "run", store)
    model = read_run_predictions(tmp_path / "run")

    point = operating_point(model, LOOSE)

    assert point.certificate is None
    assert "unknown" in str(point.refusal)
    assert "--data" in str(point.refusal)
    document = point.to_json()
    assert (document["certified"], document["defects"], document["threshold"]) == (False, 0, None)
    assert len(model.caveats) == 2
    lineup = read_lineup([tmp_path / "run"], min_recall=0.6, confidence=0.6)
    assert lineup.candidates[0].thresholds is None
    assert "unknown" in lineup.notes[0]
    assert "picked on the test split" in lineup.caveats[0]
    assert operating_point(model, replace(LOOSE, low=0.5)).thresholds is not None
    with pytest.raises(InputError, match="no folds can be trained"):
        calibrate_on_folds(model, tmp_path / "run", 3, store)


def test_files_outside_calibration_leave_it_to_certify(
    request_for, splits, store, tmp_path, list_of, crops
) -> None:
    every = {path.relative_to(crops).as_posix() for path in crops.glob("train/*/*.png")}
    fit = sorted(every - set(splits["calibration"]))
    # A copy of a calibration item in fit would make the list overlap: the split keeps them apart.
    folder = tmp_path / "run"
    import_checkpoint(request_for(list_of("# the fit split", "", *fit)), folder, store)

    model = read_run_predictions(folder)
    assert model.in_sample is None
    assert operating_point(model, LOOSE).certificate is not None
    record = read_record(folder)
    assert record is not None
    assert record.imported is not None
    assert record.imported.seen.trained_on is not None
    assert record.imported.seen.trained_on.calibration == 0
    assert record.imported.temperature is None


@pytest.mark.parametrize("kind", ["path", "digest", "sha256sum", "folder"])
def test_files_in_calibration_certify_nothing(
    request_for, splits, store, tmp_path, list_of, crops, kind
) -> None:
    path = splits["calibration"][0]
    digest = file_hash(crops / path)
    line = {
        "path": path,
        "digest": digest.upper(),
        "sha256sum": f"{digest}  somewhere/else.png",
        "folder": "train/",
    }[kind]
    import_checkpoint(request_for(list_of(line)), tmp_path / "run", store)

    model = read_run_predictions(tmp_path / "run")
    count = len(splits["calibration"]) if kind == "folder" else 1
    assert f"trained on {count} of its calibration items" in str(model.in_sample)
    assert operating_point(model, LOOSE).refusal is not None


def test_a_copy_of_a_training_file_counts_as_one(request_for, store, tmp_path, list_of, crops):
    moved = tmp_path / "crops"
    shutil.copytree(crops, moved)
    request = request_for(settings={"data": {"root": str(moved)}, "input": {"size": 64}})
    import_checkpoint(request, tmp_path / "before", store)
    original = read_predictions(tmp_path / "before" / "predictions" / "test.csv").paths[0]
    turned = moved / "val" / Path(original).parent.name / "turned.png"
    from PIL import Image

    with Image.open(moved / original) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(turned)
    name = turned.relative_to(moved).as_posix()

    import_checkpoint(replace(request, trained_on=list_of(name)), tmp_path / "run", store)

    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.imported is not None
    assert record.imported.seen.trained_on is not None
    assert record.imported.seen.trained_on.test >= 2
    assert "in-sample" in record.imported.seen.caveats[0]


def test_fresh_crops_certify_unless_the_network_learnt_from_them(
    request_for, store, tmp_path, list_of
) -> None:
    from drupe.data.synthetic.generation import synthesise

    fresh = tmp_path / "fresh"
    synthesise(fresh, images=60, size=64, seed=77)
    import_checkpoint(request_for(), tmp_path / "unknown", store)
    model = read_run_predictions(tmp_path / "unknown")
    renewed = calibrate_on_fresh(model, tmp_path / "unknown", fresh, store)
    assert renewed.in_sample is None
    assert operating_point(renewed, LOOSE).certificate is not None

    learnt = file_hash(next(fresh.glob("train/*/*.png")))
    import_checkpoint(request_for(list_of(learnt)), tmp_path / "run", store)
    model = read_run_predictions(tmp_path / "run")
    with pytest.raises(InputError, match=r"got 1 that the network of .* has learnt from"):
        calibrate_on_fresh(model, tmp_path / "run", fresh, store)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "must name at least one training file"),
        (("# nothing",), "must name at least one training file"),
        (("train/cherry_pit/absent.png",), "no such file: train/cherry_pit/absent.png"),
        (("../files-0.txt",), "must name files below"),
        (("/etc/hosts",), "must name files below"),
    ],
)
def test_a_wrong_list_of_training_files(
    request_for, store, tmp_path, list_of, lines, message
) -> None:
    with pytest.raises(InputError, match=message):
        import_checkpoint(request_for(list_of(*lines)), tmp_path / "run", store)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet18"}, "must hold all weights of resnet18"),
        ({"architecture": "resnet5"}, "no such network 'resnet5'"),
        ({"classes": ("good", "bad")}, "--classes: must be cherry_clean,cherry_pit or"),
        ({"trained_on": Path("absent.txt")}, "no such file: absent.txt"),
        ({"trained_on": Path()}, "got a folder"),
        ({"checkpoint": Path("absent.pt")}, "absent.pt: no such file"),
        ({"settings": {"training": {"epochs": 3}}}, "training: an import takes keys of calibrat"),
        ({"settings": {"input": {"size": 64}}}, "data.root: required"),
        ({"settings": {"calibration": {"crossfit": 5}}}, "crossfit: must be left out"),
    ],
)
def test_wrong_input_leaves_nothing(request_for, store, tmp_path, change, message) -> None:
    with pytest.raises(InputError, match=message):
        import_checkpoint(request_for(**change), tmp_path / "run", store)
    assert not (tmp_path / "run").exists()


def test_a_network_that_answers_with_nan_leaves_nothing(
    request_for, checkpoint, store, tmp_path
) -> None:
    weights = torch.load(checkpoint, weights_only=True)
    weights["state_dict"]["module.fc.weight"].fill_(3e38)
    torch.save(weights, tmp_path / "best.pt")
    with pytest.raises(InputError, match="answers with NaN or infinity"):
        import_checkpoint(request_for(checkpoint=tmp_path / "best.pt"), tmp_path / "run", store)
    assert not (tmp_path / "run").exists()


def test_input_contract_is_an_option(request_for, store, tmp_path, crops) -> None:
    settings = {
        "data": {"root": str(crops)},
        "input": {"size": 64, "range": "imagenet", "crop": 48},
        "calibration": {"holdout": 0.4},
    }
    import_checkpoint(request_for(settings=settings), tmp_path / "run", store)
    _, metadata = load_network(tmp_path / "run")
    assert (metadata.input.range, metadata.input.crop) == ("imagenet", 48)
    logits = read_predictions(tmp_path / "run" / "predictions" / "test.csv").logits
    assert logits is not None
    assert np.isfinite(logits).all()
