"""State dicts from elsewhere: found inside a checkpoint, checked, brought under a network's names.

Nothing in such a file is trusted. torch's restricted unpickler builds tensors and containers only;
names and shapes are compared before any value is read.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import nn

from drupe.errors import InputError, shortened
from drupe.models.network import CLEAN, DEFECT
from drupe.models.torchvision_names import torchvision_names
from drupe.models.weights import classifier_prefixes

Tensors = dict[str, torch.Tensor]
Names = Literal["timm", "torchvision"]

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of every name after DataParallel, torch.optim's average and torch.compile."""

COUNTERS = ("num_batches_tracked", "n_averaged")
"""Ends of names of counts of training steps, which decide nothing."""

DEEPEST = 2
"""Mappings inside one another that are looked into: ``{"ema": {"shadow": {...}}}``."""

SHOWN = 4


@dataclass(frozen=True)
class FittedWeights:
    """A state dict under a network's own names, float32, two outputs: clean, defect.

    ``names``: whose names it had; ``outputs``: how many it had; ``dtype``: that of its weights.
    """

    tensors: Tensors
    names: Names
    outputs: int
    dtype: str


def read_checkpoint(path: Path, key: str | None = None) -> tuple[Tensors, str | None]:
    """Return the state dict in a checkpoint and its place in the file, None for the file itself.

    ``key`` (``ema`` or ``ema.shadow``) chooses where there are several.

    Raises:
        InputError: no such file, damaged, objects other than tensors, no state dict, or several.
    """
    found = dict(_state_dicts(_load(path)))
    if key is not None:
        if key not in found:
            raise InputError(f"{path}: --key: must be {_alternatives(found)}, got {key!r}")
        return found[key], key
    if not found:
        raise InputError(f"{path}: must hold a state dict of tensors, got something else")
    if len(found) > 1:
        raise InputError(
            f"{path}: holds several state dicts: name the one that the model's figures are of: "
            f"--key {_alternatives(found)}"
        )
    place, tensors = found.popitem()
    return tensors, place or None


def _alternatives(found: Mapping[str, Tensors]) -> str:
    return " or ".join(name for name in found if name) or "left out"


def _load(path: Path) -> Any:
    if path.is_dir():
        raise InputError(f"{path}: must be a checkpoint file, got a folder")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_compressed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, which load all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        if culprit := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{path}: holds a Python object ({culprit[1]}) besides tensors; such objects can "
                "run code and are never loaded. Where the model was trained, save its weights "
                'alone: torch.save(model.state_dict(), "weights.pt")'
            ) from None
        text = "" if isinstance(error, UnpicklingError) else f": {error}"  # pages of advice
        reason = shorten(type(error).__name__ + text, 160, placeholder="…")
        raise InputError(
            f"{path}: must be a whole checkpoint of PyTorch or safetensors, got something damaged "
            f"or of another kind ({reason})"
        ) from None


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive that could unfold to any size: torch stores its records as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        packed = [item for item in archive.infolist() if item.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise InputError(
            f"{path}: must be a checkpoint of PyTorch, got a compressed archive "
            f"({shorten(packed[0].filename, 60)})"
        )


def _state_dicts(document: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Tensors]]:
    """Yield (place, tensors) of every mapping of nothing but tensors, one of them a matrix."""
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        return
    values = list(document.values())
    if values and all(isinstance(value, torch.Tensor) for value in values):
        if any(value.dim() >= 2 for value in values):
            yield place, dict(document)
        return
    if depth < DEEPEST:
        for name, value in document.items():
            yield from _state_dicts(value, f"{place}.{name}" if place else name, depth + 1)


def fit_to(
    backbone: nn.Module, architecture: str, tensors: Tensors, source: Path, *, defect_first: bool
) -> FittedWeights:
    """Bring ``tensors`` under the names of ``backbone``, a two-class timm network.

    They may have timm's names or torchvision's, under any prefix that all of them share. A head of
    one output gives the logit of the second class, as a sigmoid does: the other class's row
    becomes zero, and the difference of the two is that logit. ``defect_first``: the checkpoint's
    first class is the defect.

    Raises:
        InputError: everything that is missing, unexpected, of another shape or no number.
    """
    own = backbone.state_dict()
    tensors = _without_prefix(tensors, {name.partition(".")[0] for name in own})
    shapes = {name: (name, tensor.shape) for name, tensor in own.items()}
    schemes: dict[Names, dict[str, tuple[str, torch.Size]]] = {"timm": shapes}
    if foreign := torchvision_names(architecture, backbone):
        schemes["torchvision"] = {key: (item.name, item.shape) for key, item in foreign.items()}
    heads = classifier_prefixes(backbone)

    def known(scheme: Names) -> int:
        return len(tensors.keys() & {name for name, _ in schemes[scheme].values()})

    names = max(schemes, key=known)
    scheme = schemes[names]
    head_names = {key: scheme[key][0] for key in own if key.startswith(heads)}
    tensors = _with_plain_head(tensors, head_names, {name for name, _ in scheme.values()})
    problems = _name_problems(tensors, scheme, architecture)
    outputs = _outputs(tensors, list(head_names.values()))
    if not problems:
        problems = _shape_problems(tensors, scheme, heads, outputs)
    if not problems:
        floats = [name for key, (name, _) in scheme.items() if own[key].is_floating_point()]
        problems = _value_problems({name: tensors[name] for name in floats})
    if problems:
        raise InputError([f"{source}: {problem}" for problem in problems])
    fitted = {
        key: tensors[name].float().reshape(_own_shape(own[key], key, heads, outputs))
        if own[key].is_floating_point()
        else own[key]
        for key, (name, _) in scheme.items()
    }
    for key in head_names:
        fitted[key] = _two_rows(fitted[key], defect_first)
    dtypes = sorted({_word(tensors[name]) for name in floats})
    return FittedWeights(fitted, names, outputs, ", ".join(dtypes))


