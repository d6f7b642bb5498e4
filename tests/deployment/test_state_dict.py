from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from drupe.deployment import function_specs, state_dict
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.export import export_run
from drupe.deployment.gate import Crops, GateError
from drupe.deployment.manifest import read_manifest
from drupe.deployment.state_dict import STATE_DICT_FILE, plain_weights, require_torchvision
from drupe.errors import InputError
from drupe.evaluation.lanes import Thresholds
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.progress import silent
from drupe.training.imported import ImportRequest, import_checkpoint
from drupe.training.saved import InputContract, NetworkMetadata

pytestmark = pytest.mark.thorough

TEMPERATURE = 1.7


def metadata_of(architecture: str, classes=("clean", "pit"), **contract) -> NetworkMetadata:
    keys = {"size": 64, "range": "raw", "crop": None} | contract
    return NetworkMetadata(
        architecture=architecture,
        classes=classes,
        input=InputContract(**keys),
        temperature=TEMPERATURE,
    )


@pytest.mark.parametrize(
    ("architecture", "classes"),
    [
        ("resnet18", ("clean", "pit")),
        ("resnet18", ("whole", "broken")),  # the defect sorts first
        ("convnext_tiny", ("clean", "pit")),
    ],
)
def test_torchvision_says_what_the_run_says(architecture, classes) -> None:
    torch.manual_seed(0)
    network = build_network(
        architecture, input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
    ).network.eval()
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = network.defect_logit(torch.from_numpy(images))
        expected = torch.sigmoid(logits / TEMPERATURE).numpy()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    splits = [Crops("test", images, expected)]

    plain = plain_weights(
        network, metadata_of(architecture, classes), splits, Thresholds(0.5, 0.5), silent
    )

    assert plain.gate.max_score_difference < 1e-5
    assert plain.gate.images == 5
    assert 0.01 < expected.mean() < 0.99, "scores of 0 and 1 would show no difference"
    theirs = get_model(architecture, weights=None, num_classes=2).eval()
    theirs.load_state_dict(torch.load(io.BytesIO(plain.content), weights_only=True))
    with torch.inference_mode():
        outputs = theirs(torch.from_numpy(images).permute(0, 3, 1, 2).float()).softmax(1)
    defect = plain.description["outputs"].index(classes[1])
    assert plain.description["outputs"] == sorted(classes)
    np.testing.assert_allclose(outputs[:, defect].numpy(), expected, atol=1e-5)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (metadata_of("efficientnet_lite0"), "torchvision must have the same network .*resnet50"),
        (metadata_of("mobilenet_v3_large"), "got mobilenet_v3_large"),
        (metadata_of("resnet18", range="imagenet"), "input.range must be raw, .*got imagenet"),
        (metadata_of("resnet18", crop=48), "input.crop must be none, .*got 48"),
    ],
)
def test_what_a_state_dict_cannot_hold_is_refused(metadata, message) -> None:
    with pytest.raises(InputError, match=message):
        require_torchvision(metadata)


@pytest.fixture(scope="module")
def imported(tmp_path_factory, small_synthetic):
    """A ResNet18 imported as a run, and its store."""
    folder = tmp_path_factory.mktemp("imported")
    torch.manual_seed(2)
    network = get_model("resnet18", weights=None, num_classes=2)
    with torch.no_grad():
        network.fc.weight.mul_(0.01)  # scores other than 0 and 1
    torch.save(network.state_dict(), folder / "best.pt")
    settings = {"data": {"root": str(small_synthetic)}, "input": {"size": 64}}
    request = ImportRequest(folder / "best.pt", "resnet18", None, settings=settings)
    import_checkpoint(request, folder / "run", folder / "store")
    return folder / "run", folder / "store"


def test_an_imported_run_becomes_a_bundle_with_its_weights(imported, tmp_path) -> None:
    run, store = imported
    done = export_run(run, tmp_path / "bundle", store, state_dict=True)

    manifest = read_manifest(tmp_path / "bundle")
    assert STATE_DICT_FILE in manifest.files
    assert done.to_json()["state_dict"]["gate"]["flips"] == 0
    assert all(one.passed for one in verify_bundle(tmp_path / "bundle"))
    assert [one.certificate for one in manifest.functions] == [None, None]
    assert "unknown" in str(done.refusal)
    tensors = torch.load(tmp_path / "bundle" / STATE_DICT_FILE, weights_only=True)
    get_model("resnet18", weights=None, num_classes=2).load_state_dict(tensors)
    content = (tmp_path / "bundle" / STATE_DICT_FILE).read_bytes()
    (tmp_path / "bundle" / STATE_DICT_FILE).write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"state_dict\.pt: changed"):
        verify_bundle(tmp_path / "bundle")


def test_a_turned_decision_stops_the_export(imported, tmp_path, monkeypatch) -> None:
    run, store = imported

    class Lying(state_dict._TorchvisionSession):
        def __call__(self, images):
            return 1 - super().__call__(images)

    monkeypatch.setattr(state_dict, "_TorchvisionSession", Lying)
    monkeypatch.setattr(function_specs, "installed", lambda: ("onnxruntime",))
    with pytest.raises(GateError, match=r"the state dict in torchvision: .* decisions differ"):
        export_run(run, tmp_path / "bundle", store, state_dict=True)
    assert list(tmp_path.iterdir()) == []
