"""The encoder for splits by time, its parts against naive ones, and what it must not see."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.loader import link_loader
from lightning_lp.graph.sequences import sequences
from lightning_lp.model.encoders.base import Sizes
from lightning_lp.model.encoders.popularity import popularity_now
from lightning_lp.model.encoders.readout import recent_links
from lightning_lp.model.encoders.sequence import SequenceEncoder
from tests.graphs import histories, make_graph, random_links, split

NUM_USERS, NUM_MOVIES = 20, 30


def timed_graph(seed: int = 0, num_links: int = 200) -> HeteroData:
    """Links in random order of time, with ratings."""
    links = random_links(NUM_USERS, NUM_MOVIES, num_links, seed)
    graph, rng = make_graph(links, NUM_USERS, NUM_MOVIES), np.random.default_rng(seed)
    for store in (graph[RATES], graph[REV_RATES]):
        store.time = torch.from_numpy(rng.permutation(num_links)) if store is graph[RATES] else graph[RATES].time
        store.rating = torch.linspace(1, 5, num_links)
    return graph


def made(graph: HeteroData, **options: object) -> SequenceEncoder:
    torch.manual_seed(0)
    small = {"hidden_channels": 8, "num_heads": 2, "length": 5, "transition_channels": 6, "spectral_channels": 8}
    encoder = SequenceEncoder(**(small | options))
    encoder.build(Sizes(NUM_USERS, NUM_MOVIES, num_features=3, num_terms=0, max_terms=1))
    encoder.prepare(graph, 2.0)
    for parameter in encoder.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return encoder


@given(histories(), st.integers(1, 7))
def test_the_latest_links_are_taken_latest_first(history, length):
    recent = recent_links(history, length, rating=torch.arange(history.node.numel()).float())
    for user in range(history.num_sources):
        edges = history.edge[history.indptr[user] : history.indptr[user + 1]].tolist()[::-1][:length]
        assert recent.edge[user][recent.mask[user]].tolist() == edges


def test_the_window_of_popularity_fits_the_data():
    """Movie 0 was rated by all long ago, movie 1 by some of late."""
    old, new = torch.arange(60), torch.arange(60, 80)
    links = torch.stack([torch.arange(80) % 10, (torch.arange(80) >= 60).long()])
    day = 86_400
    history = sequences(links, torch.cat([old * day, 3_000 * day + (new - 60) * day // 4]), 10)
    now = popularity_now(history, 3)
    assert now[1] > now[0] >= now[2]
    without = popularity_now(sequences(links, None, 10), 3)
    assert without[0] > without[1] > without[2]


def test_a_user_is_its_latest_links_in_their_order():
    graph = timed_graph()
    encoder = made(graph)
    z = encoder.embed_all(graph)[0]
    history = sequences(graph[RATES].edge_index, graph[RATES].time, NUM_USERS)
    user = int(history.length.argmax())
    latest = slice(int(history.indptr[user + 1]) - 5, int(history.indptr[user + 1]))
    edges, seen = torch.stack([history.node[latest], torch.zeros(5, dtype=torch.int64)]), history.edge[latest]
    attrs = {"time": graph[RATES].time[seen], "rating": graph[RATES].rating[seen]}
    new = encoder.embed_new(graph, edges, 1, attrs)
    torch.testing.assert_close(new[0, :-1], z[user, :-1], rtol=1e-4, atol=1e-5)  # the last is of all it has seen
    turned = encoder.embed_new(graph, edges.flip(1), 1, {"rating": attrs["rating"].flip(0)})
    assert not torch.allclose(turned[0, :-1], z[user, :-1], atol=1e-3)


def test_a_link_is_scored_by_what_preceded_it():
    """Its user's vector in a training batch is that of a new user with the links before it."""
    graph = timed_graph()
    parts = split(graph, "leave_last_out", disjoint_train_ratio=0.0)
    encoder = made(parts.val).eval()
    loader = link_loader(
        parts.train, encoder.num_neighbors, edge_type=RATES, rev_edge_type=REV_RATES, batch_size=16,
        time_attr="time", temporal_strategy="last",
    )  # fmt: skip
    num_scored = 0
    for batch in loader:
        batch[MOVIE].x = graph[MOVIE].x[batch[MOVIE].node_id]
        z_user = encoder(batch)[USER]
        for label in range(batch[RATES].edge_label_index.size(1)):
            row, time = int(batch[RATES].edge_label_index[0, label]), batch[RATES].edge_label_time[label]
            user, links = batch[USER].node_id[row], parts.val[RATES]
            before = ((links.edge_index[0] == user) & (links.time < time)).nonzero().flatten()
            before = before[links.time[before].argsort()][-5:]
            edges = torch.stack([links.edge_index[1, before], torch.zeros_like(before)])
            attrs = {name: links[name][before] for name in ("time", "rating")}
            expected = encoder.embed_new(graph, edges, 1, attrs)[0]
            torch.testing.assert_close(z_user[row], expected, rtol=1e-4, atol=1e-4)
            num_scored += 1
    assert num_scored == parts.train_links.size(1)