def _without_prefix(tensors: Tensors, own: set[str]) -> Tensors:
    """Drop wrappers' prefixes and the first part that all names share, such as ``model.``."""
    while True:
        kept = {name: item for name, item in tensors.items() if name not in COUNTERS}
        firsts = {name.partition(".")[0] for name in kept}
        wrapped = all(name.startswith(WRAPPERS) for name in kept)
        shared = len(firsts) == 1 and not firsts & own
        if not kept or not (wrapped or shared) or not all("." in name for name in kept):
            return kept
        tensors = {name.partition(".")[2]: item for name, item in kept.items()}


def _with_plain_head(tensors: Tensors, head: Mapping[str, str], expected: set[str]) -> Tensors:
    """Rename the one linear layer of a replaced head, ``fc.1.weight``, to the network's own name.

    What else such a head held (dropout, activations of the features) has no tensors and can't be
    seen; two layers or norms stay, and are reported as unexpected.
    """
    tensors = dict(tensors)
    weights = {name for name in head.values() if name.endswith("weight")}
    if len(weights) != 1 or weights <= tensors.keys():
        return tensors
    (weight,) = weights
    top = weight.partition(".")[0]
    extra = [name for name in tensors if name.partition(".")[0] == top and name not in expected]
    linear = [name for name in extra if name.endswith(".weight") and tensors[name].dim() == 2]
    if len(linear) != 1 or len(extra) > 2:
        return tensors
    stem = linear[0].removesuffix("weight")
    for name in extra:
        if name.removeprefix(stem) in ("weight", "bias"):
            tensors[weight.removesuffix("weight") + name.removeprefix(stem)] = tensors.pop(name)
    return tensors


def _name_problems(
    tensors: Tensors, scheme: Mapping[str, tuple[str, torch.Size]], architecture: str
) -> list[str]:
    expected = [name for name, _ in scheme.values()]
    missing = [name for name in expected if name not in tensors and not name.endswith(COUNTERS)]
    unexpected = sorted(tensors.keys() - set(expected))
    problems = []
    if missing:
        problems.append(f"must hold all weights of {architecture}, lacks {_few(missing)}")
    if unexpected:
        problems.append(f"must hold weights of {architecture} alone, got {_few(unexpected)} too")
    return problems


def _few(names: list[str]) -> str:
    shown = [shorten(name, 80, placeholder="…") or repr(name) for name in names]
    return ", ".join(shortened(shown, SHOWN))


def _outputs(tensors: Tensors, head: list[str]) -> int:
    found = [tensors[name].shape[0] for name in head if name in tensors and tensors[name].dim()]
    return found[0] if found else 0


def _shape_problems(
    tensors: Tensors,
    scheme: Mapping[str, tuple[str, torch.Size]],
    heads: tuple[str, ...],
    outputs: int,
) -> list[str]:
    if outputs not in (1, 2):
        return [
            "must end in 2 outputs (one per class), or in 1 (the logit of the second class), "
            f"got {outputs:,}"
        ]
    problems = []
    for key, (name, shape) in scheme.items():
        wanted = (outputs, *shape[1:]) if key.startswith(heads) else tuple(shape)
        if name in tensors and tuple(tensors[name].shape) != wanted:
            problems.append(
                f"{name}: must have shape {list(wanted)}, got {list(tensors[name].shape)}"
            )
    return shortened(problems, SHOWN)


def _value_problems(tensors: Tensors) -> list[str]:
    problems = []
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            problems.append(
                f"{name}: must be a plain tensor, got {_word(tensor)} ({tensor.layout}, "
                f"{tensor.device.type})"
            )
        elif not tensor.is_floating_point():
            problems.append(f"{name}: must hold floating-point numbers, got {_word(tensor)}")
        elif not bool(torch.isfinite(tensor.float()).all()):
            bad = int((~torch.isfinite(tensor.float())).sum())
            problems.append(
                f"{name}: must hold finite numbers, got {bad:,} of {tensor.numel():,} that are NaN "
                "or infinite"
            )
    return shortened(problems, SHOWN)


def _word(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _own_shape(
    own: torch.Tensor, key: str, heads: tuple[str, ...], outputs: int
) -> tuple[int, ...]:
    return (outputs, *own.shape[1:]) if key.startswith(heads) else tuple(own.shape)


def _two_rows(rows: torch.Tensor, defect_first: bool) -> torch.Tensor:
    """Return a head's tensor [1 or 2, …] with the rows clean, defect."""
    if rows.shape[0] == 1:
        rows = torch.cat([torch.zeros_like(rows), rows])
    assert (CLEAN, DEFECT) == (0, 1)
    return rows.flip(0) if defect_first else rows
