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
from drupe.models.prefixes import choose_prefix
from drupe.models.torchvision_names import torchvision_names
from drupe.models.weights import classifier_prefixes

Tensors = dict[str, torch.Tensor]
Names = Literal["timm", "torchvision"]

COUNTERS = ("num_batches_tracked", "n_averaged")
"""Ends of names of counts of training steps, which decide nothing."""

DEEPEST = 4
"""Mappings inside one another that are looked into: ``{"ema": {"shadow": {...}}}``."""

PLAIN = (bool, int, float, str)
"""Values beside tensors that a state dict may have: an epoch, a version."""

SHOWN = 4


@dataclass(frozen=True)
class FittedWeights:
    """A state dict under a network's own names, float32, two outputs: clean, defect.

    ``names``: whose names it had; ``outputs``: how many it had; ``dtype``: that of its weights;
    ``left``: names of what stood beside the network's tensors and isn't part of it.
    """

    tensors: Tensors
    names: Names
    outputs: int
    dtype: str
    left: tuple[str, ...] = ()


def read_checkpoint(path: Path, key: str | None = None) -> tuple[Tensors, str | None]:
    """Return the state dict in a checkpoint and its place in the file, None for the file itself.

    ``key`` (``ema.shadow``) chooses where there are several. It may stop above the only one that is
    there (``ema``), or go on with what tensors' names begin with (``ema.shadow.model``).

    Raises:
        InputError: no such file, damaged, objects other than tensors, no state dict, or several.
    """
    found = dict(_state_dicts(_load(path)))
    if key is not None:
        chosen = _under(found, key)
        if chosen is None:
            raise InputError(f"{path}: --key: must be {_alternatives(found)}, got {key!r}")
        return chosen
    if not found:
        raise InputError(f"{path}: must hold a state dict of tensors, got something else")
    if len(found) > 1:
        raise InputError(
            f"{path}: holds several state dicts: name the one that the model's figures are of: "
            f"--key {_alternatives(found)}"
        )
    place, tensors = found.popitem()
    return tensors, place or None


def _under(found: Mapping[str, Tensors], key: str) -> tuple[Tensors, str] | None:
    """Return the state dict at ``key``, the only one below it, or its tensors of that prefix."""
    if key in found:
        return found[key], key
    below = [place for place in found if place.startswith(f"{key}.")]
    if len(below) == 1:
        return found[below[0]], below[0]
    for place, tensors in found.items():
        start = f"{place}." if place else ""
        inner = f"{key.removeprefix(start)}."
        if key.startswith(start) and any(name.startswith(inner) for name in tensors):
            return _stripped(tensors, inner), key
    return None


def _stripped(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)
    }


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
    """Yield (place, tensors) of every mapping of tensors and plain values with a matrix in it."""
    if not isinstance(document, Mapping) or not all(isinstance(name, str) for name in document):
        return
    tensors = {name: one for name, one in document.items() if isinstance(one, torch.Tensor)}
    others = [one for one in document.values() if not isinstance(one, torch.Tensor)]
    if tensors and all(one is None or isinstance(one, PLAIN) for one in others):
        if any(value.dim() >= 2 for value in tensors.values()):
            yield place, tensors
        return
    if depth < DEEPEST:
        for name, value in document.items():
            yield from _state_dicts(value, f"{place}.{name}" if place else name, depth + 1)


def fit_to(
    backbone: nn.Module, architecture: str, tensors: Tensors, source: Path, *, defect_first: bool
) -> FittedWeights:
    """Bring ``tensors`` under the names of ``backbone``, a two-class timm network.

    They may have timm's names or torchvision's, under any prefix; what has another one, and metrics
    or a loss's weights (nothing with the form of a layer) beside the network, is left. A head of
    one output gives the logit of the second class, as a sigmoid does: the other class's row
    becomes zero, and the difference of the two is that logit. ``defect_first``: the checkpoint's
    first class is the defect.

    Raises:
        InputError: everything that is missing, unexpected, of another shape or no number.
    """
    own = backbone.state_dict()
    shapes = {name: (name, tensor.shape) for name, tensor in own.items()}
    schemes: dict[Names, dict[str, tuple[str, torch.Size]]] = {"timm": shapes}
    if foreign := torchvision_names(architecture, backbone):
        schemes["torchvision"] = {key: (item.name, item.shape) for key, item in foreign.items()}
    heads = classifier_prefixes(backbone)
    given = [{name for name, _ in one.values()} for one in schemes.values()]
    found = choose_prefix(tensors, given)
    if found.rivals:
        prefixes = " or ".join(repr(one.rstrip(".")) for one in (found.prefix, *found.rivals))
        raise InputError(
            f"{source}: holds several such networks, under {prefixes}: name the one that the "
            "model's figures are of behind the place of the state dict: --key PLACE.PREFIX"
        )
    tensors, aside = _without_aside(found.tensors, set().union(*given))

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
    left = tuple(name for name in (*found.left, *aside) if not name.endswith(COUNTERS))
    return FittedWeights(fitted, names, outputs, ", ".join(dtypes), left)


def _without_aside(tensors: Tensors, expected: set[str]) -> tuple[Tensors, list[str]]:
    """Take apart what has the network's top-level names, and what can't be a layer beside it.

    A layer has a matrix of floating-point numbers; where there is one, all of it stays, to be
    reported: it may be part of what the model computed.
    """
    own = {name.partition(".")[0] for name in expected}
    layers = {
        name.partition(".")[0]
        for name, tensor in tensors.items()
        if tensor.dim() >= 2 and tensor.is_floating_point()
    }
    kept = {
        name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in own | layers
    }
    return kept, [name for name in tensors if name not in kept]


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
