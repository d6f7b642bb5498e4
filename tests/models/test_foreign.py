from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from drupe.errors import InputError
from drupe.models.foreign import FittedWeights, fit_to, read_checkpoint
from drupe.models.geometry import Geometry
from drupe.models.network import Network, build_network

Tensors = dict[str, torch.Tensor]


def network_of(architecture: str, seed: int = 5) -> Network:
    torch.manual_seed(seed)
    built = build_network(
        architecture, input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
    )
    return built.network.eval()


@pytest.fixture(scope="module")
def weights() -> Tensors:
    """A test network's state as somebody else trained it."""
    return network_of("test_resnet").backbone.state_dict()


def fit(tensors: Tensors, architecture: str = "test_resnet", **keys: bool) -> FittedWeights:
    network = network_of(architecture, seed=6)
    keys = {"defect_first": False} | keys
    return fit_to(network.backbone, architecture, tensors, Path("best.pt"), **keys)


def logits_of(fitted: FittedWeights, architecture: str, pixels: torch.Tensor) -> torch.Tensor:
    network = network_of(architecture, seed=6)
    network.backbone.load_state_dict(fitted.tensors)
    with torch.inference_mode():
        return network.backbone(pixels)


def prefixed(tensors: Tensors, prefix: str) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda w: w, None),
        (lambda w: OrderedDict(prefixed(w, "module.")), None),
        (lambda w: prefixed(w, "_orig_mod.module.model."), None),
        (lambda w: {"n_averaged": torch.tensor(9), **prefixed(w, "module.")}, None),
        (lambda w: {"epoch": 3, "state_dict": w, "best": 0.94}, "state_dict"),
        (lambda w: {"model_state_dict": w, "optimizer": {"state": {0: {"m": w}}}}, None),
        (lambda w: {"ema": {"decay": 0.99, "shadow": w}}, "ema.shadow"),
    ],
)
def test_wrapped_and_prefixed_state_dicts(weights, tmp_path, wrap, place) -> None:
    torch.save(wrap(weights), tmp_path / "best.pt")

    tensors, found = read_checkpoint(tmp_path / "best.pt")
    fitted = fit(tensors)

    assert place in (None, found)
    assert (fitted.names, fitted.outputs, fitted.dtype) == ("timm", 2, "float32")
    assert fitted.tensors.keys() == weights.keys()
    assert all(
        torch.equal(fitted.tensors[name], weights[name])
        for name in weights
        if not name.endswith("num_batches_tracked")
    )


BESIDE = {
    "criterion.weight": torch.tensor([1.0, 4.0]),
    "val_recall.tp": torch.tensor(17),
    "val_confusion.matrix": torch.ones(2, 2, dtype=torch.int64),
}
"""What Lightning saves of a loss with class weights and of metrics."""


def lightning(state: Tensors) -> dict[str, object]:
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.97)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3, 3)}}}],
        "hyper_parameters": {"lr": 0.001},
    }


@pytest.mark.parametrize("prefix", ["model.", "net.model.", "module._orig_mod.model.", ""])
def test_a_loss_and_metrics_beside_the_model_are_left_and_listed(weights, tmp_path, prefix) -> None:
    torch.save(lightning({**BESIDE, **prefixed(weights, prefix)}), tmp_path / "last.ckpt")

    tensors, place = read_checkpoint(tmp_path / "last.ckpt")
    fitted = fit(tensors)

    assert place == "state_dict"
    assert fitted.left == tuple(BESIDE)
    pixels = torch.rand(2, 3, 64, 64)
    expected = network_of("test_resnet").backbone
    expected.load_state_dict(weights)
    with torch.inference_mode():
        assert torch.equal(logits_of(fitted, "test_resnet", pixels), expected(pixels))


def test_a_network_that_a_loss_looks_with_is_left_too(weights) -> None:
    perceptual = {"loss.vgg.conv1.weight": torch.ones(3, 3), "loss.vgg.conv1.bias": torch.ones(3)}
    fitted = fit({**perceptual, **prefixed(weights, "model.")})
    assert fitted.left == tuple(perceptual)


def test_torchvision_s_names_under_a_prefix() -> None:
    theirs = get_model("efficientnet_b0", num_classes=2).state_dict()
    fitted = fit({**BESIDE, **prefixed(theirs, "model.")}, "efficientnet_b0")
    assert (fitted.names, fitted.left) == ("torchvision", tuple(BESIDE))


