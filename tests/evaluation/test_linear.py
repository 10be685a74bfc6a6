import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from lightning_lp.data.schema import MOVIE
from lightning_lp.evaluation.baselines import BASELINES
from lightning_lp.evaluation.linear import EASE, LinearPart, TimeWeightedLinear
from lightning_lp.evaluation.queries import Links, make_links
from lightning_lp.model.encoders.history import HistoryEncoder
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


def regression(rows: np.ndarray, l2: float) -> np.ndarray:
    """The weights of ridge regressions of each column on all others, one after the other."""
    num_movies = rows.shape[1]
    weight = np.zeros((num_movies, num_movies))
    for movie in range(num_movies):
        others = np.delete(np.arange(num_movies), movie)
        x, y = rows[:, others], rows[:, movie]
        weight[others, movie] = np.linalg.solve(x.T @ x + l2 * np.eye(num_movies - 1), x.T @ y)
    return weight


@pytest.mark.parametrize(("num_users", "num_movies"), [(8, 30), (40, 12)])  # the two ways to the same inverse
@pytest.mark.parametrize("feature_weight", [0.0, 1.0, 2.5])
def test_ease_regresses_each_movie_on_the_others(num_users, num_movies, feature_weight):
    links, features = world(num_users, num_movies)
    rows = np.vstack([links.matrix.toarray(), feature_weight * features.toarray()]).astype(float)
    expected = links.matrix.toarray() @ regression(rows, l2=5.0)
    assert np.allclose(scores(EASE(5.0, feature_weight), links, features), expected, atol=1e-5)


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


def test_memory_counts_the_rows_that_are_inverted():
    size = (600, 10_000, 10**5)
    assert EASE().memory(*size, 3000) == EASE().memory(*size, 0) == 32 * 600**2
    assert EASE(feature_weight=2.0).memory(*size, 3000) == 32 * 3600**2
    assert EASE(feature_weight=2.0).memory(*size, 90_000) == 32 * 10_000**2
    assert EASE().memory(100_000, 60_000, 10**7, 0) > 50 * 2**30  # would not fit
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
    expected = scores(EASE(20.0, 2.0), links, features)
    assert np.allclose(whole[unseen], expected[unseen], atol=1e-4)
    assert not np.allclose(found[unseen], expected[unseen], atol=1e-2)


@pytest.mark.parametrize("channels", [0, 1, 100])
def test_the_linear_part_of_any_width(channels):
    found = scores(LinearPart(channels), *world(40, 30))
    assert np.isfinite(found).all()
    assert found.any() == (channels > 0)


def test_the_search_holds_the_defaults():
    candidate = BASELINES["EASE + features"]
    defaults = {"l2": candidate.baseline.l2, "feature_weight": candidate.baseline.feature_weight}
    assert defaults["feature_weight"] > 0
    assert defaults in candidate.grid
