import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lightning_lp.evaluation.significance import auroc, bootstrap_interval, by_user, holm, paired_tests


def test_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).random(400)
    low, high = bootstrap_interval(values, seed=0)
    margin = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=3e-3)
    assert bootstrap_interval(values, seed=0) == (low, high)
    assert bootstrap_interval(np.ones(5), seed=0) == (1.0, 1.0)


@pytest.mark.parametrize("num_users", [2, 37, 610])
def test_interval_is_that_of_scipy(num_users):
    """Of equal draws; the last digit may differ, for a percentile is not a share. SciPy takes no single user."""
    values = np.random.default_rng(num_users).beta(0.5, 2, num_users)
    options = {"n_resamples": 2000, "method": "percentile", "rng": np.random.default_rng(5)}
    expected = scipy.stats.bootstrap((values,), np.mean, **options).confidence_interval
    assert bootstrap_interval(values, seed=5) == pytest.approx(tuple(expected), rel=1e-12)
    assert bootstrap_interval(values[:1], seed=5) == (values[0], values[0])


def test_paired_tests_tell_a_difference_from_chance():
    rng = np.random.default_rng(0)
    values = rng.random(200)
    better, same = values + 0.05 + 0.1 * rng.standard_normal(200), values + 0.1 * rng.standard_normal(200)
    tests = paired_tests(values, [better, same, values], seed=0, num_resamples=999)
    assert tests[0].difference == pytest.approx(-0.05, abs=0.02)
    assert tests[0].p == pytest.approx(2 / 1000)  # the least that 999 exchanges can give
    assert tests[0].p_holm == pytest.approx(3 * 2 / 1000)
    assert tests[1].p > 0.05
    assert (tests[2].difference, tests[2].p, tests[2].p_holm) == (0.0, 1.0, 1.0)


def test_few_users_are_tested_exactly():
    (test,) = paired_tests(np.array([1.0, 2.0, 3.0]), [np.zeros(3)], seed=0)
    assert test.p == pytest.approx(2 / 2**3)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auroc_equals_that_of_scikit_learn(pairs):
    scores, label = np.array([score for score, _ in pairs], float), np.array([is_link for _, is_link in pairs])
    label[:2] = [True, False]
    assert auroc(100 * scores, label) == pytest.approx(roc_auc_score(label, scores))


def test_queries_of_one_user_count_as_one_user():
    rng = np.random.default_rng(0)
    values, users = rng.random(90), rng.integers(30, size=90)
    found = by_user(values, users)
    assert len(found) == len(set(users.tolist()))
    assert found.mean() == pytest.approx(values.mean())
    assert np.array_equal(by_user(values, np.arange(90)), values)
    copies = by_user(np.repeat(values, 4), np.repeat(np.arange(90), 4))  # four queries each that all say the same
    assert copies == pytest.approx(values)
