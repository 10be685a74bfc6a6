"""The encoder for splits by time, its parts against naive ones, and what it must not see."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData
from torch_geometric.sampler import NegativeSampling

from lightning_lp.data.schema import RATES, REV_RATES, USER
from lightning_lp.graph.loader import link_loader
from lightning_lp.graph.sequences import sequences
from lightning_lp.model.encoders.base import Sizes
from lightning_lp.model.encoders.popularity import popularity_now
from lightning_lp.model.encoders.sequence import SequenceEncoder
from lightning_lp.model.module import LinkPredictionModule
from tests.graphs import make_graph, random_links, train_alone

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


def links_of(graph: HeteroData, user: int, before: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What ``embed_new`` takes: the links of a user that are strictly earlier, in their order."""
    store = graph[RATES]
    earlier = ((store.edge_index[0] == user) & (store.time < before)).nonzero().flatten()
    earlier = earlier[store.time[earlier].argsort(stable=True)]
    edges = torch.stack([store.edge_index[1, earlier], torch.zeros_like(earlier)])
    return edges, {name: store[name][earlier] for name in ("time", "rating")}


def test_a_user_is_its_links_in_their_order():
    graph = timed_graph()
    encoder = made(graph)
    z = encoder.embed_all(graph)[0]
    user = int(torch.bincount(graph[RATES].edge_index[0]).argmax())
    edges, attrs = links_of(graph, user, before=999)
    torch.testing.assert_close(encoder.embed_new(graph, edges, 1, attrs)[0], z[user], rtol=1e-4, atol=1e-5)
    turned = encoder.embed_new(graph, edges.flip(1), 1, {"rating": attrs["rating"].flip(0)})
    assert not torch.allclose(turned[0, :8], z[user, :8], atol=1e-3)


def training_batches(graph: HeteroData, encoder: SequenceEncoder, batch_size: int = 16, **options: object):
    """Batches of all links by time, as a data module gives them: by user, and without messages."""
    graph = graph.clone()
    store = graph[RATES]
    store.edge_label_index, store.edge_label = store.edge_index, torch.ones(store.num_edges)
    store.edge_label_time = store.time
    fan_out = {edge_type: [0] for edge_type in encoder.num_neighbors}
    yield from link_loader(
        graph, fan_out, edge_type=RATES, rev_edge_type=REV_RATES, batch_size=batch_size, time_attr="time",
        temporal_strategy="last", neg_sampling=NegativeSampling("binary", 1.0), group=store.edge_index[0], **options,
    )  # fmt: skip


def trained_vectors(graph: HeteroData, encoder: SequenceEncoder, batch_size: int = 16) -> torch.Tensor:
    """[num_links, 8] what the losses see of the user of each link, in evaluation mode."""
    found = torch.full((graph[RATES].num_edges, 8), torch.nan)
    encoder.eval()
    for batch in training_batches(graph, encoder, batch_size):
        z_user = encoder.embed_for_training(batch)[USER].detach()
        row = batch[RATES].edge_label_index[0]
        is_link = batch[RATES].edge_label > 0
        found[batch[RATES].input_id] = z_user[row[is_link], :8]
        of_negatives = batch[USER].batch[row[~is_link]]
        assert torch.equal(found[batch[RATES].input_id[of_negatives]], z_user[row[~is_link], :8])
    assert not found.isnan().any()
    return found


