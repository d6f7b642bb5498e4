"""A checkpoint is one safetensors file: no pickle, written atomically, resumed to the bit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from drupe.errors import InputError
from drupe.files import parse_json, replacing
from drupe.models.weights import DESCRIPTION

Tensors = dict[str, torch.Tensor]


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], document: Any) -> None:
    """Write ``tensors`` with ``document`` (JSON-like) as the file's metadata, atomically."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {DESCRIPTION: json.dumps(document, sort_keys=True)}
    with replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata=metadata)
        except SafetensorError as error:
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            # A full disk: as an OSError, it leaves with the name of the file.
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def load_tensors(path: Path) -> tuple[Tensors, Any]:
    """Read what :func:`save_tensors` wrote; damage is an :class:`InputError`."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, parse_json(metadata[DESCRIPTION].encode())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    # A library in Rust: what it meets (a folder, say) is an OSError without a name or number.
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        reason = "a folder" if path.is_dir() else error
        raise InputError(f"{path}: damaged, or not written by Drupe ({reason})") from None


def flatten_optimiser(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return the optimiser's per-parameter state as ``{index}.{name}`` tensors."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put back what :func:`flatten_optimiser` took, in each parameter's memory layout.

    Raises:
        ValueError, IndexError: the tensors are of another optimiser.
    """
    parameters = [item for group in optimiser.param_groups for item in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        if value.dim() > 0 and value.shape != like.shape:
            raise ValueError(
                f"optimiser/{key}: must have shape {list(like.shape)}, got {list(value.shape)}"
            )
        # The fused kernels walk memory, not indices: momenta must lie as their weights do.
        same_shape = value.dim() > 0
        restored = torch.empty_like(like).copy_(value) if same_shape else value
        state.setdefault(int(index), {})[name] = restored
    whole = optimiser.state_dict()
    whole["state"] = state
    optimiser.load_state_dict(whole)


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return ``tensors`` with every name under ``prefix/``."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return the tensors that stand under ``prefix/``, without it."""
    start = f"{prefix}/"
    return {key.removeprefix(start): item for key, item in tensors.items() if key.startswith(start)}


def load_weights(network: nn.Module, tensors: Mapping[str, torch.Tensor], source: Path) -> None:
    """Load a state dict; a mismatch is an :class:`InputError` that names the file."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise InputError(f"{source}: weights do not fit the network: {error}") from None
