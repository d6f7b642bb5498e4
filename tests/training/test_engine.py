"""The batch loop against the same recipe written out by hand, in plain torch."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from drupe.errors import TrainingDivergedError
from drupe.models.geometry import Geometry
from drupe.models.network import InputScale, Network
from drupe.progress import silent
from drupe.training.augmentation import AugmentationConfig
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.engine import LOSS_CHECK_EVERY, Trainer, batches, epoch_order
from drupe.training.image_batches import ImageSource
from drupe.training.precision import Precision

SIDE, BATCH, STEPS, EPOCHS = 16, 4, 3, 2
FIT = np.arange(1, 1 + BATCH * STEPS + 2)  # two items of each epoch fill no batch
RATE, DECAY, SMOOTHING, CLIP, AVERAGE = 0.05, 0.3, 0.1, 0.01, 0.9


@pytest.fixture
def source() -> ImageSource:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    return ImageSource(images, random.random(20) < 0.5, torch.device("cpu"))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return Network(backbone, InputScale("unit"), geometry=Geometry(SIDE))


@pytest.fixture
def build(network, source):
    """Build a trainer of a copy of the network; keywords are those of ``training``."""

    def trainer(
        dtype: str = "fp32",
        fit: np.ndarray = FIT,
        soft: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        **training,
    ) -> Trainer:
        training = {"batch_size": BATCH, "epochs": EPOCHS, "learning_rate": RATE, **training}
        config = ExperimentConfig.model_validate(
            {
                "seed": 7,
                "model": {"architecture": "test_resnet", "pretrained": False},
                "input": {"size": SIDE},
                "augmentation": AugmentationConfig.off(),
                "training": training,
            }
        )
        precision = Precision(dtype, "contiguous")
        own = copy.deepcopy(network)
        return Trainer(own, config, source, fit, Geometry(SIDE), precision, World(), soft, weights)

    return trainer


def train(trainer: Trainer, epochs: int = EPOCHS):
    with silent("train", 1, "images") as tracker:
        return [trainer.train_epoch(epoch, tracker) for epoch in range(epochs)]


def rate_at(step: int, warmup: int, schedule: str) -> float:
    """The learning rate by its formula: a line up to the peak, then half a cosine or nothing."""
    if step < warmup:
        return RATE * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return RATE
    return RATE / 2 * (1 + math.cos(math.pi * (step - warmup) / (STEPS * EPOCHS - warmup)))


class Recipe:
    """Weights and their average after each step, by the formulas of the papers."""

    def __init__(self, network: Network, optimiser: str, clip: float) -> None:
        self.network, self.optimiser, self.clip = copy.deepcopy(network), optimiser, clip
        self.weights = list(self.network.parameters())
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.average = [weight.detach().clone() for weight in self.weights]
        self.losses: list[float] = []

    def step(self, number: int, images: np.ndarray, defects: np.ndarray, rate: float) -> None:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        logs = torch.log_softmax(self.network.backbone(pixels / 255), dim=1)
        chosen = logs[torch.arange(len(defects)), torch.from_numpy(defects).long()]
        loss = -((1 - SMOOTHING) * chosen + SMOOTHING * logs.mean(1)).mean()
        self.losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, self.weights)
        if self.clip:
            length = torch.sqrt(sum((one**2).sum() for one in gradients))
            gradients = [one * min(1.0, self.clip / float(length)) for one in gradients]
        with torch.no_grad():
            for place, gradient in enumerate(gradients):
                self._update(place, gradient, number + 1, rate)
                decay = min(AVERAGE, 1 - max(number, 1) ** -0.75)
                self.average[place].mul_(decay).add_((1 - decay) * self.weights[place])

    def _update(self, place: int, gradient: torch.Tensor, count: int, rate: float) -> None:
        weight, first, second = (part[place] for part in (self.weights, self.first, self.second))
        decay = DECAY if weight.ndim > 1 else 0.0  # biases have none
        if self.optimiser == "sgd":  # Nesterov's momentum, as Sutskever et al. (2013) write it
            gradient = gradient + decay * weight
            first.mul_(0.9).add_(gradient)
            weight.sub_(rate * (gradient + 0.9 * first))
            return
        # Loshchilov and Hutter (2019), algorithm 2
        weight.mul_(1 - rate * decay)
        first.mul_(0.9).add_(0.1 * gradient)
        second.mul_(0.999).add_(0.001 * gradient**2)
        corrected = second / (1 - 0.999**count)
        weight.sub_(rate * (first / (1 - 0.9**count)) / (corrected.sqrt() + 1e-8))


@pytest.mark.parametrize(
    ("optimiser", "schedule", "warmup_epochs", "clip"),
    [("sgd", "cosine", 1.0, 0.0), ("sgd", "constant", 0.0, CLIP), ("adamw", "cosine", 0.0, CLIP)],
)
def test_the_loop_is_the_recipe(
    build, network, source, optimiser, schedule, warmup_epochs, clip
) -> None:
    trainer = build(
        optimiser=optimiser,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        clip_norm=clip,
        weight_decay=DECAY,
        label_smoothing=SMOOTHING,
        ema_decay=AVERAGE,
    )
    recipe = Recipe(network, optimiser, clip)

    results = train(trainer)

    rates = [rate_at(step, round(warmup_epochs * STEPS), schedule) for step in range(6)]
    for epoch in range(EPOCHS):
        order = epoch_order(FIT, 7, epoch)
        for step in range(STEPS):
            items = order[step * BATCH : (step + 1) * BATCH]
            number = epoch * STEPS + step
            recipe.step(number, source.images[items], source.is_defect[items], rates[number])
    for name, expected, found in zip(
        dict(network.named_parameters()),
        recipe.weights,
        trainer.network.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=name)
    averaged = trainer.average.module.parameters()
    for expected, found in zip(recipe.average, averaged, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert [one.learning_rate for one in results] == pytest.approx([rates[0], rates[STEPS]])
    losses = [sum(recipe.losses[:STEPS]) / STEPS, sum(recipe.losses[STEPS:]) / STEPS]
    assert [one.loss for one in results] == pytest.approx(losses, rel=1e-4)
    assert [(one.epoch, one.images) for one in results] == [(0, 12), (1, 12)]
    assert all(one.seconds > 0 for one in results)


def test_accuracy_counts_right_answers(build) -> None:
    trainer = build(learning_rate=1e-9)
    with torch.no_grad():
        trainer.network.backbone[4].weight.zero_()
        trainer.network.backbone[4].bias.copy_(torch.tensor([0.0, 1.0]))  # always a defect

    (result,) = train(trainer, 1)

    used = epoch_order(FIT, 7, 0)[: BATCH * STEPS]
    assert result.accuracy == pytest.approx(trainer.source.is_defect[used].mean())


def poison(trainer: Trainer, at: int, value: float) -> None:
    """Let the loss of one step become ``value``."""
    loss_function, steps = trainer.loss_function, iter(range(10**6))

    def poisoned(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = loss_function(logits, targets)
        return loss * value if next(steps) == at else loss

    trainer.loss_function = poisoned


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (STEPS + 1, math.nan, "the loss became nan at epoch 2, step 2: lower"),
        (0, math.inf, "the loss became inf at epoch 1, step 1: lower"),
    ],
)
def test_a_loss_that_is_no_number_stops_and_names_the_step(build, at, value, said) -> None:
    trainer = build()
    poison(trainer, at, value)

    with pytest.raises(TrainingDivergedError, match=said):
        train(trainer)


def test_the_loss_is_looked_at_in_the_middle_of_a_long_epoch(build) -> None:
    trainer = build(fit=np.arange(20), batch_size=1)
    assert trainer.steps_per_epoch > LOSS_CHECK_EVERY + 1
    poison(trainer, 1, math.nan)
    advanced: list[int] = []

    class Counting:
        def advance(self, units: int = 1, note: str = "") -> None:
            advanced.append(units)

    with pytest.raises(TrainingDivergedError, match="epoch 1, step 2"):
        trainer.train_epoch(0, Counting())
    assert len(advanced) == LOSS_CHECK_EVERY


def test_an_epoch_says_how_far_it_is(build) -> None:
    trainer, said = build(), []

    class Noting:
        def advance(self, units: int = 1, note: str = "") -> None:
            said.append((units, note))

    trainer.train_epoch(0, Noting())

    assert [units for units, _ in said] == [BATCH] * STEPS
    assert said[0][1].startswith("epoch 1/2, loss 0.")
    assert said[1][1] == ""
    assert said[2][1].startswith("epoch 1/2, loss 0.")


def test_a_state_put_back_goes_on_to_the_bit(build) -> None:
    whole, begun = build(), build()
    train(whole)
    train(begun, 1)
    state = {name: tensor.clone() for name, tensor in begun.state().items()}

    resumed = build()
    resumed.restore(state, begun.scaler.state_dict())
    with silent("train", 1, "images") as tracker:
        resumed.train_epoch(1, tracker)

    ours, theirs = resumed.state(), whole.state()
    assert ours.keys() == theirs.keys()
    assert {name.partition("/")[0] for name in ours} == {"network", "average", "optimiser"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    averages = [one.average.module.parameters() for one in (resumed, whole)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*averages, strict=True))


def test_a_reduced_format_leaves_weights_in_fp32(build) -> None:
    exact, reduced = build(), build("bf16")
    train(exact)
    train(reduced)

    weights = list(zip(reduced.network.parameters(), exact.network.parameters(), strict=True))
    assert {weight.dtype for weight, _ in weights} == {torch.float32}
    assert any(not torch.equal(ours, theirs) for ours, theirs in weights)
    for ours, theirs in weights:
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(("dtype", "scales"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_losses_are_scaled_for_fp16_alone(build, dtype, scales) -> None:
    assert build(dtype).scaler.is_enabled() == scales


def test_every_epoch_has_an_order_of_its_own_that_the_seed_gives() -> None:
    items = np.arange(50, 90)

    orders = [epoch_order(items, seed, epoch).tolist() for seed in (1, 2) for epoch in (0, 1)]

    assert all(sorted(order) == items.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(items, 1, 0).tolist() == orders[0]


@pytest.mark.parametrize(
    ("items", "size", "expected"),
    [
        (10, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),  # the last two are left out
        (3, 4, [[0, 1, 2]]),  # smaller than a batch
        (4, 2, [[0, 1], [2, 3]]),
    ],
)
def test_batches_of_one_process(items, size, expected) -> None:
    found = list(batches(np.arange(items), size, World()))

    assert [step for step, _ in found] == list(range(len(expected)))
    assert [batch.tolist() for _, batch in found] == expected


def test_processes_share_each_batch() -> None:
    shares = [
        [batch.tolist() for _, batch in batches(np.arange(8), 4, World(rank, 2))] for rank in (0, 1)
    ]

    assert shares == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


def test_soft_targets_that_say_what_labels_say_change_nothing(build, source) -> None:
    labels = source.is_defect.astype(np.float32)
    hard, soft = build(label_smoothing=SMOOTHING), build(label_smoothing=SMOOTHING, soft=labels)
    for one, other in zip(train(hard), train(soft), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.accuracy == other.accuracy
    for one, other in zip(hard.network.parameters(), soft.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_network_that_learns_soft_targets_answers_with_them(build, source) -> None:
    trainer = build(soft=np.full(20, 0.3, np.float32), epochs=60, weight_decay=0.0, clip_norm=0.0)
    train(trainer, 60)
    images, _ = source.batch(FIT)
    chance = torch.sigmoid(trainer.network.eval().defect_logit(images))
    torch.testing.assert_close(chance.mean(), torch.tensor(0.3), atol=0.03, rtol=0)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_an_item_of_weight_two_counts_twice(build, source, class_weights) -> None:
    items = FIT[:BATCH]
    weights = np.full(20, 3.0)
    weights[items] = (6.0, 3.0, 3.0, 3.0)
    chosen = {"class_weights": class_weights, "label_smoothing": 0.1, "optimiser": "sgd"}
    trainer = build(weights=weights, fit=FIT, **chosen)
    logits = trainer.network(trainer.augment(source.batch(items)[0], torch.Generator()))
    own = trainer.loss_function.weight
    targets = source.batch(items)[1]
    losses = nn.functional.cross_entropy(
        logits, targets, weight=own, label_smoothing=0.1, reduction="none"
    )
    mean = weights[FIT].mean()
    expected = ((2 * losses[0] + losses[1:].sum()) * 3.0 / mean / BATCH).item()
    loss, _ = trainer.train_step(0, 0, items, torch.Generator())
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    plain, _ = build(fit=FIT, **chosen).train_step(0, 0, items, torch.Generator())
    assert float(plain) != pytest.approx(expected, rel=1e-3)
