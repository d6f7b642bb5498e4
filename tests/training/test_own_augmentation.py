"""An augmentation of the user's own: what tells it apart, what it sees, and what its run says."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from drupe.errors import InputError
from drupe.runs.record import read_record
from drupe.training.augmentation import AugmentationConfig
from drupe.training.config import load_experiment
from drupe.training.crossfit import score_out_of_fold
from drupe.training.engine import Trainer
from drupe.training.own_augmentation import apply_own, identified, source_of
from drupe.training.run import train_run
from drupe.training.tensor_file import load_tensors

NOISE = 4.0


def noisy(pixels: torch.Tensor) -> torch.Tensor:
    return _blurred(pixels) + NOISE * torch.randn_like(pixels)


def _blurred(pixels: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(pixels, 3, stride=1, padding=1)


def darker(strength: float):
    return lambda pixels: pixels * strength


@dataclass
class Masked:
    """Blacks out what a mask says, by a method that a class of the user's own has."""

    mask: np.ndarray
    share: float = 0.5

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels * torch.from_numpy(self.mask)

    def by_share(self, pixels: torch.Tensor, share: float = 0.1) -> torch.Tensor:
        return pixels * (1 - self.share - share)

    @staticmethod
    def halved(pixels: torch.Tensor) -> torch.Tensor:
        return pixels / 2


def digest(augment) -> str:
    return identified(augment).sha256


# What tells it apart


def test_the_same_function_has_the_same_digest_and_a_name() -> None:
    assert identified(noisy) == identified(noisy)
    assert identified(noisy).name.endswith("test_own_augmentation.noisy")
    assert source_of(noisy).startswith("def noisy(pixels")


def test_every_value_that_it_uses_counts(monkeypatch) -> None:
    before = digest(noisy)
    monkeypatch.setitem(noisy.__globals__, "NOISE", 5.0)
    other_constant = digest(noisy)
    monkeypatch.setitem(noisy.__globals__, "_blurred", lambda pixels: pixels)
    assert len({before, other_constant, digest(noisy)}) == 3


def test_a_name_that_only_an_inner_function_uses_counts(monkeypatch) -> None:
    def outer(pixels: torch.Tensor) -> torch.Tensor:
        return (lambda inner: inner + NOISE)(pixels)

    before = digest(outer)
    monkeypatch.setitem(noisy.__globals__, "NOISE", 5.0)
    assert digest(outer) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (darker(0.5), darker(0.6)),
        (functools.partial(F.dropout2d, p=0.1), functools.partial(F.dropout2d, p=0.2)),
        (Masked(np.ones(3, np.float32)), Masked(np.zeros(3, np.float32))),
        (Masked(np.ones(3)).by_share, Masked(np.ones(3), share=0.6).by_share),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
        (torch.nn.AvgPool2d(3, 1, 1), torch.nn.MaxPool2d(3, 1, 1)),
        (Masked.halved, Masked(np.ones(3)).by_share),
    ],
)
def test_two_that_do_different_things_are_told_apart(one, other) -> None:
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_sets_have_no_order() -> None:
    def using(values: object):
        return functools.partial(darker, values)

    names = [f"name {number}" for number in range(20)]
    assert digest(using({*names})) == digest(using({*reversed(names)}))
    assert digest(using({"a", "b"})) != digest(using({"a", "c"}))


def test_what_uses_itself_comes_to_an_end() -> None:
    class Chain:
        def __init__(self) -> None:
            self.next = self

        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels

    assert digest(Chain()) == digest(Chain())


@pytest.mark.parametrize(
    "given",
    [
        np.random.default_rng(0).permutation,
        functools.partial(darker, np.random.default_rng(0)),
        functools.partial(darker, object()),
    ],
    ids=["a builtin with a state", "a state that goes on", "no words"],
)
def test_one_that_cannot_be_told_is_refused(given) -> None:
    with pytest.raises(InputError, match="augment: must be a function"):
        identified(given)


def test_one_without_a_source_is_told_by_what_it_does() -> None:
    one, other = (eval(f"lambda pixels: [pixels * {by} for _ in '1'][0]") for by in (2, 3))
    assert digest(one) != digest(other)
    assert source_of(one) == ""


