from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from drupe.data.split import Split, split_dataset
from drupe.errors import InputError

SIDES = ("fit", "calibration", "test", "dropped")


def random_case(seed: int) -> dict[str, np.ndarray]:
    """Up to 500 items in groups of 1 to 9, some with mixed labels, some across the splits."""
    random = np.random.default_rng(seed)
    count = int(random.integers(120, 500))
    groups = np.repeat(np.arange(count), random.integers(1, 10, count))[:count]
    label = random.random(count) < random.uniform(0.2, 0.8)
    is_defect = label[groups] ^ (random.random(count) < 0.03)
    in_val = (random.random(count) < 0.3)[groups] ^ (random.random(count) < 0.02)
    order = random.permutation(count)
    names = random.permutation(count).astype(np.int32)
    return {
        "is_defect": is_defect[order],
        "in_val": in_val[order],
        "groups": names[groups[order]],
    }


def run(case: dict[str, np.ndarray], has_val: bool, seed: int = 0, **shares: float) -> Split:
    in_val = case["in_val"] if has_val else np.zeros(len(case["in_val"]), bool)
    shares = {"holdout": 0.25, "test_share": 0.2, **shares}
    return split_dataset(case["is_defect"], in_val, has_val, case["groups"], seed=seed, **shares)


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_every_item_once_and_no_group_on_two_sides(seed: int, has_val: bool) -> None:
    case = random_case(seed)
    split = run(case, has_val, seed)
    parts = [getattr(split, side) for side in SIDES]
    everything = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(case["is_defect"])))
    for part in parts:
        assert part.dtype == np.intp
        assert np.all(np.diff(part) > 0)
    for first, second in combinations(("fit", "calibration", "test"), 2):
        shared = np.intersect1d(
            case["groups"][getattr(split, first)], case["groups"][getattr(split, second)]
        )
        assert shared.size == 0


@pytest.mark.parametrize("seed", range(25))
def test_val_stays_whole_and_only_its_copies_are_dropped(seed: int) -> None:
    case = random_case(seed)
    split = run(case, has_val=True)
    np.testing.assert_array_equal(split.test, np.flatnonzero(case["in_val"]))
    expected = [
        index
        for index in range(len(case["in_val"]))
        if not case["in_val"][index]
        and np.any(case["groups"][case["in_val"]] == case["groups"][index])
    ]
    assert split.dropped.tolist() == expected


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(15))
def test_shares_are_met_within_a_group_in_each_class(seed: int, share: float) -> None:
    case = random_case(seed)
    majority = np.bincount(case["groups"], case["is_defect"]) / np.bincount(case["groups"]).clip(1)
    case["is_defect"] = majority[case["groups"]] >= 0.5  # no mixed groups
    split = run(case, has_val=False, test_share=share, holdout=share)
    largest = np.bincount(case["groups"]).max()
    labels = case["is_defect"]
    rest = np.concatenate([split.fit, split.calibration])
    for defect in (False, True):
        wanted = share * np.count_nonzero(labels == defect)
        assert abs(np.count_nonzero(labels[split.test] == defect) - wanted) <= largest
        wanted = share * np.count_nonzero(labels[rest] == defect)
        assert abs(np.count_nonzero(labels[split.calibration] == defect) - wanted) <= largest


def test_single_items_meet_the_share_to_half_an_item() -> None:
    is_defect = np.arange(2805) < 1312
    none = np.zeros(2805, bool)
    split = split_dataset(
        is_defect, none, False, np.arange(2805), holdout=0.25, test_share=0.2, seed=0
    )
    test = is_defect[split.test]
    assert (np.count_nonzero(test), np.count_nonzero(~test)) == (262, 299)  # of 262.4, 298.6
    held = is_defect[split.calibration]
    assert np.count_nonzero(held) in (262, 263)  # of 262.5
    assert np.count_nonzero(~held) in (298, 299)  # of 298.5


def test_a_giant_group_is_passed_over_rather_than_emptying_a_side() -> None:
    groups = np.concatenate([np.zeros(600, int), np.arange(1, 401)])
    is_defect = np.zeros(1000, bool)
    is_defect[600:800] = True
    for seed in range(10):
        split = split_dataset(
            is_defect, np.zeros(1000, bool), False, groups, holdout=0.25, test_share=0.2, seed=seed
        )
        assert np.count_nonzero(~is_defect[split.test]) == 160
        assert 0 not in split.test


