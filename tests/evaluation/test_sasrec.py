import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from lightning_lp.evaluation.queries import make_links
from lightning_lp.evaluation.sasrec import SASRec, latest
from lightning_lp.graph.sequences import sequences

NUM_MOVIES = 12
NO_FEATURES = csr_matrix((0, NUM_MOVIES), dtype=np.float32)
SMALL = {"hidden_channels": 16, "num_heads": 1, "num_layers": 1, "dropout": 0.0, "lr": 0.01, "epochs": 15}


def walks(num_users: int = 60, seed: int = 0):
    """Each user goes round a circle of movies from anywhere, and for any time: next = current + 1."""
    rng = np.random.default_rng(seed)
    walks = [(rng.integers(NUM_MOVIES), rng.integers(3, NUM_MOVIES - 1)) for _ in range(num_users)]
    columns = [
        (user, (first + step) % NUM_MOVIES, step) for user, (first, num) in enumerate(walks) for step in range(num)
    ]
    links = torch.tensor(columns).t()
    return make_links(links[:2], num_users, NUM_MOVIES, links[2])


@pytest.fixture(scope="module")
def fitted():
    links, baseline = walks(), SASRec(**SMALL)
    baseline.fit(links, NO_FEATURES, 0)
    return links, baseline


def test_it_learns_what_comes_next(fitted):
    _, baseline = fitted
    others = walks(num_users=40, seed=1)
    last = others.sequences.node[others.sequences.indptr[1:] - 1]
    scores = baseline.score(others.queries(torch.arange(40)))
    assert torch.equal(scores.argmax(dim=1), (last + 1) % NUM_MOVIES)


def test_it_follows_a_history_that_grows(fitted):
    links, baseline = fitted
    time = torch.tensor([1, 2])
    scores = baseline.score(links.queries_at(torch.tensor([0, 0]), time))
    start = links.sequences.indptr[0]
    assert torch.equal(scores.argmax(dim=1), links.sequences.node[start + time])


def test_what_comes_later_changes_nothing(fitted):
    """Causal: the vector after a movie is the same whatever follows it, but for its place from the end."""
    _, baseline = fitted
    movie = torch.tensor([[3, 4, 5, 6], [3, 4, 9, 1]])
    is_movie = torch.ones_like(movie, dtype=torch.bool)
    with torch.no_grad():
        z = baseline.net(movie, is_movie).view(2, 4, -1)
    assert torch.equal(z[0, :2], z[1, :2])
    assert not torch.allclose(z[0, 2:], z[1, 2:])


def test_padding_changes_nothing(fitted):
    links, baseline = fitted
    users = torch.arange(20)
    together = baseline.score(links.queries(users))
    alone = torch.cat([baseline.score(links.queries(users[i : i + 1])) for i in range(20)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_only_the_latest_are_read(fitted):
    links, _ = fitted
    baseline = SASRec(**SMALL | {"epochs": 1}, max_length=3)
    baseline.fit(links, NO_FEATURES, 0)
    whole = torch.arange(8)
    histories = [make_links(torch.stack([torch.zeros_like(m), m]), 1, NUM_MOVIES) for m in (whole, whole[-3:])]
    short, cut = (baseline.score(history.queries(torch.tensor([0]))) for history in histories)
    torch.testing.assert_close(short, cut)


def test_without_a_history_the_most_rated_come_first(fitted):
    links, baseline = fitted
    nothing = links.queries_at(torch.tensor([0]), torch.tensor([0]))
    num_raters = torch.bincount(links.sequences.node, minlength=NUM_MOVIES)
    assert baseline.score(nothing)[0].tolist() == num_raters.tolist()


@pytest.mark.parametrize("num_links", [0, 1, 2])
def test_sequences_that_teach_nothing(num_links):
    links = make_links(torch.stack([torch.zeros(num_links), torch.arange(num_links)]).long(), 1, NUM_MOVIES)
    baseline = SASRec(**SMALL | {"epochs": 2})
    baseline.fit(links, NO_FEATURES, 0)
    assert baseline.score(links.queries(torch.tensor([0]))).isfinite().all()


def test_training_stops_when_lists_get_no_better(monkeypatch):
    reached = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.6])
    monkeypatch.setattr(SASRec, "_ndcg", lambda *_: next(reached))
    baseline = SASRec(**SMALL, patience=3)
    baseline.fit(walks(), NO_FEATURES, 0)
    assert list(reached) == [0.6]


def test_the_latest_movies_are_padded_behind():
    ordered = sequences(torch.tensor([[0, 0, 0, 1, 3, 3], [5, 6, 7, 8, 9, 4]]), None, 4)
    rows = torch.tensor([3, 0, 1])
    movie, place, is_movie = latest(ordered, rows, ordered.indptr[rows + 1], max_length=2)
    assert movie[is_movie].tolist() == [9, 4, 6, 7, 8]
    assert place[is_movie].tolist() == [4, 5, 1, 2, 3]
    assert is_movie.tolist() == [[True, True], [True, True], [True, False]]
