from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binom

from drupe.data.split import Split, split_dataset
from drupe.errors import InputError

SIDES = ("fit", "calibration", "test", "dropped")


def random_case(seed: int) -> dict[str, np.ndarray]:
    """Up to 900 items in groups of 1 to 9, some with mixed labels, some across the splits."""
    random = np.random.default_rng(seed)
    count = int(random.integers(400, 900))
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
        "digests": np.array(digests_of(count))[order],
    }


def digests_of(count: int) -> tuple[str, ...]:
    return tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in range(count))


def draw(is_defect: np.ndarray, groups: np.ndarray | None = None, **changes: object) -> Split:
    """Split a folder without val/ whose items are single ones unless ``groups`` says otherwise."""
    count = len(is_defect)
    groups = np.arange(count) if groups is None else groups
    given = {"holdout": 0.25, "test_share": 0.2, "seed": 0, **changes}
    return split_dataset(
        is_defect, np.zeros(count, bool), False, groups, digests_of(count), **given
    )


def run(case: dict[str, np.ndarray], has_val: bool, seed: int = 0, **shares: float) -> Split:
    in_val = case["in_val"] if has_val else np.zeros(len(case["in_val"]), bool)
    shares = {"holdout": 0.25, "test_share": 0.2, **shares}
    return split_dataset(
        case["is_defect"], in_val, has_val, case["groups"], case["digests"], seed=seed, **shares
    )


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
def test_shares_hold_within_sampling_error(share: float) -> None:
    is_defect = np.arange(4000) < 1800
    for seed in range(20):
        split = draw(is_defect, test_share=share, holdout=share, seed=seed)
        rest = np.concatenate([split.fit, split.calibration])
        for part, whole in ((split.test, np.arange(4000)), (split.calibration, rest)):
            for defect in (False, True):
                n = np.count_nonzero(is_defect[whole] == defect)
                wanted = binom(n, share)
                found = np.count_nonzero(is_defect[part] == defect)
                # 240 draws: one outside this range is expected in 400 runs of other seeds.
                assert wanted.ppf(5e-6) <= found <= wanted.isf(5e-6)


def by_digest(case: dict[str, np.ndarray], split: Split) -> dict[str, str]:
    return {case["digests"][i]: side for side in SIDES for i in getattr(split, side)}