def test_of_two_such_networks_one_has_to_be_named(weights, tmp_path) -> None:
    """A student and its average, or a teacher: which of them was judged isn't written anywhere."""
    other = {name: tensor + 1 for name, tensor in weights.items()}
    state = {**prefixed(weights, "model."), **prefixed(other, "ema.module.")}
    torch.save(lightning(state), tmp_path / "last.ckpt")

    tensors, _ = read_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"under 'ema.module' or 'model': name .* PLACE\.PREFIX"):
        fit(tensors)
    for key, of in (("state_dict.model", weights), ("state_dict.ema.module", other)):
        tensors, place = read_checkpoint(tmp_path / "last.ckpt", key)
        assert place == key
        assert torch.equal(fit(tensors).tensors["conv1.0.weight"], of["conv1.0.weight"])


def test_a_key_may_stop_above_the_only_state_dict(weights, tmp_path) -> None:
    file = tmp_path / "best.pt"
    torch.save({"ema": {"decay": 0.99, "shadow": weights}, "raw": {"net": weights}}, file)
    assert read_checkpoint(file, "ema")[1] == "ema.shadow"
    with pytest.raises(InputError, match=r"must be ema\.shadow or raw\.net, got 'shadow'"):
        read_checkpoint(file, "shadow")


def test_a_state_dict_may_hold_plain_values_and_lie_deep(weights, tmp_path) -> None:
    state = {**weights, "epoch": 3, "version": "1.2", "best": None}
    torch.save({"run": {"states": {"model": {"ema": state}}}}, tmp_path / "best.pt")
    tensors, place = read_checkpoint(tmp_path / "best.pt")
    assert place == "run.states.model.ema"
    assert fit(tensors).tensors.keys() == weights.keys()


def test_a_layer_beside_the_network_is_not_left(weights) -> None:
    """It may be part of what the model computed."""
    with pytest.raises(InputError, match=r"alone, got head2\.bias, head2\.weight too"):
        fit({**weights, "head2.weight": torch.ones(2, 2), "head2.bias": torch.ones(2)})


def test_a_run_s_own_weights(tmp_path) -> None:
    network = network_of("test_resnet")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    fitted = fit(read_checkpoint(tmp_path / "model.safetensors")[0])
    assert all(torch.equal(fitted.tensors[n], t) for n, t in network.backbone.state_dict().items())


def test_old_and_safe_formats(weights, tmp_path) -> None:
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "safe.safetensors")
    for name in ("old.pt", "safe.safetensors"):
        assert read_checkpoint(tmp_path / name)[0].keys() == weights.keys()


def test_of_several_state_dicts_one_is_chosen_by_name(weights, tmp_path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"state_dict": weights, "state_dict_ema": prefixed(weights, "x.")}, path)

    with pytest.raises(InputError, match=r"several .*--key state_dict or state_dict_ema"):
        read_checkpoint(path)
    assert read_checkpoint(path, "state_dict_ema")[0].keys() == prefixed(weights, "x.").keys()
    with pytest.raises(InputError, match="must be state_dict or state_dict_ema, got 'ema'"):
        read_checkpoint(path, "ema")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("defect_first", [False, True])
