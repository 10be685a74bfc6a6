"""What every encoder keeps: those that are shipped, and one of a user's own."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Encoder, Sizes
from lightning_lp.model.encoders.registry import ENCODERS, make_encoder, spec_of
from lightning_lp.model.module import LinkPredictionModule
from tests.graph.test_sampler import make_loader
from tests.graphs import make_graph, random_links, train_alone

NUM_USERS, NUM_MOVIES = 20, 30
SIZES = Sizes(NUM_USERS, NUM_MOVIES, num_features=3, num_terms=4, max_terms=2)


class Own(Encoder):
    """As short as one can be: a user is the sum of its movies' embeddings."""

    edge_types = (REV_RATES,)

    def __init__(self, hidden_channels: int = 8) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels

    def build(self, sizes):
        self.movie_emb = nn.Embedding(sizes.num_movies, self.hidden_channels)

    def forward(self, batch):
        movie = self.movie_emb(batch[MOVIE].node_id)
        sender, receiver = self.messages(batch, REV_RATES)
        user = movie.new_zeros(batch[USER].node_id.numel(), movie.size(1))
        return {USER: user.index_add(0, receiver, movie[sender]), MOVIE: movie}


SMALL = {
    "history": {"spectral_channels": 6},
    "sequence": {"spectral_channels": 8, "transition_channels": 6, "dropout": 0.0},
}
NAMES = [*ENCODERS, f"{__name__}.Own"]


@pytest.fixture
def data() -> HeteroData:
    graph = make_graph(random_links(NUM_USERS, NUM_MOVIES, 150, seed=0), NUM_USERS, NUM_MOVIES)
    graph[MOVIE].terms = torch.arange(60).remainder(5).view(30, 2)
    return with_times(graph)


def with_times(graph: HeteroData, order: torch.Tensor | None = None) -> HeteroData:
    """The graph with a time at each link, and the same at its reverse."""
    for store in (graph[RATES], graph[REV_RATES]):
        time = (torch.arange(150) * 37) % 150
        store.time = (time if order is None else time[order])[: store.edge_index.size(1)]
    return graph


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest, data: HeteroData) -> Encoder:
    torch.manual_seed(0)
    small = {"hidden_channels": 8} | SMALL.get(request.param, {})
    made = make_encoder({"class_path": request.param, "init_args": small})
    made.build(SIZES)
    made.prepare(data, neg_sampling_ratio=2.0)
    for parameter in made.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return made


def batches(encoder, data, **options):
    all_of_them = {key: [-1 if any(n) else 0 for _ in n] for key, n in encoder.num_neighbors.items()}
    for batch in make_loader(data, all_of_them, **options):
        for key in ("x", "terms"):
            batch[MOVIE][key] = data[MOVIE][key][batch[MOVIE].node_id]
        yield batch


def ends(batch):
    return zip((USER, MOVIE), batch[RATES].edge_label_index, strict=True)


def test_a_batch_with_all_neighbours_gives_what_the_whole_graph_gives(encoder, data):
    whole = dict(zip((USER, MOVIE), encoder.embed_all(data), strict=True))
    encoder.eval()
    for batch in batches(encoder, data, batch_size=16, exclude_seed_links=False):
        z_dict = encoder(batch)
        for node_type, end in ends(batch):
            expected = whole[node_type][batch[node_type].node_id[end]]
            torch.testing.assert_close(z_dict[node_type][end], expected, rtol=1e-4, atol=1e-5)


def test_training_and_evaluation_are_one_function(encoder, data):
    module = LinkPredictionModule(NUM_USERS, NUM_MOVIES, 3, 4, 2, encoder=copy.deepcopy(encoder))
    module.encoder.load_state_dict(encoder.state_dict())
    for batch in batches(encoder, data, batch_size=16):
        trained, evaluated = (module.train(mode)(batch).sigmoid() for mode in (True, False))
        assert torch.equal(trained, evaluated)


def test_the_order_of_edges_means_nothing(encoder, data):
    expected = encoder.embed_all(data)
    order = torch.randperm(150)
    shuffled = with_times(make_graph(data[RATES].edge_index[:, order], NUM_USERS, NUM_MOVIES), order)
    shuffled[MOVIE].terms = data[MOVIE].terms
    for found, z in zip(encoder.embed_all(shuffled), expected, strict=True):
        torch.testing.assert_close(found, z, rtol=1e-4, atol=1e-5)


