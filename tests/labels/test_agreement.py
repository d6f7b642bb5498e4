from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from drupe.labels.agreement import cohen_kappa, fleiss_kappa

TWO = ("ann", "bob")


# Expected: statsmodels 0.15.0, stats.inter_rater.cohens_kappa (kappa, kappa_low, kappa_upp). The
# first table is that of Fleiss, Levin & Paik (2003), table 18.1: kappa 0.68, standard error 0.088.
@pytest.mark.parametrize(
    ("table", "kappa", "low", "high"),
    [
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.676470588235294, 0.5045759581, 0.8483652184),
        ([[20, 5], [10, 15]], 0.4, 0.1510922905, 0.6489077095),
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.49152542372881, 0.3915637021, 0.5914871454),
        (
            [[40, 1, 0, 2], [3, 25, 4, 0], [0, 2, 6, 1], [1, 0, 0, 3]],
            0.7455596860801,
            0.6286081990,
            0.8625111732,
        ),
    ],
)
def test_cohen_as_statsmodels(table, kappa, low, high) -> None:
    counts = np.array(table)
    found = cohen_kappa(counts, TWO)
    assert found.kappa == pytest.approx(kappa, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    first, second = (np.repeat(which.ravel(), counts.ravel()) for which in np.indices(counts.shape))
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.items == counts.sum()


# The worked example of Fleiss' method that text books and encyclopaedias share (10 subjects, 14
# raters, 5 categories): kappa 0.210. statsmodels 0.15.0 fleiss_kappa: 0.20993070442195522.
FOURTEEN = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def test_fleiss_as_statsmodels_and_its_jackknife_by_leaving_out() -> None:
    counts, names = np.array(FOURTEEN), tuple("abcdefghijklmn")
    found = fleiss_kappa(counts, names)
    assert found.kappa == pytest.approx(0.20993070442195522, abs=1e-12)
    without = np.array(
        [fleiss_kappa(np.delete(counts, item, axis=0), names).kappa for item in range(10)]
    )
    error = np.sqrt(9 / 10 * np.sum((without - without.mean()) ** 2))
    assert found.kappa - found.low == pytest.approx(2.2621571628 * error)  # t, 9 degrees of freedom


def judge(random, items: int, raters: int, shares, error: float):
    """Return int [items, raters]: the true category, or with probability ``error`` any one."""
    truth = random.choice(len(shares), items, p=shares)[:, None]
    slips = random.random((items, raters)) < error
    return np.where(slips, random.choice(len(shares), (items, raters), p=shares), truth)


@pytest.mark.parametrize(("items", "error"), [(100, 0.2), (200, 0.5), (60, 0.02)])
def test_intervals_hold_the_true_kappa(items: int, error: float) -> None:
    shares = (0.6, 0.3, 0.1)
    true = (1 - error) ** 2  # both right, or at least one by chance: agreement beyond chance
    random = np.random.default_rng(1)
    held = {"cohen": 0, "fleiss": 0}
    for _ in range(1000):
        judged = judge(random, items, 3, shares, error)
        table = np.zeros((3, 3), int)
        np.add.at(table, (judged[:, 0], judged[:, 1]), 1)
        counts = np.stack([(judged == category).sum(axis=1) for category in range(3)], axis=1)
        for one in (cohen_kappa(table, TWO), fleiss_kappa(counts, ("a", "b", "c"))):
            held[one.method] += one.low <= true <= one.high
    # 95 % is nominal; 1,000 draws have a standard error of 0.7 points.
    assert min(held.values()) >= 925, held


def test_perfect_agreement_is_no_certainty() -> None:
    found = cohen_kappa(np.diag([10, 10]), TWO)
    # Clopper & Pearson: 20 of 20 has the lower bound 0.025^(1/20) = 0.8316.
    assert (found.kappa, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx((0.025 ** (1 / 20) - 0.5) / 0.5)
    together = fleiss_kappa(np.array([[3, 0]] * 10 + [[0, 3]] * 10), ("a", "b", "c"))
    assert together.low == pytest.approx(found.low)


def test_where_kappa_is_not_defined() -> None:
    for found in (
        cohen_kappa(np.zeros((4, 4), int), TWO),
        cohen_kappa(np.diag([9, 0]), TWO),
        fleiss_kappa(np.zeros((0, 4), int), ("a", "b", "c")),
        fleiss_kappa(np.array([[3, 0]] * 5), ("a", "b", "c")),
    ):
        assert (found.kappa, found.low, found.high) == (None, None, None)
    single = fleiss_kappa(np.array([[2, 1]]), ("a", "b", "c"))
    assert (single.low, single.high) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="rows must add up"):
        fleiss_kappa(np.array([[2, 2]]), ("a", "b", "c"))
