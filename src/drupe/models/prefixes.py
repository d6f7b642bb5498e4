"""A network's tensors among others: the prefix under which they stand, and what stands beside.

Checkpoints hold what was saved with a model: Lightning's a loss and its metrics beside ``model.``,
others an average of the weights or a teacher; wrappers put ``module.`` before every name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

Tensors = dict[str, torch.Tensor]

DEEPEST = 6
"""Parts that a prefix has at most: ``module.model.net.backbone.``."""


@dataclass(frozen=True)
class Chosen:
    """The ``tensors`` under a ``prefix``, without it; ``left``: the other names.

    ``rivals``: further prefixes under which as many of the network's names stand.
    """

    prefix: str
    tensors: Tensors
    left: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()


def choose_prefix(
    tensors: Mapping[str, torch.Tensor], schemes: Collection[Collection[str]]
) -> Chosen:
    """Return what stands under the prefix that most of the names of one scheme stand under.

    ``schemes``: the network's names, in each of the ways that it may be named. Where no name is one
    of the network's, all tensors are returned as they are.
    """
    counts = [_counted(tensors, set(scheme)) for scheme in schemes]
    most = max((max(count.values(), default=0) for count in counts), default=0)
    best = sorted({prefix for count in counts for prefix in count if count[prefix] == most})
    if not most:
        return Chosen("", dict(tensors))
    prefix = best[0]
    return Chosen(
        prefix,
        {name.removeprefix(prefix): item for name, item in tensors.items() if _is(name, prefix)},
        tuple(name for name in tensors if not _is(name, prefix)),
        tuple(best[1:]),
    )


def _is(name: str, prefix: str) -> bool:
    return name.startswith(prefix)


def _counted(tensors: Mapping[str, torch.Tensor], names: set[str]) -> Counter[str]:
    """Return how many of ``names`` stand under each prefix."""
    found: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for place in range(min(len(parts), DEEPEST + 1)):
            if ".".join(parts[place:]) in names:
                found["".join(f"{part}." for part in parts[:place])] += 1
    return found