def test_a_user_without_history_gets_what_is_popular_now():
    graph = timed_graph()
    encoder = made(graph)
    z_movie = encoder.embed_all(graph)[1]
    nobody = encoder.embed_new(graph, torch.empty(2, 0, dtype=torch.int64), 1)
    scores = (nobody @ z_movie.T)[0]
    assert scores.isfinite().all()
    torch.testing.assert_close(scores.argsort(), encoder.popularity.argsort(stable=True))


def test_users_are_read_in_parts(monkeypatch):
    graph = timed_graph()
    encoder = made(graph)
    expected = encoder.embed_all(graph)[0]
    monkeypatch.setattr("lightning_lp.model.encoders.sequence._MAX_USERS", 3)
    torch.testing.assert_close(encoder.embed_all(graph)[0], expected)


def test_popular_is_what_the_messages_at_hand_say():
    graph = timed_graph()
    encoder, nobody = made(graph), torch.empty(2, 0, dtype=torch.int64)
    later = make_graph(torch.tensor([[0, 1, 2, 3], [7, 7, 7, 9]]), NUM_USERS, NUM_MOVIES)
    for store in (later[RATES], later[REV_RATES]):
        store.time = torch.arange(4)
    before = encoder.state_dict()["popularity"].clone()
    scores = encoder.embed_new(later, nobody, 1) @ encoder.embed_all(later)[1].T
    assert scores[0].argsort(descending=True)[:2].tolist() == [7, 9]
    assert torch.equal(encoder.popularity, before)


def test_the_next_of_a_circle_is_found():
    """Each user goes round a circle of movies; what comes next is the movie after the last, and all is closed form."""
    num_users, steps = 30, 8
    start = torch.arange(num_users) * 7
    movies = (start[:, None] + torch.arange(steps)) % NUM_MOVIES
    links = torch.stack([torch.arange(num_users).repeat_interleave(steps), movies.flatten()])
    order = (links[0] * NUM_MOVIES + links[1]).argsort()
    graph = make_graph(links[:, order], num_users, NUM_MOVIES)
    for store in (graph[RATES], graph[REV_RATES]):
        store.time = torch.arange(steps).repeat(num_users)[order]
    encoder = SequenceEncoder(hidden_channels=8, length=5, transition_channels=30, spectral_channels=8)
    encoder.build(Sizes(num_users, NUM_MOVIES, num_features=3, max_terms=1))
    encoder.prepare(graph, 2.0)
    z_user, z_movie = encoder.embed_all(graph)
    scores = z_user @ z_movie.T
    scores[links[0], links[1]] = -torch.inf
    assert torch.equal(scores.argmax(dim=1), (start + steps) % NUM_MOVIES)


def test_users_of_whom_nothing_is_known_tie_to_the_last_bit():
    graph = timed_graph()
    encoder = made(graph)
    for num_users in (1, 7, 64):
        z = encoder.embed_new(graph, torch.empty(2, 0, dtype=torch.int64), num_users)
        assert z.unique(dim=0).size(0) == 1
