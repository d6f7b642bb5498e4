"""The batch loop. One ``Trainer`` holds what a run's steps change: weights, momenta, average.

Letters: N images in a batch, H and W pixels, h and w pixels that the network sees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from drupe.errors import TrainingDivergedError
from drupe.models.geometry import Geometry
from drupe.models.network import Network
from drupe.progress import Tracker
from drupe.runs.epoch_log import EpochResult
from drupe.training.augmentation import Augment
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.image_batches import ImageSource
from drupe.training.optimisation import (
    build_average,
    build_loss,
    build_optimiser,
    learning_rate_factor,
)
from drupe.training.own_augmentation import OwnAugmentation
from drupe.training.precision import Precision
from drupe.training.seeding import Stream, derive_seed, generator, seed_torch
from drupe.training.tensor_file import (
    Tensors,
    flatten_optimiser,
    prefixed,
    restore_optimiser,
    under,
)

LOSS_CHECK_EVERY = 16
"""Steps between looks at the loss: each look makes a GPU wait for its own queue."""


def epoch_order(items: NDArray[np.intp], seed: int, epoch: int) -> NDArray[np.intp]:
    """Return the fit items in this epoch's order."""
    random = np.random.default_rng(derive_seed(seed, Stream.ORDER, epoch))
    return random.permutation(items)


def batches(
    order: NDArray[np.intp], batch_size: int, world: World
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield (step, this rank's share of the batch); an incomplete last batch is left out.

    Items left out differ from epoch to epoch. A set smaller than a batch is one batch.
    """
    size = min(batch_size, len(order))
    for step in range(len(order) // size):
        yield step, order[step * size : (step + 1) * size][world.rank :: world.size]


class Trainer:
    """Steps through epochs of one run; its state can be taken out and put back to the bit."""

    def __init__(
        self,
        network: Network,
        config: ExperimentConfig,
        source: ImageSource,
        fit: NDArray[np.intp],
        geometry: Geometry,
        precision: Precision,
        world: World,
        soft: NDArray[np.float32] | None = None,
        weights: NDArray[np.float64] | None = None,
        own_augmentation: OwnAugmentation | None = None,
    ) -> None:
        training = config.training
        device = source.device
        # Of all items, [N, 2] (clean, defect): what a teacher says instead of the labels.
        self.soft = None if soft is None else torch.from_numpy(np.stack([1 - soft, soft], 1))
        self.network = network.to(device).to(memory_format=precision.memory_format)
        self.optimiser = build_optimiser(network, training)
        self.average = build_average(network, training)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.dtype == "fp16")
        # Of all items, [N], with a mean of one over those learnt from: steps stay as long.
        self.weights = None if weights is None else torch.from_numpy(weights / weights[fit].mean())
        weighs = weights is not None
        loss_function = build_loss(source.is_defect[fit], training, per_item=weighs)
        self.loss_function = loss_function.to(device)
        scale = network.scale
        self.augment = Augment(
            config.augmentation, geometry, scale.channels, scale.white_level, own_augmentation
        )
        self.model: nn.Module = (
            DistributedDataParallel(
                self.network, device_ids=[device] if device.type == "cuda" else None
            )
            if world.size > 1
            else self.network
        )
        self.config, self.source, self.fit = config, source, fit
        self.precision, self.world = precision, world
        self.steps_per_epoch = max(1, len(fit) // training.batch_size)

    def train_epoch(self, epoch: int, tracker: Tracker) -> EpochResult:
        """Train on every batch of ``epoch`` (0-based) and advance ``tracker`` by images."""
        seed, world, started = self.config.seed, self.world, time.perf_counter()
        seed_torch(seed, Stream.DROPOUT, epoch, world.rank)
        order = epoch_order(self.fit, seed, epoch)
        self.network.train()
        losses: list[torch.Tensor] = []
        correct = torch.zeros((), device=self.source.device)
        seen = 0
        for step, items in batches(order, self.config.training.batch_size, world):
            random = generator(seed, Stream.AUGMENTATION, epoch, step, world.rank)
            loss, hits = self.train_step(epoch, step, items, random)
            losses.append(loss)
            correct += hits
            seen += len(items)
            note = ""
            if step % LOSS_CHECK_EVERY == 0 or step == self.steps_per_epoch - 1:
                _require_finite(losses, epoch)
                note = f"epoch {epoch + 1}/{self.config.training.epochs}, loss {float(loss):.3f}"
            tracker.advance(len(items) * world.size, note=note)
        return EpochResult(
            epoch=epoch,
            loss=float(torch.stack(losses).mean()),
            accuracy=float(correct) / seen,
            learning_rate=self._learning_rate(epoch * self.steps_per_epoch),
            images=seen * world.size,
            seconds=time.perf_counter() - started,
        )

    def train_step(
        self, epoch: int, step: int, items: NDArray[np.intp], random: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update the weights on ``items``; return the loss and the right answers, two scalars."""
        training = self.config.training
        at = epoch * self.steps_per_epoch + step
        learning_rate = self._learning_rate(at)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        images, targets = self.source.batch(items)
        pixels = self.augment(images, random).contiguous(memory_format=self.precision.memory_format)
        with self.precision.autocast(self.source.device):
            logits = self.model(pixels)
        wanted = targets if self.soft is None else self.soft[items].to(targets.device)
        loss: torch.Tensor = self.loss_function(logits.float(), wanted)
        if self.weights is not None:
            loss = (loss * self.weights[items].to(loss)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if training.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), training.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network, step=at)
        return loss.detach(), (logits.argmax(1) == targets).sum()

    def _learning_rate(self, step: int) -> float:
        """Return the learning rate at ``step``, counted over the whole run."""
        training = self.config.training
        factor = learning_rate_factor(step, self.steps_per_epoch, training)
        return training.learning_rate * factor

    def state(self) -> Tensors:
        """Return every tensor that the next epoch depends on."""
        return {
            **prefixed("network", self.network.state_dict()),
            **prefixed("average", self.average.module.state_dict()),
            **prefixed("optimiser", flatten_optimiser(self.optimiser)),
        }

    def restore(self, tensors: Tensors, scaler: dict[str, Any]) -> None:
        """Put back what :meth:`state` and the scaler's ``state_dict`` gave."""
        self.network.load_state_dict(under("network", tensors))
        self.average.module.load_state_dict(under("average", tensors))
        restore_optimiser(self.optimiser, under("optimiser", tensors))
        self.scaler.load_state_dict(scaler)


def _require_finite(losses: list[torch.Tensor], epoch: int) -> None:
    for step, loss in enumerate(losses):
        if not math.isfinite(value := float(loss)):
            raise TrainingDivergedError(
                f"the loss became {value} at epoch {epoch + 1}, step {step + 1}: lower "
                "training.learning_rate, or set training.precision to fp32"
            )
