from __future__ import annotations

import torch

from drupe.training.seeding import Stream, derive_seed, generator, seed_torch


def test_every_place_has_its_own_seed():
    places = [
        (s, stream, e, i) for s in (1, 2) for stream in Stream for e in range(3) for i in (0, 1)
    ]

    seeds = {derive_seed(seed, stream, *place) for seed, stream, *place in places}

    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_same_seed_same_numbers():
    seed_torch(42, Stream.WEIGHTS)
    first = torch.rand(3)
    seed_torch(42, Stream.WEIGHTS)

    assert torch.equal(first, torch.rand(3))
    assert torch.equal(
        torch.rand(3, generator=generator(1, Stream.AUGMENTATION, 2)),
        torch.rand(3, generator=generator(1, Stream.AUGMENTATION, 2)),
    )
