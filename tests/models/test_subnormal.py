from __future__ import annotations

import pytest
import torch

from drupe.models.subnormal import flush_subnormals


def test_subnormal_weights_become_zero_and_are_counted() -> None:
    layer = torch.nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        bits = torch.tensor([[71362, 0, 0x0DA24260]], dtype=torch.int32)  # 1e-40, 0, 1e-30
        layer.weight.view(torch.int32).copy_(bits)
    assert flush_subnormals(layer) == 1
    assert layer.weight[0].tolist() == [0.0, 0.0, pytest.approx(1e-30)]