def test_a_builtin_has_a_name_and_no_source() -> None:
    assert identified(torch.relu).name.endswith("relu")
    assert digest(torch.relu) != digest(torch.sigmoid)
    assert source_of(functools.partial(torch.relu)) == ""
    assert source_of(Masked(np.ones(3))).lstrip().startswith("def __call__")


# What it sees and gives


def test_what_leaves_the_range_is_cut_off() -> None:
    pixels = torch.tensor([0.0, 100.0, 255.0]).view(1, 1, 1, 3).expand(2, 3, 4, 3)
    found = apply_own(lambda one: 2 * one - 50, pixels, 255)
    assert torch.equal(found[0, 0, 0], torch.tensor([0.0, 150.0, 255.0]))


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (lambda pixels: pixels[:, :1], r"got float32 \[2, 1, 4, 4\]"),
        (lambda pixels: pixels.half(), r"got float16 \[2, 3, 4, 4\]"),
        (lambda pixels: None, "got NoneType"),
    ],
)
def test_another_shape_or_kind_is_refused(wrong, got: str) -> None:
    with pytest.raises(InputError, match=r"must return float32 \[2, 3, 4, 4\], " + got):
        apply_own(wrong, torch.zeros(2, 3, 4, 4), 255)


# A run with it


def same(a, b) -> bool:
    left, right = (load_tensors(one / "model.safetensors")[0] for one in (a, b))
    return all(torch.equal(left[key], right[key]) for key in left)


def test_a_run_is_trained_by_it_resumed_to_the_bit_and_says_so(
    tiny, store, tmp_path, monkeypatch
) -> None:
    config = tiny(training={"checkpoint_every": 1}, augmentation=AugmentationConfig.off())
    wanted = identified(noisy)
    train_run(config, tmp_path / "whole", store, augment=noisy)
    train_epoch = Trainer.train_epoch

    def stop_in_the_second(self, epoch, tracker):
        if epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, tracker)

    with monkeypatch.context() as stopped:
        stopped.setattr(Trainer, "train_epoch", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train_run(config, tmp_path / "cut", store, augment=noisy)
    train_run(config, tmp_path / "cut", store, augment=noisy, resume=True)
    train_run(config, tmp_path / "plain", store)

    assert same(tmp_path / "whole", tmp_path / "cut")
    assert not same(tmp_path / "whole", tmp_path / "plain")
    record, plain = read_record(tmp_path / "whole"), read_record(tmp_path / "plain")
    assert record is not None
    assert plain is not None
    assert record.augment is not None
    assert (record.augment.name, record.augment.sha256) == (wanted.name, wanted.sha256)
    assert record.augment.source == source_of(noisy)
    assert "config.yaml alone can't train this run again" in record.notes[-1]
    assert plain.notes == []
    assert record.identity != plain.identity
    assert "own" not in (tmp_path / "plain" / "config.yaml").read_text()

    # Neither another function nor its file alone goes on with it, or takes it for done.
    other = darker(0.9)
    with pytest.raises(InputError, match=r"already holds another run \(augmentation.own.name"):
        train_run(config, tmp_path / "whole", store, augment=other, resume=True)
    written = load_experiment(tmp_path / "whole" / "config.yaml")
    with pytest.raises(InputError, match=r"augmentation\.own: must be given .* got none"):
        train_run(written, tmp_path / "again", store)
    with pytest.raises(InputError, match=r"augmentation\.own: must be given .* got test.*darker"):
        train_run(written, tmp_path / "again", store, augment=other)
    with pytest.raises(InputError, match=r"augmentation\.own: must be given"):
        score_out_of_fold(tmp_path / "whole", 2, store, data_fingerprint=record.data.fingerprint)
    assert not (tmp_path / "again").exists()

    train_run(written, tmp_path / "again", store, augment=noisy)
    assert same(tmp_path / "whole", tmp_path / "again")


def test_it_comes_last_and_sees_what_the_network_gets(tiny, store, tmp_path) -> None:
    seen: dict[str, tuple] = {}

    def look(pixels: torch.Tensor) -> torch.Tensor:
        box["shape"] = (tuple(pixels.shape), pixels.dtype, float(pixels.max()) > 1)
        return pixels

    box = seen
    config = tiny(input={"size": 64, "crop": 48, "range": "imagenet"}, training={"epochs": 1})
    train_run(config, tmp_path / "run", store, augment=look)
    assert seen["shape"] == ((16, 3, 48, 48), torch.float32, True)
