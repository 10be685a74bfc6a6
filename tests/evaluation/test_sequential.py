"""Rivals that read the order of links, each against a naive loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from lightning_lp.evaluation.counting import PopularityWindow
from lightning_lp.evaluation.queries import Links, make_links
from lightning_lp.evaluation.sequential import SequentialRules
from lightning_lp.evaluation.slist import SLIST

NUM_USERS, NUM_MOVIES = 6, 9
EVERYBODY = torch.arange(NUM_USERS)
NO_FEATURES = csr_matrix((0, NUM_MOVIES), dtype=np.float32)
DAY = 86_400


def world(seed: int, max_time: int = 40) -> tuple[Links, list[list[tuple[int, int]]]]:
    """Links with times, some of them equal, and the (time, movie) of each user in order; users may have none."""
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((NUM_USERS, NUM_MOVIES)) < rng.random())
    time = rng.integers(max_time, size=len(pairs))
    links = make_links(torch.from_numpy(pairs.T.copy()), NUM_USERS, NUM_MOVIES, torch.from_numpy(time) * DAY)
    rows = [
        [(int(t) * DAY, int(m)) for t, (u, m) in sorted(zip(time, pairs, strict=True), key=lambda x: x[0]) if u == user]
        for user in range(NUM_USERS)
    ]
    return links, rows


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 20]), st.sampled_from([1, 2, 20]))
def test_rules_count_what_follows_what(seed, num_steps, num_last):
    links, rows = world(seed)
    rules = np.zeros((NUM_MOVIES, NUM_MOVIES))
    for row in rows:
        for i, (_, first) in enumerate(row):
            for j in range(i + 1, min(i + num_steps, len(row) - 1) + 1):
                rules[first, row[j][1]] += 1 / (j - i)
    expected = np.zeros((NUM_USERS, NUM_MOVIES))
    for user, row in enumerate(rows):
        for place, (_, movie) in enumerate(row[::-1][:num_last], start=1):
            expected[user] += rules[movie] / place
    baseline = SequentialRules(num_steps, num_last)
    baseline.fit(links, NO_FEATURES, 0)
    assert np.allclose(baseline.score(links.queries(EVERYBODY)), expected, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.5, 2.0, 8.0]))
def test_slist_regresses_what_comes_on_what_was(seed, alpha, decay):
    """Its matrices of all cuts are built here, row by row, as the paper defines them."""
    links, rows = world(seed)
    inputs, targets = [np.zeros((0, NUM_MOVIES))], [np.zeros((0, NUM_MOVIES))]
    for row in rows:
        whole = np.zeros((1, NUM_MOVIES))
        whole[0, [movie for _, movie in row]] = math.sqrt(alpha)
        inputs.append(whole)
        targets.append(whole)
        for cut in range(len(row) - 1):
            before, after = np.zeros((2, 1, NUM_MOVIES))
            for place, (_, movie) in enumerate(row):
                vector, distance = (before, cut - place) if place <= cut else (after, place - cut - 1)
                vector[0, movie] = math.sqrt(1 - alpha) * math.exp(-distance / decay)
            inputs.append(before)
            targets.append(after)
    x, y = np.concatenate(inputs), np.concatenate(targets)
    weight = np.linalg.solve(x.T @ x + 3.0 * np.eye(NUM_MOVIES), x.T @ y)
    history = np.zeros((NUM_USERS, NUM_MOVIES))
    for user, row in enumerate(rows):
        for place, (_, movie) in enumerate(reversed(row)):
            history[user, movie] = math.exp(-place / 4.0)
    baseline = SLIST(alpha, decay, history_decay=4.0, l2=3.0)
    baseline.fit(links, NO_FEATURES, 0)
    assert np.allclose(baseline.score(links.queries(EVERYBODY)), history @ weight, atol=1e-4)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 5.0, 1000.0]), st.booleans(), st.booleans())
def test_a_window_counts_what_was_rated_in_it(seed, days, at_end, is_rolling):
    links, rows = world(seed)
    everything = [link for row in rows for link in row]
    if not everything:
        return
    last = max(time for time, _ in everything)
    times = torch.from_numpy(np.random.default_rng(seed).integers(45, size=NUM_USERS)) * DAY
    queries = links.queries_at(EVERYBODY, times) if is_rolling else links.queries(EVERYBODY)
    expected = np.zeros((NUM_USERS, NUM_MOVIES))
    for user, row in enumerate(rows):
        asked = int(times[user]) if is_rolling else max((time for time, _ in row), default=last)
        end = last + 1 if at_end and not is_rolling else asked
        for time, movie in everything:
            expected[user, movie] += end - days * DAY <= time < end
    baseline = PopularityWindow(days, at_end)
    baseline.fit(links, NO_FEATURES, 0)
    assert np.array_equal(baseline.score(queries), expected)


@pytest.mark.parametrize("num_last", [1, 10])
def test_rules_answer_where_people_went_next(num_last):
    """Everybody goes round a circle of movies: the next one comes first."""
    walk = [(user, (user + step) % 8) for user in range(8) for step in range(3)]
    links = make_links(torch.tensor(walk).t(), 8, 8, torch.arange(3).repeat(8))
    for baseline in (SequentialRules(num_last=num_last), SLIST(l2=0.1, history_decay=1.0)):
        baseline.fit(links, csr_matrix((0, 8), dtype=np.float32), 0)
        scores = baseline.score(links.queries(torch.arange(8)))
        scores[links.sequences.source, links.sequences.node] = -1
        assert scores.argmax(dim=1).tolist() == [(user + 3) % 8 for user in range(8)]