def test_torchvision_s_names_and_class_order(name: str, defect_first: bool) -> None:
    torch.manual_seed(1)
    theirs = get_model(name, weights=None, num_classes=2).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        first, second = theirs(pixels).T
    clean, defect = (second, first) if defect_first else (first, second)

    fitted = fit(theirs.state_dict(), name, defect_first=defect_first)

    found = logits_of(fitted, name, pixels)
    torch.testing.assert_close(found, torch.stack([clean, defect], 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("defect_first", [False, True])
def test_one_output_is_the_logit_of_the_second_class(defect_first: bool) -> None:
    torch.manual_seed(1)
    theirs = get_model("resnet18", weights=None, num_classes=1).eval()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        second = theirs(pixels)[:, 0]

    fitted = fit(theirs.state_dict(), "resnet18", defect_first=defect_first)

    clean, defect = logits_of(fitted, "resnet18", pixels).T
    expected = -second if defect_first else second
    torch.testing.assert_close(defect - clean, expected, rtol=1e-5, atol=1e-5)
    assert fitted.outputs == 1


def test_a_replaced_head_with_dropout(weights) -> None:
    named = {name.replace("fc.", "fc.1."): tensor for name, tensor in weights.items()}
    assert torch.equal(fit(named).tensors["fc.weight"], weights["fc.weight"])


def test_other_number_formats_become_float32(weights) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    fitted = fit(half)
    assert fitted.dtype == "float16"
    assert fitted.tensors["fc.weight"].dtype == torch.float32
    torch.testing.assert_close(fitted.tensors["fc.weight"], weights["fc.weight"].half().float())


def test_counters_of_training_steps_may_be_missing(weights) -> None:
    assert fit({k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")})


def changed(weights: Tensors, **tensors: torch.Tensor | None) -> Tensors:
    """Return ``weights`` with tensors replaced, ``__`` for dots; None: removed."""
    named = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in (weights | named).items() if tensor is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc__weight": None}, r"best.pt: must hold all weights of test_resnet, lacks fc.weight"),
        ({"aux__weight": torch.ones(2, 2)}, "weights of test_resnet alone, got aux.weight too"),
        ({"conv1__0__weight": torch.ones(3, 3)}, r"conv1.0.weight: must have shape \[.*got \[3, 3"),
        ({"fc__weight": torch.ones(1000, 3)}, r"must end in 2 outputs .*, got 1,000"),
        ({"fc__weight": torch.tensor(1.0)}, r"fc.weight: must have shape"),
        ({"fc__bias": torch.tensor([1.0, float("nan")])}, "fc.bias: must hold finite .*got 1 of 2"),
        ({"fc__bias": torch.tensor([1e300, 0.0], dtype=torch.float64)}, "fc.bias: must hold fini"),
        ({"fc__bias": torch.tensor([1, 2])}, "fc.bias: must hold floating-point .*got int64"),
        ({"fc__bias": torch.ones(2).to_sparse()}, "fc.bias: must be a plain tensor.*sparse"),
        ({"fc__bias": torch.ones(2, device="meta")}, "fc.bias: must be a plain tensor.*meta"),
    ],
)
def test_what_does_not_fit_is_named(weights, change, message) -> None:
    with pytest.raises(InputError, match=message):
        fit(changed(weights, **change))


def test_a_head_of_two_layers_is_another_network(weights) -> None:
    width = weights["fc.weight"].shape[1]
    named = {name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
    named |= {"fc.0.weight": torch.ones(width, width), "fc.2.weight": torch.ones(2, width)}
    with pytest.raises(InputError, match=r"got fc\.0\.weight, fc\.2\.weight too"):
        fit(named)


def test_a_tensor_that_claims_to_be_huge_is_never_touched(weights) -> None:
    huge = torch.ones(1).expand(2, 10**12)
    with pytest.raises(InputError, match=r"fc\.weight: must have shape"):
        fit(changed(weights, fc__weight=huge))


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "save",
    [
        lambda content, path: torch.save(content, path),
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=4)),
    ],
)
def test_code_in_a_checkpoint_is_never_run(weights, tmp_path, save) -> None:
    save({"state_dict": weights, "x": Hostile(tmp_path / "touched")}, tmp_path / "best.pt")
    with pytest.raises(InputError, match=r"best\.pt: "):
        read_checkpoint(tmp_path / "best.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (nn.Linear(3, 2), r"torch\.nn\.modules\.linear\.Linear"),
        ({"args": argparse.Namespace(), "state_dict": {}}, r"argparse\.Namespace"),
    ],
)
def test_objects_are_named_with_the_way_out(tmp_path, content, culprit) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(InputError, match=rf"{culprit}.*torch\.save\(model\.state_dict\(\)"):
        read_checkpoint(tmp_path / "best.pt")


def test_a_truncated_checkpoint_is_damaged(weights, tmp_path) -> None:
    for old in (False, True):
        path = tmp_path / "best.pt"
        torch.save(weights, path, _use_new_zipfile_serialization=not old)
        whole = path.read_bytes()
        for length in (0, 1, 2, 100, len(whole) // 2, len(whole) - 50, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError, match="got something damaged or of another kind"):
                read_checkpoint(path)


def test_an_archive_that_could_unfold_is_not_opened(weights, tmp_path) -> None:
    torch.save(weights, tmp_path / "best.pt")
    with (
        zipfile.ZipFile(tmp_path / "best.pt") as archive,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for item in archive.namelist():
            packed.writestr(item, archive.read(item))
    with pytest.raises(InputError, match="got a compressed archive"):
        read_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2, 2)], "must hold a state dict of tensors"),
        ({}, "must hold a state dict of tensors"),
        ({"accuracy": torch.tensor(0.9)}, "must hold a state dict of tensors"),
        ({"a": {"b": {"c": {"d": {"e": {"f": torch.ones(2, 2)}}}}}}, "must hold a state dict"),
    ],
)
def test_a_file_without_a_state_dict(tmp_path, content, message) -> None:
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "best.pt")


def test_files_of_other_kinds(tmp_path) -> None:
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "text.safetensors").write_text("weights")
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("a.png", b"png")
    for name in ("text.pt", "text.safetensors", "photos.pt"):
        with pytest.raises(InputError, match="got something damaged or of another kind"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(InputError, match=r"absent\.pt: no such file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="must be a checkpoint file, got a folder"):
        read_checkpoint(tmp_path)
