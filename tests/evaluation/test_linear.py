import tracemalloc
from itertools import product

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, identity

from lightning_lp.data.schema import MOVIE
from lightning_lp.evaluation.baselines import BASELINES
from lightning_lp.evaluation.linear import EASE, LinearPart, TimeWeightedLinear
from lightning_lp.evaluation.queries import Links, make_links
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.model.encoders.spectral import feature_weight_of
from tests.graphs import built, make_graph, random_links

NO_FEATURES = csr_matrix((0, 30), dtype=np.float32)


def world(num_users: int, num_movies: int, num_features: int = 6) -> tuple[Links, csr_matrix]:
    """Links and features, drawn."""
    pairs = random_links(num_users, num_movies, num_users * num_movies // 3, seed=2)
    time = torch.from_numpy(np.random.default_rng(4).permutation(pairs.size(1)))
    features = random_links(num_features, num_movies, num_features * num_movies // 3, seed=3)
    links = make_links(pairs, num_users, num_movies, time)
    return links, make_links(features, num_features, num_movies).matrix


def scores(baseline: EASE | LinearPart | TimeWeightedLinear, links: Links, features: csr_matrix) -> np.ndarray:
    baseline.fit(links, features, 0)
    return baseline.score(links.queries(torch.arange(links.shape[0]))).numpy()


def regression(rows: np.ndarray, l2: float, dropout: float = 0.0) -> np.ndarray:
    """The weights of ridge regressions of each column on all others, one after the other.

    With dropout the means over what may be lost stand for the products: an entry is kept, and then divided by the
    chance of that, independently of others, so that its own square alone grows.
    """
    num_movies = rows.shape[1]
    weight = np.zeros((num_movies, num_movies))
    for movie in range(num_movies):
        others = np.delete(np.arange(num_movies), movie)
        x, y = rows[:, others], rows[:, movie]
        gram = x.T @ x
        np.fill_diagonal(gram, gram.diagonal() / (1 - dropout) + l2)
        weight[others, movie] = np.linalg.solve(gram, x.T @ y)
    return weight


def regression_on_all_that_may_be_left(rows: np.ndarray, l2: float, dropout: float) -> np.ndarray:
    """The same, of each row as often as there are ways to lose entries, weighted by their probability."""
    num_rows, num_movies = rows.shape
    kept = np.array(list(product([0, 1], repeat=num_movies)))
    share = (1 - dropout) ** kept.sum(axis=1) * dropout ** (num_movies - kept.sum(axis=1))
    weight = np.zeros((num_movies, num_movies))
    for movie in range(num_movies):
        others = np.delete(np.arange(num_movies), movie)
        x = (rows[:, None, others] * kept[None, :, others] / (1 - dropout)).reshape(-1, num_movies - 1)
        y, of_row = rows[:, movie].repeat(len(kept)), np.tile(share, num_rows)
        gram = (x * of_row[:, None]).T @ x + l2 * np.eye(num_movies - 1)
        weight[others, movie] = np.linalg.solve(gram, (x * of_row[:, None]).T @ y)
    return weight


@pytest.mark.parametrize(("num_users", "num_movies"), [(8, 30), (40, 12)])  # the two ways to the same inverse
@pytest.mark.parametrize("feature_weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.75])
def test_ease_regresses_each_movie_on_the_others(num_users, num_movies, feature_weight, dropout):
    links, features = world(num_users, num_movies)
    rows = np.vstack([links.matrix.toarray(), feature_weight * features.toarray()]).astype(float)
    expected = links.matrix.toarray() @ regression(rows, 5.0, dropout)
    assert np.allclose(scores(EASE(5.0, feature_weight, dropout), links, features), expected, atol=1e-5)


@pytest.mark.parametrize("num_users", [2, 12])  # the two ways, again
@pytest.mark.parametrize("dropout", [0.3, 0.6])
def test_dropout_is_the_mean_over_all_that_may_be_lost(num_users, dropout):
    links, features = world(num_users, 8, num_features=1)
    rows = np.vstack([links.matrix.toarray(), 2.0 * features.toarray()]).astype(float)
    expected = links.matrix.toarray() @ regression_on_all_that_may_be_left(rows, 5.0, dropout)
    found = scores(EASE(5.0, 2.0, dropout), links, features)
    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, scores(EASE(5.0, 2.0), links, features), atol=1e-2)


@pytest.mark.parametrize("num_users", [8, 2000])  # the two ways, the second over more rows than one block has
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_no_movie_speaks_for_itself(num_users, dropout):
    num_movies = 1100
    links, features = world(num_users, num_movies)
    baseline = EASE(5.0, 2.0, dropout)
    baseline.fit(links, features, 0)
    weight = baseline.score_rows(identity(num_movies, format="csr")).numpy()
    assert np.abs(weight.diagonal()).max() < 1e-6
    assert np.abs(weight).max() > 1e-2
    penalty = baseline.penalty if dropout else 5.0
    rows = np.vstack([links.matrix.toarray(), 2.0 * features.toarray()]).astype(float)
    inverse = np.linalg.inv(rows.T @ rows + penalty * np.eye(num_movies))
    np.fill_diagonal(expected := -inverse / inverse.diagonal(), 0)
    assert np.allclose(weight, expected, atol=1e-5)


def test_features_count_by_their_weight_alone():
    links, features = world(8, 30)
    alone = scores(EASE(5.0), links, NO_FEATURES)
    assert np.array_equal(scores(EASE(5.0), links, features), alone)
    assert np.allclose(scores(EASE(5.0, 2.0), links, NO_FEATURES), alone, atol=1e-6)
    assert np.allclose(scores(EASE(5.0, 2.0), links, csr_matrix(features.shape, dtype=np.float32)), alone, atol=1e-6)
    assert not np.allclose(scores(EASE(5.0, 2.0), links, features), alone, atol=1e-2)


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
def test_what_is_long_ago_weighs_less(power):
    links, features = world(8, 30)
    rows = np.vstack([links.matrix.toarray(), 2.5 * features.toarray()]).astype(float)
    history, ordered = np.zeros(links.shape), links.sequences
    for user in range(8):
        movies = ordered.node[ordered.indptr[user] : ordered.indptr[user + 1]].tolist()
        for place, movie in enumerate(reversed(movies), start=1):
            history[user, movie] = place**-power
    expected = history @ regression(rows, l2=5.0)
    found = scores(TimeWeightedLinear(5.0, 2.5, power), links, features)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.array_equal(found, scores(EASE(5.0, 2.5), links, features)) == (power == 0)


def test_what_has_no_inverse_is_refused():
    links, features = world(40, 12)
    with pytest.raises(np.linalg.LinAlgError, match="a larger l2 is wanted"):
        EASE(l2=-100.0).fit(links, features, 0)


def test_memory_counts_the_rows_that_are_inverted():
    size = (600, 10_000, 10**5)
    assert EASE().memory(*size, 3000) == EASE().memory(*size, 0)
    weighted = EASE(feature_weight=2.0)
    found = [weighted.memory(*size, num_features) for num_features in (0, 3000, 4400, 90_000)]
    assert found[0] == EASE().memory(*size, 0) < 8 * 3600**2 < found[1] < 8 * 10_000**2 < found[2] == found[3]
    assert EASE().memory(100_000, 60_000, 10**7, 0) > 8 * 60_000**2  # 27 GiB
    assert LinearPart().memory(100_000, 60_000, 10**7, 5000) < 4 * 2**30


def test_the_linear_part_is_that_of_the_model():
    links, features = world(40, 30)
    graph = make_graph(torch.from_numpy(np.stack(links.matrix.nonzero()).astype(np.int64)), 40, 30)
    graph[MOVIE].x = torch.from_numpy(features.toarray().T.copy())
    encoder = built(HistoryEncoder(hidden_channels=4, spectral_channels=8, spectral_l2=20.0), 40, 30, 6)
    encoder.prepare(graph, neg_sampling_ratio=2.0)
    part = LinearPart(channels=8, l2=20.0)
    found = scores(part, links, features)
    torch.testing.assert_close(part.source, encoder.spectral_source)
    whole = scores(LinearPart(channels=30, l2=20.0), links, features)
    unseen = links.matrix.toarray() == 0  # of a movie in the history EASE leaves the movie itself out
    expected = scores(EASE(20.0, feature_weight_of(40)), links, features)
    assert np.allclose(whole[unseen], expected[unseen], atol=1e-4)
    assert not np.allclose(found[unseen], expected[unseen], atol=1e-2)


def test_memory_is_what_a_fit_takes():
    """The largest of its arrays; what NumPy asks for is traced."""
    links, features = world(3000, 1500)
    for baseline in (EASE(5.0), EASE(5.0, 2.0, 0.3)):
        tracemalloc.start()
        baseline.fit(links, features, 0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        told = baseline.memory(*links.shape, links.sequences.node.numel(), features.shape[0])
        assert 0.5 * told < peak < told


@pytest.mark.parametrize("channels", [0, 1, 100])
def test_the_linear_part_of_any_width(channels):
    found = scores(LinearPart(channels), *world(40, 30))
    assert np.isfinite(found).all()
    assert found.any() == (channels > 0)


@pytest.mark.parametrize("name", ["EASE", "EASE + features", "EDLAE", "EDLAE + features"])
def test_the_search_holds_the_defaults(name):
    candidate = BASELINES[name]
    names = candidate.grid[0]
    assert {name: getattr(candidate.baseline, name) for name in names} in candidate.grid
    assert (candidate.baseline.feature_weight > 0) == ("feature_weight" in names) == ("features" in name)
    assert (candidate.baseline.dropout > 0) == ("dropout" in names) == ("EDLAE" in name)