def test_the_seed_alone_decides() -> None:
    case = random_case(7)
    first = run(case, has_val=False, seed=3)
    np.random.default_rng(0).random(5)
    again = run(case, has_val=False, seed=3)
    other = run(case, has_val=False, seed=4)
    for side in SIDES:
        np.testing.assert_array_equal(getattr(first, side), getattr(again, side))
    assert not np.array_equal(first.test, other.test)
    assert not np.array_equal(first.calibration, other.calibration)


def test_the_numbering_of_groups_does_not_matter() -> None:
    case = random_case(8)
    renamed = {**case, "groups": 10_000 - 3 * case["groups"]}
    for has_val in (True, False):
        first, second = run(case, has_val), run(renamed, has_val)
        for side in SIDES:
            np.testing.assert_array_equal(getattr(first, side), getattr(second, side))


def test_drawing_is_fair() -> None:
    is_defect = np.arange(40) % 2 == 0
    none = np.zeros(40, bool)
    drawn = np.zeros(40)
    for seed in range(1000):
        split = split_dataset(
            is_defect, none, False, np.arange(40), holdout=0.25, test_share=0.2, seed=seed
        )
        drawn[split.test] += 1
    # Binomial(1000, 0.2): mean 200, deviation 12.6; 5 deviations over 40 items is 1 in 40,000.
    assert np.all(np.abs(drawn - 200) < 63)


def test_a_side_without_a_class_is_an_error() -> None:
    is_defect = np.zeros(30, bool)
    is_defect[:1] = True
    none = np.zeros(30, bool)
    with pytest.raises(InputError) as caught:
        split_dataset(is_defect, none, False, np.arange(30), holdout=0.25, test_share=0.2, seed=0)
    text = str(caught.value)
    assert "test split: must hold clean items and defects, got 6 clean and 0 defects" in text
    assert "calibration split" in text
    assert "dataset: 29 clean, 1 defects" in text


def test_an_error_counts_what_was_dropped() -> None:
    is_defect = np.arange(20) < 10
    in_val = np.arange(20) % 2 == 0
    groups = np.where(is_defect, 0, np.arange(20))
    shares = {"holdout": 0.25, "test_share": 0.2, "seed": 0}
    with pytest.raises(InputError, match=r"\ncrops: .* 5 dropped as copies of val/"):
        split_dataset(is_defect, in_val, True, groups, **shares, source="crops")


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_folds_hold_every_training_item_once(seed: int, has_val: bool) -> None:
    case = random_case(seed)
    whole = run(case, has_val)
    splits = [run(case, has_val, fold=(k, 4)) for k in range(4)]
    training = np.sort(np.concatenate([whole.fit, whole.calibration]))
    dealt = np.concatenate([split.calibration for split in splits])
    np.testing.assert_array_equal(np.sort(dealt), training)
    for split in splits:
        np.testing.assert_array_equal(split.test, whole.test)
        np.testing.assert_array_equal(
            np.sort(np.concatenate([split.fit, split.calibration])), training
        )
        assert not set(case["groups"][split.fit]) & set(case["groups"][split.calibration])


def test_folds_are_of_one_size_and_mix() -> None:
    is_defect = np.arange(2805) < 1312
    none = np.zeros(2805, bool)
    shares = {"holdout": 0.25, "test_share": 0.2, "seed": 0}
    training = split_dataset(is_defect, none, False, np.arange(2805), **shares)
    defects = is_defect[training.fit].sum() + is_defect[training.calibration].sum()
    for k in range(5):
        held = split_dataset(
            is_defect, none, False, np.arange(2805), fold=(k, 5), **shares
        ).calibration
        assert abs(len(held) - (len(training.fit) + len(training.calibration)) / 5) <= 1
        assert abs(is_defect[held].sum() - defects / 5) <= 1


def test_a_limit_takes_both_classes_by_turns_and_drops_the_rest() -> None:
    case = random_case(1)
    whole = run(case, has_val=True)
    limited = whole.limited(7, case["is_defect"])
    for side in ("fit", "calibration", "test"):
        part = getattr(limited, side)
        assert len(part) == 7
        assert np.isin(part, getattr(whole, side)).all()
        assert np.count_nonzero(case["is_defect"][part]) in (3, 4)
    everything = np.concatenate([getattr(limited, side) for side in SIDES])
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(case["is_defect"])))


def test_without_a_holdout_everything_but_the_test_is_fit() -> None:
    case = random_case(2)
    split = run(case, has_val=True, holdout=None)
    assert split.calibration.size == 0
    np.testing.assert_array_equal(split.test, np.flatnonzero(case["in_val"]))
    assert len(split.fit) + len(split.test) + len(split.dropped) == len(case["is_defect"])
