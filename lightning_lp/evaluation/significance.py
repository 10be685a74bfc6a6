"""How sure a comparison is: bootstrap intervals, paired tests, and their correction for being many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test, rankdata

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """A model against another, on the same users.

    Attributes:
        difference: mean over users of the first minus the second.
        p: two-sided p value: the chance of a difference as large if the two were alike.
        p_holm: the same, corrected for all tests of the comparison.
    """

    difference: float
    p: float
    p_holm: float


def bootstrap_interval(values: Floats, seed: int, num_resamples: int = 2000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over users.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. Equal seeds draw equal users.

    Args:
        values: [num_users].
        seed: seed of the draw.
        num_resamples: how many samples of ``num_users`` users are drawn with replacement.
    """
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(num_resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_tests(values: Floats, others: Sequence[Floats], seed: int, num_resamples: int = 9999) -> list[PairedTest]:
    """Tests a model against each of several by the randomisation test, two-sided, Holm-corrected.

    Under the null hypothesis the two values of a user could as well be exchanged (Smucker, Allan and Carterette, "A
    comparison of statistical significance tests for information retrieval evaluation", CIKM 2007).

    Args:
        values: [num_users] of the model.
        others: [num_users] of each of the others, for the same users.
        seed: seed of the draw.
        num_resamples: random exchanges; the least p value is 2 / (num_resamples + 1).
    """
    differences = [values - other for other in others]
    p = [_randomisation_p(difference, seed, num_resamples) for difference in differences]
    return [
        PairedTest(float(difference.mean()), *pair)
        for difference, pair in zip(differences, zip(p, holm(p), strict=True), strict=True)
    ]


def by_user(values: Floats, users: NDArray[np.int64]) -> Floats:
    """Values of users from those of their queries, with the same mean: what is drawn or exchanged is whole users.

    The queries of one user are alike, and would make an interval or a p value too sure of itself.

    Args:
        values: [num] of each query.
        users: [num] who asks it.

    Examples:
        >>> import numpy as np
        >>> from lightning_lp.evaluation.significance import by_user
        >>> by_user(np.array([1.0, 0.0, 0.5, 0.5]), np.array([3, 3, 3, 8])).tolist()
        [0.75, 0.25]
    """
    found, row = np.unique(users, return_inverse=True)
    scaled: Floats = np.asarray(np.bincount(row, values) * (len(found) / len(values)), np.float64)
    return scaled


def holm(p: Sequence[float]) -> list[float]:
    """Corrects p values for their number: Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Examples:
        >>> from lightning_lp.evaluation.significance import holm
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)), 1.0)
    in_order = np.empty(len(p))
    in_order[order] = corrected
    return [float(value) for value in in_order]


def auroc(scores: Floats, label: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of (link, non-link) pairs in the right order, ties counted half.

    It takes scores of any scale; torchmetrics would squeeze what is not from 0 to 1 through a sigmoid, and in float32
    large scores become equal.
    """
    num_links = int(label.sum())
    above = rankdata(scores)[label].sum() - num_links * (num_links + 1) / 2
    return float(above / (num_links * (len(label) - num_links)))


def _randomisation_p(difference: Floats, seed: int, num_resamples: int) -> float:
    if not difference.any():
        return 1.0
    result = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=max(1, 2**22 // len(difference)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