def tied_graph(seed: int, num_links: int) -> HeteroData:
    graph, rng = timed_graph(seed, num_links), np.random.default_rng(seed)
    time, rating = rng.integers(0, rng.integers(1, 10**6), num_links), rng.integers(1, 6, num_links) / np.float32(1)
    for store in (graph[RATES], graph[REV_RATES]):
        store.time, store.rating = torch.from_numpy(time), torch.from_numpy(rating)
    return graph


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 300), st.integers(1, 12), st.integers(1, 40))
def test_a_link_is_learned_from_what_preceded_it(seed, num_links, length, batch_size):
    """Its user's vector in training is that of a user with the links that are strictly earlier, in a graph of those."""
    graph = tied_graph(seed, num_links)
    encoder = made(graph, length=length)
    trained = trained_vectors(graph, encoder, batch_size)
    for time in graph[RATES].time.unique()[:: 1 + num_links // 20]:
        earlier, asked = graph[RATES].time < time, graph[RATES].time == time
        cut = graph.clone()
        for store in (cut[RATES], cut[REV_RATES]):
            for name in ("edge_index", "time", "rating"):
                store[name] = store[name][..., earlier]
        z = encoder.embed_all(cut)[0][graph[RATES].edge_index[0, asked], :8] / encoder.weight[0]
        torch.testing.assert_close(trained[asked], z, rtol=1e-4, atol=1e-5)
        link = int(asked.nonzero()[0])
        edges, attrs = links_of(graph, int(graph[RATES].edge_index[0, link]), int(time))
        z = encoder.embed_new(graph, edges, 1, attrs)[0, :8] / encoder.weight[0]
        torch.testing.assert_close(trained[link], z, rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(2, 300), st.integers(1, 12))
def test_what_is_no_earlier_than_a_link_changes_nothing_that_it_is_learned_from(seed, num_links, length):
    """Later links, their ratings and times may be others, fewer or more."""
    graph, rng = tied_graph(seed, num_links), np.random.default_rng(seed)
    encoder = made(graph, length=length)
    before, state = trained_vectors(graph, encoder), encoder.state_dict()
    time = int(rng.choice(graph[RATES].time.numpy()))
    is_later, asked = graph[RATES].time >= time, graph[RATES].time <= time
    changed = graph.clone()
    for store, row in ((changed[RATES], 1), (changed[REV_RATES], 0)):
        store.edge_index[row, is_later & ~asked] = (store.edge_index[row, is_later & ~asked] + 1) % NUM_MOVIES
        store.edge_index[row, is_later & asked] = (store.edge_index[row, is_later & asked] + 2) % NUM_MOVIES
        store.rating[is_later] = 6 - store.rating[is_later]
        store.time[is_later & ~asked] += 1000
    shown = made(changed, length=length)
    shown.load_state_dict(state)
    torch.testing.assert_close(trained_vectors(changed, shown)[asked], before[asked], rtol=1e-5, atol=1e-6)
    fewer = graph.clone()
    kept = asked | (torch.rand(num_links) < 0.3)
    for store in (fewer[RATES], fewer[REV_RATES]):
        for name in ("edge_index", "time", "rating"):
            store[name] = store[name][..., kept]
    shown.prepare(fewer, 2.0)
    shown.load_state_dict(state)
    torch.testing.assert_close(trained_vectors(fewer, shown)[asked[kept]], before[asked], rtol=1e-5, atol=1e-6)


def test_what_is_earlier_changes_it():
    graph = timed_graph()
    encoder = made(graph, length=100)
    before = trained_vectors(graph, encoder)
    user = int(torch.bincount(graph[RATES].edge_index[0]).argmax())
    links = (graph[RATES].edge_index[0] == user).nonzero().flatten()
    first, *others = links[graph[RATES].time[links].argsort()].tolist()
    for name, value in (("rating", 5.0), ("time", -(10**6)), ("edge_index", torch.tensor([user, 3]))):
        changed = graph.clone()
        changed[RATES][name][..., first] = value
        other = made(changed, length=100)
        other.load_state_dict(encoder.state_dict())
        after = trained_vectors(changed, other)
        seen = others[name == "time" :]  # whoever has one link has no time between two
        assert all((after[link] - before[link]).abs().max() > 1e-4 for link in seen), name


def test_the_same_batch_and_weights_give_the_same_whatever_else_is_in_the_batch():
    graph = timed_graph()
    encoder = made(graph)
    together, alone = (trained_vectors(graph, encoder, size) for size in (200, 1))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_two_processes_take_the_step_of_one():
    """The mean of their gradients, which DDP computes, is the gradient of one process with the whole batch."""
    graph = timed_graph()
    encoder = made(graph, dropout=0.0)
    module = LinkPredictionModule(NUM_USERS, NUM_MOVIES, 3, encoder=encoder)
    module.encoder = encoder
    graph[USER].degree = torch.bincount(graph[RATES].edge_index[0], minlength=NUM_USERS)

    def gradients(batch):
        module.zero_grad()
        module.training_step(batch, 0).backward()
        return {name: parameter.grad.clone() for name, parameter in module.named_parameters()}

    for batch, *shares in zip(
        training_batches(graph, encoder, 32),
        *(training_batches(graph, encoder, 16, num_replicas=2, rank=rank) for rank in (0, 1)),
        strict=True,
    ):
        sums = []
        train_alone(module, mean=lambda value, sums=sums: sums.append(value) or value)
        for share in shares:
            module._scores(share).weight  # noqa: B018 (each process tells the other its sum)
        train_alone(module)
        expected = gradients(batch)
        train_alone(module, mean=lambda _, sums=sums: torch.stack(sums).mean())
        found = [gradients(share) for share in shares]
        for name, gradient in expected.items():
            mean = torch.stack([of_one[name] for of_one in found]).mean(dim=0)
            torch.testing.assert_close(mean, gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_a_batch_of_first_links_has_all_gradients_and_no_history():
    graph = timed_graph()
    for store in (graph[RATES], graph[REV_RATES]):
        store.time = torch.zeros_like(store.time)
    encoder = made(graph)
    batch = next(training_batches(graph, encoder))
    z_user = encoder.embed_for_training(batch)[USER]
    assert not z_user[:, :8].any()
    z_user.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.attention.parameters())


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
    monkeypatch.setattr("lightning_lp.model.encoders.sequence._ROWS", 3)
    torch.testing.assert_close(encoder.embed_all(graph)[0], expected, rtol=1e-4, atol=1e-5)


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
