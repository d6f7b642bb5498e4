"""Every random number of a run derives from its seed and a place (epoch, step, rank).

Nothing random has to be kept in a checkpoint: a resumed epoch draws what the first try drew.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """Independent uses of randomness; the numbers are part of ``TRAINING_VERSION``."""

    WEIGHTS = 0
    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3


def derive_seed(seed: int, stream: Stream, *place: int) -> int:
    """Return a 63-bit seed for ``stream`` at ``place`` (NumPy's ``SeedSequence`` hash)."""
    state = np.random.SeedSequence([seed, int(stream), *place]).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def seed_torch(seed: int, stream: Stream, *place: int) -> None:
    """Seed torch's global generators (all devices) for ``stream`` at ``place``."""
    torch.manual_seed(derive_seed(seed, stream, *place))


def generator(seed: int, stream: Stream, *place: int) -> torch.Generator:
    """Return a CPU generator for ``stream`` at ``place``."""
    return torch.Generator().manual_seed(derive_seed(seed, stream, *place))
