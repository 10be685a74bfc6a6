import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.encoders import history
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.model.encoders.mix import gain
from lightning_lp.model.encoders.spectral import feature_rows, scored, spectral_embeddings, with_penalty
from tests.graph.test_sampler import make_loader
from tests.graphs import built, graphs, make_graph, random_links


@pytest.fixture
def data():
    graph = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    graph[MOVIE].terms = torch.arange(60).remainder(5).view(30, 2)
    return graph


def made(data, **options):
    torch.manual_seed(0)
    encoder = built(HistoryEncoder(hidden_channels=8, spectral_channels=6, **options), 20, 30, 3, 4, 2)
    encoder.prepare(data, neg_sampling_ratio=2.0)
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return encoder


@pytest.fixture
def encoder(data):
    return made(data)


def embed(encoder, data, *, as_in_training=False):
    z_dict = encoder.embed_for_training(data) if as_in_training else encoder(data)
    return z_dict[USER], z_dict[MOVIE]


@pytest.mark.parametrize("temperature", [None, 1.5])
@pytest.mark.parametrize("losses_see", [True, False])
def test_scores_are_the_joint_log_odds(data, losses_see, temperature):
    """Against a loop: logit = log softmax over unseen movies + activity * log(number of ratings) + constant.

    What the losses see lacks the linear part; the normaliser comes later, from the scores that they compute anyway. The
    linear part is added to the logit, which is then scaled and shifted. With a temperature it is in the softmax.
    """
    encoder = made(data, temperature=temperature)
    if temperature is None:
        encoder.mix.copy_(torch.tensor([7.0, 0.8, -0.3]))
    weight, scale, level = encoder.mix
    z_user, z_movie = embed(encoder, data, as_in_training=losses_see)
    logits = z_user @ z_movie.T
    for user in range(20):
        movies = data[RATES].edge_index[1, data[RATES].edge_index[0] == user]
        table = encoder.movie_emb.weight + encoder.movie_lin(data[MOVIE].x) + encoder.term_emb(data[MOVIE].terms)
        h = table[movies].sum(dim=0) / max(1, len(movies)) ** 0.5
        mean = table[movies].mean(dim=0) if len(movies) else torch.zeros(8)
        conv = encoder.conv.lin_l(mean) + encoder.conv.lin_r(h)
        h = h + encoder.user_lin(conv.relu())
        scores = table @ h + encoder.movie_bias
        linear = scored(encoder.spectral_source) @ encoder.spectral_source[movies].sum(dim=0)
        if not losses_see and temperature is not None:
            scores = (scores + 20 * linear) / temperature
        unseen = torch.ones(30, dtype=torch.bool)
        unseen[movies] = False
        log_p = scores if losses_see else scores - scores[unseen].logsumexp(dim=0)
        expected = log_p + encoder.activity * torch.tensor(max(1.0, float(len(movies)))).log() + encoder.constant
        if not losses_see and temperature is None:
            expected = (expected + weight * linear) * scale + level
        torch.testing.assert_close(logits[user], expected, rtol=1e-4, atol=1e-4)


def test_batches_give_what_the_whole_graph_gives(encoder, data):
    z_user, z_movie = embed(encoder.eval(), data)
    hops = {RATES: [0], REV_RATES: [-1]}
    for batch in make_loader(data, hops, batch_size=16, exclude_seed_links=False):
        z_dict = encoder(batch)
        user, movie = batch[RATES].edge_label_index
        torch.testing.assert_close(z_dict[USER][user], z_user[batch[USER].node_id[user]])
        torch.testing.assert_close(z_dict[MOVIE][movie], z_movie[batch[MOVIE].node_id[movie]])


def test_the_links_being_scored_are_left_out(encoder, data):
    """A link's score in its own batch is that of a user who has not rated the movie."""
    encoder.eval()
    hops = {RATES: [0], REV_RATES: [-1]}
    batch = next(iter(make_loader(data, hops, batch_size=1)))
    z_dict = encoder(batch)
    user, movie = (batch[kind].node_id[batch[RATES].edge_label_index[i, 0]] for i, kind in enumerate((USER, MOVIE)))
    links = data[RATES].edge_index
    rest = links[:, ~((links[0] == user) & (links[1] == movie))]
    z_user, _ = embed(encoder, make_graph(rest, 20, 30))
    torch.testing.assert_close(z_dict[USER][batch[RATES].edge_label_index[0, 0]], z_user[user])


def test_a_user_of_everything_or_nothing_has_finite_vectors(encoder):
    links = torch.stack([torch.zeros(30, dtype=torch.int64), torch.arange(30)])
    for as_in_training in (True, False):
        z_user, _ = embed(encoder, make_graph(links, 20, 30), as_in_training=as_in_training)
        assert z_user.isfinite().all()


def test_precision_of_autocast_keeps_the_level_of_scores(encoder, data):
    encoder.eval()
    exact = embed(encoder, data)[0][:, -1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = embed(encoder, data)[0][:, -1]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.1)


# The linear part


