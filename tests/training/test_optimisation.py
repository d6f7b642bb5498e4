from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from drupe.training.config import TrainingConfig
from drupe.training.optimisation import (
    build_average,
    build_loss,
    build_optimiser,
    class_weights,
    learning_rate_factor,
)


def config(**keys):
    return TrainingConfig.model_validate(keys)


def test_cosine_agrees_with_torch_after_the_warm_up():
    training = config(epochs=10, warmup_epochs=0)
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=100)
    expected = []
    for _ in range(100):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()

    ours = [learning_rate_factor(step, 10, training) for step in range(100)]

    assert ours == pytest.approx(expected, abs=1e-6)


def test_warm_up_rises_in_equal_steps_to_the_peak():
    training = config(epochs=10, warmup_epochs=1)

    ours = [learning_rate_factor(step, 4, training) for step in range(5)]

    assert ours == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_constant_stays():
    training = config(epochs=4, warmup_epochs=0, schedule="constant")

    assert {learning_rate_factor(step, 4, training) for step in range(16)} == {1.0}


def test_balanced_weights_are_scikit_learns():
    is_defect = np.array([True] * 3 + [False] * 9)
    expected = compute_class_weight("balanced", classes=np.array([False, True]), y=is_defect)

    ours = class_weights(is_defect, config(class_weights="balanced"))

    assert ours is not None
    assert ours.tolist() == pytest.approx(expected.tolist())


def test_smoothed_loss_is_the_mixture_of_cross_entropies():
    logits, target = torch.tensor([[0.3, -1.2]]), torch.tensor([1])
    is_defect = np.array([True, False])
    logs = torch.log_softmax(logits, 1)[0]

    loss = build_loss(is_defect, config(label_smoothing=0.1))(logits, target)

    assert float(loss) == pytest.approx(float(-(0.95 * logs[1] + 0.05 * logs[0])))


def test_norms_and_biases_are_not_decayed():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    groups = build_optimiser(network, config(optimiser="adamw")).param_groups

    decayed = [len(group["params"]) for group in groups if group["weight_decay"] == 0.05]
    plain = [len(group["params"]) for group in groups if group["weight_decay"] == 0.0]
    assert (decayed, plain) == ([1], [3])


def test_weight_decay_default_depends_on_the_optimiser():
    assert config(optimiser="adam").weight_decay == 1e-5
    assert config(optimiser="adamw").weight_decay == 0.05
    assert config(optimiser="adamw", weight_decay=0).weight_decay == 0


def test_average_follows_the_recursion():
    network = nn.Linear(1, 1, bias=False)
    average = build_average(network, config(ema_decay=0.9))
    expected = float(network.weight.detach())
    for step in range(50):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update(network, step=step)
        decay = min(0.9, 1 - max(step, 1) ** -0.75)
        expected = decay * expected + (1 - decay) * step

    assert float(average.module.weight.detach()) == pytest.approx(expected, rel=1e-5)
