"""Optimiser, schedule, loss and the moving average of weights, each from its configuration."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from drupe.training.config import TrainingConfig


def build_optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser over what requires a gradient; biases and norms are not decayed."""
    decay = config.weight_decay or 0.0
    groups = param_groups_weight_decay(network, decay)
    match config.optimiser:
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        case "sgd":
            return torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=0.9, nesterov=True, fused=True
            )


def learning_rate_factor(step: int, steps_per_epoch: int, config: TrainingConfig) -> float:
    """Return the share of the peak learning rate at ``step`` (0-based, over the whole run).

    Linear warm-up, then constant, or half a cosine that would reach zero one step after the last.
    """
    warmup = round(min(config.warmup_epochs, config.epochs / 2) * steps_per_epoch)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, config.epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def class_weights(is_defect: NDArray[np.bool_], config: TrainingConfig) -> torch.Tensor | None:
    """Return loss weights (clean, defect), float32 [2], with a mean of one per item, or None.

    ``balanced`` is n / (2 · n_class), scikit-learn's formula.
    """
    if config.class_weights == "none":
        return None
    counts = np.array([np.count_nonzero(~is_defect), np.count_nonzero(is_defect)])
    return torch.from_numpy((len(is_defect) / (2 * counts)).astype(np.float32))


def build_loss(
    is_defect: NDArray[np.bool_], config: TrainingConfig, *, per_item: bool = False
) -> nn.CrossEntropyLoss:
    """Cross-entropy over (clean, defect) with the configured smoothing and class weights.

    ``per_item`` gives one loss per item instead of a batch's mean.
    """
    return nn.CrossEntropyLoss(
        weight=class_weights(is_defect, config),
        label_smoothing=config.label_smoothing,
        reduction="none" if per_item else "mean",
    )


def build_average(network: nn.Module, config: TrainingConfig) -> ModelEmaV3:
    """Return timm's moving average of weights and buffers.

    Its decay warms up as 1 − step^−0.75, so that a short run is not held back by the
    random head it began with. ``ema_decay`` 0 makes it a copy of the latest weights.
    """
    return ModelEmaV3(network, decay=config.ema_decay, use_warmup=True, warmup_power=0.75)