@settings(deadline=None, max_examples=30)
@given(graphs(), st.sampled_from([5.0, 50.0]))
def test_all_channels_give_ease(data, l2):
    """In full rank the dot products are EASE's weights, by its definition."""
    links, num_movies = data[RATES].edge_index, data[MOVIE].num_nodes
    features = feature_rows(data[MOVIE].x, data[MOVIE].terms, 0)
    rows = torch.zeros(data[USER].num_nodes + 3, num_movies, dtype=torch.float64)
    rows[links[0], links[1]] = 1
    rows[features[0] + data[USER].num_nodes, features[1]] = 2
    inverse = (rows.T @ rows + l2 * torch.eye(num_movies)).inverse()
    expected = -inverse / inverse.diagonal()
    source = spectral_embeddings(links, features, num_movies, 40, l2)
    assert source.shape == (num_movies, 40)
    found, off = source @ scored(source).T, ~torch.eye(num_movies, dtype=torch.bool)
    torch.testing.assert_close(found[off].double(), expected[off], rtol=1e-3, atol=1e-4)


def test_the_linear_part_draws_nothing_from_the_global_state(data):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = spectral_embeddings(data[RATES].edge_index, torch.empty(2, 0, dtype=torch.int64), 30, 4)
    assert torch.equal(torch.rand(2), expected)
    again = spectral_embeddings(data[RATES].edge_index, torch.empty(2, 0, dtype=torch.int64), 30, 4)
    assert torch.equal(first, again)


def test_features_are_numbered_genres_first():
    x, terms = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2, 0], [1, 2]])
    assert set(map(tuple, feature_rows(x, terms, 2).T.tolist())) == {(0, 0), (1, 1), (3, 0), (2, 1), (3, 1)}


@given(st.integers(0, 2**31), st.floats(5, 500), st.floats(5, 500))
def test_vectors_at_another_penalty_are_those_that_would_have_been_made(seed, l2, other):
    links = random_links(20, 30, 150, seed)
    features = torch.empty(2, 0, dtype=torch.int64)
    found = with_penalty(spectral_embeddings(links, features, 30, 12, l2), l2, other)
    wanted = spectral_embeddings(links, features, 30, 12, other)
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fixed", [{}, {"spectral_weight": 3.0}, {"spectral_l2": 40.0}, {"temperature": 2.0}])
def test_validation_chooses_what_is_not_given(data, fixed):
    """What is chosen ranks the links it is chosen by no worse than what it began with, and makes them likelier."""
    links = random_links(20, 30, 300, seed=1)
    is_new = ~(links[:, :, None] == data[RATES].edge_index[:, None]).all(dim=0).any(dim=1)
    pairs = links[:, is_new]
    label = (pairs.sum(dim=0) % 3 == 0).float()
    encoder = made(data, **fixed)
    mix, source = encoder.mix.clone(), encoder.spectral_source.clone()

    def judged():
        z_user, z_movie = encoder.eval().embed_all(data)
        logits = (z_user[pairs[0]] * z_movie[pairs[1]]).sum(dim=1)
        scores = z_user @ z_movie.T
        scores[tuple(data[RATES].edge_index)] = -torch.inf
        ranked = gain(scores[pairs[0, label > 0]], pairs[1, label > 0]).mean()
        return float(ranked), float(binary_cross_entropy_with_logits(logits, label))

    before = judged()
    encoder.train().choose_on_validation(data, pairs, label)
    assert encoder.training
    if "temperature" in fixed:
        assert torch.equal(encoder.mix, mix)
        assert torch.equal(encoder.spectral_source, source)
        assert "mix" not in encoder.state_dict()
        return
    after = judged()
    assert after[1] < before[1]
    assert not torch.equal(encoder.mix[1:], mix[1:])
    assert ("spectral_weight" not in fixed) or encoder.mix[0] == 3
    assert ("spectral_l2" not in fixed) or torch.equal(encoder.spectral_source, source)
    chosen = encoder.mix.clone(), encoder.spectral_source.clone()
    encoder.choose_on_validation(data, pairs, label)  # once more: from other weights and another penalty
    torch.testing.assert_close(encoder.spectral_source, chosen[1], rtol=1e-3, atol=1e-5)


def test_who_goes_on_from_a_checkpoint_chooses_as_who_went_on(data, monkeypatch):
    """Also where the penalty that was chosen is not the one that an encoder is prepared with."""
    pairs, label = random_links(20, 30, 40, seed=5), torch.arange(40).remainder(2).float()
    first, second = made(data), made(data)
    monkeypatch.setattr(history, "_PENALTIES", (600.0,))
    first.choose_on_validation(data, pairs, label)
    monkeypatch.setattr(history, "_PENALTIES", (75.0,))
    second.load_state_dict(first.state_dict())
    for encoder in (first, second):
        encoder.choose_on_validation(data, pairs, label)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_one_kind_of_label_chooses_nothing(data):
    encoder = made(data)
    mix = encoder.mix.clone()
    for label in (0.0, 1.0):
        encoder.choose_on_validation(data, torch.tensor([[0, 1], [2, 3]]), torch.full((2,), label))
        assert torch.equal(encoder.mix, mix)