def without_groups(case: dict[str, np.ndarray], groups: np.ndarray) -> dict[str, np.ndarray]:
    kept = ~np.isin(case["groups"], groups)
    return {name: values[kept] for name, values in case.items()}


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_added_and_removed_items_move_nobody(seed: int, has_val: bool) -> None:
    case = random_case(seed)
    random = np.random.default_rng(seed)
    names = np.unique(case["groups"])
    fewer = without_groups(case, random.choice(names, len(names) // 4, replace=False))
    before, after = by_digest(fewer, run(fewer, has_val)), by_digest(case, run(case, has_val))
    assert all(after[digest] == side for digest, side in before.items())


@pytest.mark.parametrize("seed", range(10))
def test_relabelled_and_renamed_items_move_nobody(seed: int) -> None:
    case = random_case(seed)
    random = np.random.default_rng(seed)
    order = random.permutation(len(case["groups"]))  # another folder name sorts otherwise
    other = {name: values[order] for name, values in case.items()}
    other["is_defect"] = other["is_defect"] ^ (random.random(len(order)) < 0.05)
    assert by_digest(case, run(case, False)) == by_digest(other, run(other, False))
    for fold in (0, 1):
        same = {name: values[order] for name, values in case.items()}
        here, there = (run(one, False, fold=(fold, 3)) for one in (case, same))
        assert by_digest(case, here) == by_digest(same, there)


def test_a_larger_share_only_adds_to_calibration() -> None:
    is_defect = np.arange(2000) % 2 == 0
    parts = [set(draw(is_defect, holdout=share).calibration) for share in (0.25, 1 / 3, 0.5)]
    assert parts[0] < parts[1] < parts[2]


def test_a_group_goes_where_its_lowest_digest_goes() -> None:
    is_defect = np.arange(300) % 2 == 0
    digests = digests_of(300)
    single = draw(is_defect)
    pairs = draw(is_defect, np.arange(300) // 2)
    side = {i: name for name in SIDES for i in getattr(single, name)}
    paired = {i: name for name in SIDES for i in getattr(pairs, name)}
    for first in range(0, 300, 2):
        leader = min((first, first + 1), key=lambda i: digests[i])
        assert paired[first] == paired[first + 1] == side[leader]


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_inner_folds_stay_inside_fit(seed: int, has_val: bool) -> None:
    case = random_case(seed)
    whole = run(case, has_val)
    splits = [run(case, has_val, inner=[(k, 3)]) for k in range(3)]
    np.testing.assert_array_equal(
        np.sort(np.concatenate([split.test for split in splits])), whole.fit
    )
    for split in splits:
        assert split.calibration.size == 0
        np.testing.assert_array_equal(np.sort(np.concatenate([split.fit, split.test])), whole.fit)
        assert not set(case["groups"][split.fit]) & set(case["groups"][split.test])
        everything = np.concatenate([getattr(split, side) for side in SIDES])
        np.testing.assert_array_equal(np.sort(everything), np.arange(len(case["is_defect"])))


def test_folds_inside_an_inner_fold_stay_inside_its_fit() -> None:
    case = random_case(3)
    outer = run(case, True, inner=[(1, 3)])
    inside = [run(case, True, inner=[(1, 3), (k, 2)]) for k in range(2)]
    together = np.concatenate([split.test for split in inside])
    np.testing.assert_array_equal(np.sort(together), outer.fit)
    assert set(outer.test) <= set(inside[0].dropped)


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
    is_defect = np.arange(120) % 2 == 0
    drawn = np.zeros(120)
    for seed in range(1000):
        split = draw(is_defect, seed=seed, holdout=None)
        drawn[split.test] += 1
    # Binomial(1000, 0.2): mean 200, deviation 12.6; 5 deviations over 120 items is 1 in 14,000.
    assert np.all(np.abs(drawn - 200) < 63)


def test_a_side_without_a_class_is_an_error() -> None:
    with pytest.raises(InputError) as caught:
        draw(np.arange(30) < 1)
    text = str(caught.value)
    assert "test split: must hold clean items and defects, got " in text
    assert "calibration split" in text
    assert "dataset: 29 clean, 1 defects" in text


def test_an_error_counts_what_was_dropped() -> None:
    is_defect = np.arange(20) < 10
    in_val = np.arange(20) % 2 == 0
    groups = np.where(is_defect, 0, np.arange(20))
    shares = {"holdout": 0.25, "test_share": 0.2, "seed": 0}
    with pytest.raises(InputError, match=r"\ncrops: .* 5 dropped as copies of val/"):
        split_dataset(is_defect, in_val, True, groups, digests_of(20), **shares, source="crops")


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
    whole = draw(is_defect)
    training = np.concatenate([whole.fit, whole.calibration])
    for k in range(5):
        held = draw(is_defect, fold=(k, 5)).calibration
        assert abs(len(held) - len(training) / 5) <= 1
        assert abs(is_defect[held].sum() - is_defect[training].sum() / 5) <= 1


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


def sides_of(split: Split, origins: list[str]) -> dict[str, set[str]]:
    """Name of an origin → the sides that its items are on."""
    found: dict[str, set[str]] = {}
    for side in SIDES:
        for index in getattr(split, side):
            found.setdefault(origins[index], set()).add(side)
    return found


@pytest.mark.parametrize("has_val", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_an_origin_is_on_one_side_and_so_are_copies(seed: int, has_val: bool) -> None:
    case = random_case(seed)
    # An origin has about three groups of copies, and one item in fifty comes from another one.
    lots = case["groups"] // 15
    stray = np.random.default_rng(seed).random(len(lots)) < 0.02
    origins = [f"lot-{k}" for k in np.where(stray, np.roll(lots, 1), lots)]
    if has_val:
        case["in_val"] &= lots % 4 == 0
    split = run(case, has_val, seed, origins=origins)
    assert all(len(sides - {"dropped"}) <= 1 for sides in sides_of(split, origins).values())
    for first, second in combinations(("fit", "calibration", "test"), 2):
        both = (case["groups"][getattr(split, side)] for side in (first, second))
        assert np.intersect1d(*both).size == 0
    if not has_val:
        assert split.dropped.size == 0


def test_origins_that_share_a_copy_are_kept_together() -> None:
    is_defect = np.arange(400) % 2 == 0
    origins = [f"lot-{k // 10}" for k in range(400)]
    groups = np.arange(400)
    groups[[9, 10]], groups[[19, 20]] = 9, 19  # lots 0, 1 and 2 by a chain
    sides = sides_of(draw(is_defect, groups, origins=origins), origins)
    assert sides["lot-0"] == sides["lot-1"] == sides["lot-2"]


def test_shares_of_many_origins_hold_and_more_of_them_move_none() -> None:
    is_defect = np.arange(20_000) % 2 == 0
    origins = [f"lot-{k // 10}" for k in range(20_000)]
    split = draw(is_defect, origins=origins)
    low, high = (10 * bound / 20_000 for bound in binom.ppf([1e-6, 1 - 1e-6], 2_000, 0.2))
    assert low <= len(split.test) / 20_000 <= high
    fewer = draw(is_defect[:10_000], origins=origins[:10_000])
    first, second = sides_of(fewer, origins), sides_of(split, origins)
    assert all(second[name] == sides for name, sides in first.items())
    other = draw(is_defect, origins=origins, seed=1)
    assert sides_of(other, origins) != second


def test_of_few_origins_no_side_is_empty() -> None:
    is_defect = np.arange(600) % 2 == 0
    counts = []
    for seed in range(200):
        cameras = 3 + seed % 4
        origins = [f"camera-{k * cameras // 600}" for k in range(600)]
        split = draw(is_defect, origins=origins, seed=seed)
        counts.append(len(split.test) / 600)
        assert split.fit.size
        assert split.calibration.size
        assert split.test.size
    assert 0.2 < np.mean(counts) < 0.45  # one of three is a third


def test_too_few_origins_are_counted() -> None:
    is_defect = np.arange(100) % 2 == 0
    with pytest.raises(InputError, match="2 groups that are kept together; more groups") as caught:
        draw(is_defect, origins=["a"] * 50 + ["b"] * 50)
    assert "fit split: must hold clean items and defects, got 0 clean and 0 def" in str(
        caught.value
    )
    in_val = np.arange(100) < 20
    shares = {"holdout": 0.25, "test_share": 0.2, "seed": 0}
    with pytest.raises(InputError, match="80 dropped as copies or of the groups of val/"):
        split_dataset(
            is_defect, in_val, True, np.arange(100), digests_of(100), origins=["a"] * 100, **shares
        )
