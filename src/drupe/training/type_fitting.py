"""Fitting the type head of a trained network, and the file in which a run keeps it.

The network has learnt to tell defects from clean items, and stays as it is. Which type a defect is
of is read from its features afterwards, by a regression on the defects of ``fit``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, Field

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.models.ensemble import AnyNetwork
from drupe.models.network import Network
from drupe.models.type_head import (
    NoFeaturesError,
    TypeHead,
    last_layer,
    linear_layer,
    networks_of,
)
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.runs.results import require_own
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import pooled_features
from drupe.training.preparation import PreparedData
from drupe.training.softmax_regression import fit_softmax
from drupe.training.tensor_file import Tensors, load_tensors, prefixed, save_tensors, under

MOST_ITEMS = 5_000
"""Defects that the regression sees, evenly spaced among more: bounds time and memory."""


ABOUT = "types "
"""Every note about types begins so."""


class TypeMetadata(BaseModel):
    """The header of ``types.safetensors``: the types in the order of the layers' outputs."""

    names: tuple[str, ...] = Field(min_length=2)


@dataclass(frozen=True)
class FittedTypes:
    """A type head, None where there is none; ``notes``: what can't be told, and why."""

    head: TypeHead | None = None
    notes: tuple[str, ...] = ()


def fit_types(
    network: Network, data: PreparedData, source: ImageSource, progress: Progress = silent
) -> FittedTypes:
    """Fit a head to the types of the defects in ``fit``, where the data tells of types.

    It is a softmax regression (:func:`fit_softmax`) on the features that go into the network's
    last layer, so the same network gives the same head. Neither the network nor anything random
    changes.
    """
    types = data.dataset.types
    if types is None:
        return FittedTypes()
    items = np.array([item for item in data.split.fit if types[item]], np.intp)
    names = sorted({types[item] for item in items})
    if len(names) < 2:
        return FittedTypes(None, (_nothing_to_tell(names),))
    if len(items) > MOST_ITEMS:
        items = items[np.linspace(0, len(items) - 1, MOST_ITEMS).astype(np.intp)]
        names = sorted({types[item] for item in items})
    try:
        (features,) = pooled_features(network, source, items, progress, "features of types")
    except NoFeaturesError as error:
        return FittedTypes(None, (f"types of defects can't be told: {error}",))
    if not np.isfinite(features).all():  # whoever judges the network refuses it
        return FittedTypes()
    labels = np.array([names.index(types[item]) for item in items])
    weight, bias = fit_softmax(features, labels, len(names))
    layer = linear_layer(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())
    return FittedTypes(TypeHead(names, [layer]), _never_learnt(data, types, names))


def _nothing_to_tell(names: Sequence[str]) -> str:
    of = f"are all of the type {names[0]}" if names else "have no types"
    return f"types of defects can't be told: the defects to learn from (fit) {of}"


def _never_learnt(
    data: PreparedData, types: Sequence[str], names: Sequence[str]
) -> tuple[str, ...]:
    """Say which types of calibration and test the head can't name, because fit has none."""
    counts = {
        side: Counter(types[item] for item in getattr(data.split, side))
        for side in ("calibration", "test")
    }
    lacking = sorted(set().union(*counts.values()) - {"", *names})
    told = []
    for name in lacking:
        where = [f"{count[name]:,} in {side}" for side, count in counts.items() if count[name]]
        told.append(f"{name} ({', '.join(where)})")
    if not told:
        return ()
    return (
        f"types that the network can't name, because there are none to learn from (fit): "
        f"{'; '.join(told)}; their defects are called one of {', '.join(names)}",
    )


def notes_on_types(notes: Sequence[str]) -> list[str]:
    """Return those of a run's notes that :func:`fit_types` made: judging it again keeps them."""
    return [note for note in notes if note.startswith(ABOUT)]


def write_types(folder: Path, head: TypeHead | None) -> None:
    """Write ``types.safetensors`` of the run in ``folder``; without a head there is no file."""
    path = RunFolder(folder).types
    if head is None:
        path.unlink(missing_ok=True)
        return
    tensors: Tensors = {}
    for place, layer in enumerate(head.linear):
        tensors |= prefixed(str(place), layer.state_dict())
    save_tensors(path, tensors, TypeMetadata(names=head.names).model_dump(mode="json"))


def read_types(folder: Path, network: AnyNetwork) -> TypeHead | None:
    """Return the type head of a finished run, on the CPU; None where it has none.

    ``network`` is the run's, whose features the head takes.

    Raises:
        InputError: a damaged file, one that isn't the run's, or that doesn't fit the network.
    """
    path = RunFolder(folder).types
    if record := read_record(folder):
        require_own(folder, record, path)
    if not path.exists():
        return None
    tensors, document = load_tensors(path)
    names = validate(TypeMetadata, document, str(path)).names
    layers = []
    for place, member in enumerate(networks_of(network)):
        own = under(str(place), tensors)
        wanted = {
            "weight": (len(names), last_layer(member.backbone).in_features),
            "bias": (len(names),),
        }
        got = {key: tuple(tensor.shape) for key, tensor in own.items()}
        if got != wanted:
            raise InputError(f"{path}: must hold layers of the shapes {wanted}, got {got}")
        layers.append(linear_layer(own["weight"], own["bias"]))
    return TypeHead(names, layers)


def joined_types(heads: Sequence[TypeHead | None]) -> FittedTypes:
    """Return the head of an ensemble, whose type logits are the mean of its members'.

    There is none unless all members tell the same types apart.
    """
    known = [head for head in heads if head is not None]
    if not known:
        return FittedTypes()
    if len(known) < len(heads) or len({head.names for head in known}) > 1:
        told = "; ".join(", ".join(head.names) if head else "none" for head in heads)
        return FittedTypes(
            None, (f"types of defects can't be told: members must tell the same, got {told}",)
        )
    layers = [layer for head in known for layer in head.linear]
    return FittedTypes(TypeHead(known[0].names, layers))