def test_embedding_all_leaves_the_mode_and_no_gradient(encoder, data):
    for mode in (True, False):
        encoder.train(mode)
        assert not any(z.requires_grad for z in encoder.embed_all(data))
        assert encoder.training is mode


def test_name_options_and_weights_are_all_there_is(encoder, data):
    again = make_encoder(spec_of(encoder))
    again.build(SIZES)
    again.load_state_dict(encoder.state_dict())
    for copied in (again, copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert spec_of(copied) == spec_of(encoder)
        assert all(torch.equal(a, b) for a, b in zip(copied.embed_all(data), encoder.embed_all(data), strict=True))


def test_new_users_receive_and_send_nothing(encoder, data):
    before = encoder.embed_all(data)
    history = torch.tensor([[3, 8, 21, 5], [0, 0, 0, 1]])
    both = encoder.embed_new(data, history, 2)
    assert both.shape == (2, before[0].size(1))
    assert both.isfinite().all()
    torch.testing.assert_close(encoder.embed_new(data, history[:, :3], 1)[0], both[0])
    assert all(torch.equal(z, known) for z, known in zip(encoder.embed_all(data), before, strict=True))


def test_nodes_without_messages_have_finite_vectors(encoder):
    nothing = make_graph(torch.empty(2, 0, dtype=torch.int64), NUM_USERS, NUM_MOVIES)
    nothing[MOVIE].terms = torch.zeros(NUM_MOVIES, 2, dtype=torch.int64)
    with_times(nothing)
    assert all(z.isfinite().all() for z in encoder.embed_all(nothing))


def test_every_parameter_is_in_the_loss_and_it_falls(encoder, data):
    module = LinkPredictionModule(NUM_USERS, NUM_MOVIES, 3, 4, 2, encoder=make_encoder(spec_of(encoder)))
    module.encoder.load_state_dict(encoder.state_dict())
    train_alone(module)
    optimizer, found = torch.optim.Adam(module.parameters(), lr=0.02), []
    for _ in range(8):
        found.append(0.0)
        for batch in batches(module.encoder, data, batch_size=64):
            loss = module.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            # DDP would wait for one that gets no gradient.
            assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
            optimizer.step()
            found[-1] += float(loss.detach())
    assert found[-1] < found[0]


def test_the_links_being_scored_are_left_out(encoder, data):
    """A link's score in its own batch is that of a graph without the link."""
    batch = next(iter(batches(encoder, data, batch_size=1)))
    user, movie = (batch[node_type].node_id[end[0]] for node_type, end in ends(batch))
    links = data[RATES].edge_index
    others = ~((links[0] == user) & (links[1] == movie))
    rest = with_times(make_graph(links[:, others], NUM_USERS, NUM_MOVIES), others.nonzero().flatten())
    rest[MOVIE].terms = data[MOVIE].terms
    encoder.eval().prepare(rest, neg_sampling_ratio=2.0)  # what is known of the whole graph, such as degrees
    z_dict, expected = encoder(batch), encoder.embed_all(rest)
    for (node_type, end), node, z in zip(ends(batch), (user, movie), expected, strict=True):
        torch.testing.assert_close(z_dict[node_type][end[0]], z[node], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("history", {"dropout": 1.0}),
        ("history", {"spectral_l2": -1.0}),
        ("sequence", {"length": 0}),
        ("sage", {"num_layers": 0}),
        ("lightgcn", {"hidden_channels": 0}),
        ("hgt", {"hidden_channels": 9, "heads": 2}),
    ],
)
def test_options_that_cannot_be_right_are_refused(name, options):
    with pytest.raises(UserError, match=next(iter(options))):
        make_encoder({"class_path": name, "init_args": options})


def test_what_is_no_encoder_is_refused():
    with pytest.raises(UserError, match="did you mean lightgcn"):
        make_encoder("lightgnc")
    with pytest.raises(UserError, match="a subclass of"):
        make_encoder("torch.nn.Linear")
