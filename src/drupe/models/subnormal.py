"""Subnormal weights: too small to be normal numbers, and many times slower on a CPU."""

from __future__ import annotations

import torch
from torch import nn

EXPONENT, MANTISSA = 0x7F800000, 0x007FFFFF
"""Bits of a float32."""


def flush_subnormals(module: nn.Module) -> int:
    """Set weights smaller than the smallest normal float32 to zero; return how many there were."""
    count = 0
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.dtype == torch.float32:
                # By their bits: a process that flushes subnormals compares them as zero.
                bits = tensor.view(torch.int32)
                tiny = ((bits & EXPONENT) == 0) & ((bits & MANTISSA) != 0)
                count += int(tiny.sum())
                tensor[tiny] = 0
    return count
