"""Transitions against the regression that they are, row by row."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.model.encoders.transitions import (
    Counted,
    all_grams,
    history_weights,
    transition_embeddings,
    transition_grams,
)
from tests.graphs import histories, random_links

NUM_USERS = 20
NO_FEATURES = torch.empty(2, 0, dtype=torch.int64)


def naive_rows(history: Sequences, num_movies: int, power: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """S and Y, a row for each link."""
    rows, targets = [], []
    for user in range(history.num_sources):
        movies = history.node[history.indptr[user] : history.indptr[user + 1]].tolist()
        for i, movie in enumerate(movies):
            row = np.zeros(num_movies)
            for distance in range(1, min(i, length) + 1):
                row[movies[i - distance]] += distance**-power
            rows.append(row)
            targets.append(np.eye(num_movies)[movie])
    return np.array(rows), np.array(targets)


@given(histories(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 6))
def test_transitions_are_counted_as_row_by_row(history, power, length):
    s, y = naive_rows(history, 6, power, length)
    core = torch.tensor([0, 2, 3, 5])
    gram, follows = transition_grams(history, core, 6, power, length)
    np.testing.assert_allclose(gram, (s.T @ s)[np.ix_(core, core)], atol=1e-4)
    np.testing.assert_allclose(follows, (s.T @ y)[np.ix_(core, core)], atol=1e-4)


@given(
    histories(),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12, unique=True),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 2.0]),
)
def test_what_came_later_and_what_has_the_same_genre_counts_as_told(history, pairs, later, features):
    counted = Counted(l2=1.0, later=later, features=features, power=0.5, length=4)
    core = torch.tensor([0, 2, 3, 5])
    gram, follows = all_grams(history, torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, core, 6, counted)
    backwards = sequences(torch.stack([history.source, history.node]).flip(1), None, history.num_sources)
    s, y = naive_rows(history, 6, 0.5, 4)
    s_back, y_back = naive_rows(backwards, 6, 0.5, 4)
    x = np.zeros((6, 4))
    for feature, movie in pairs:
        x[movie, feature] = 1
    x = x[core] / np.sqrt(np.maximum(x[core].sum(axis=0), 1))
    among = np.ix_(core, core)
    shared = features * x @ x.T
    np.testing.assert_allclose(gram, (s.T @ s + later * s_back.T @ s_back)[among] + shared, atol=1e-4)
    shared = shared - np.diag(np.diag(shared))
    np.testing.assert_allclose(follows, (s.T @ y + later * s_back.T @ y_back)[among] + shared, atol=1e-4)


def test_with_all_channels_the_vectors_are_the_ridge_regression():
    history = sequences(random_links(NUM_USERS, 8, 120, seed=1), torch.randperm(120), NUM_USERS)
    source, target = transition_embeddings(history, NO_FEATURES, 8, 8, Counted(l2=3.0, length=4))
    s, y = naive_rows(history, 8, 0.5, 4)
    expected = np.linalg.solve(s.T @ s + 3.0 * np.eye(8), s.T @ y)
    np.testing.assert_allclose(source @ target.T, expected, atol=1e-4)
    fewer = transition_embeddings(history, NO_FEATURES, 8, 3, Counted(l2=3.0, length=4))
    assert 0 < np.linalg.norm(s @ (fewer[0] @ fewer[1].T).numpy() - s @ expected) < np.linalg.norm(s @ expected)


def test_movies_with_few_links_and_no_links_at_all_have_no_transitions():
    history = sequences(torch.tensor([[0, 0, 0, 0], [1, 2, 1, 1]]), None, 1)
    source, target = transition_embeddings(history, NO_FEATURES, 4, 2, Counted(l2=1.0))
    assert source[[0, 2, 3]].eq(0).all()
    assert target[[0, 2, 3]].eq(0).all()
    empty = sequences(torch.empty(2, 0, dtype=torch.int64), None, 3)
    assert transition_embeddings(empty, NO_FEATURES, 4, 2, Counted(l2=1.0))[0].eq(0).all()


def test_weights_fall_with_the_place():
    place = torch.tensor([1, 4, 9])
    assert history_weights(place, 0.5, length=4).tolist() == [1.0, 0.5, 0.0]
