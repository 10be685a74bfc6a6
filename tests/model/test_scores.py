from itertools import islice

import pytest
import torch

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.classifier import DotProductClassifier
from lightning_lp.model.scores import BatchScores, batch_candidates, catalogue_candidates
from tests.graph.test_sampler import make_loader
from tests.graphs import history_module, make_graph, random_links, sage_module, train_alone

CLASSIFIER = DotProductClassifier()
HISTORY = {RATES: [0], REV_RATES: [-1]}


@pytest.fixture
def data():
    return make_graph(random_links(20, 30, 160, seed=0), 20, 30)


def history(**options):
    torch.manual_seed(0)
    module = history_module(20, 30, 3, 0, 1, **options)
    module.encoder.movie_bias.data.normal_()
    return module


def unseen(batch, data):
    """For each user node of the batch, which movies sent it no message."""
    mask = torch.ones(data[USER].num_nodes, data[MOVIE].num_nodes, dtype=torch.bool)
    movie, user = batch[REV_RATES].edge_index
    mask[batch[USER].node_id[user], batch[MOVIE].node_id[movie]] = False
    return mask[batch[USER].node_id]


def test_logits_are_normalised_over_the_unseen_movies(data):
    module, batch = history(), next(iter(make_loader(data, HISTORY, batch_size=64)))
    z_dict, catalogue = module.encoder.embed_for_training(batch), module.encoder.catalogue()
    scores = BatchScores(z_dict, batch, module.classifier, catalogue)
    for i, (user, movie) in enumerate(batch[RATES].edge_label_index.t().tolist()):
        vector = z_dict[USER][user]
        of_all = catalogue @ vector[:-1]
        log_p = of_all[batch[MOVIE].node_id[movie]] - of_all[unseen(batch, data)[user]].logsumexp(dim=0)
        torch.testing.assert_close(scores.logits[i], log_p + vector[-1], rtol=1e-4, atol=1e-4)


def test_candidates_of_a_large_catalogue_are_a_sample(data):
    """Its estimate of the normaliser is right on average; the links of the batch are left out of it."""
    module, batch = history(), next(iter(make_loader(data, HISTORY, batch_size=4)))
    z_dict, catalogue = module.encoder.embed_for_training(batch), module.encoder.catalogue().detach()
    whole = BatchScores(z_dict, batch, module.classifier, catalogue)
    rows, columns = whole.user, batch[MOVIE].node_id[batch[RATES].edge_label_index[1, whole.label > 0]]
    others = whole.candidates.detach().index_put((rows, columns), torch.tensor(-torch.inf)).exp().sum(dim=1)
    assert len(others) < len(batch[RATES].edge_label_index[0].unique()), "there are users of non-links alone, too"
    means = torch.zeros(len(others))
    for _ in range(2000):
        sample = BatchScores(z_dict, batch, module.classifier, catalogue)
        sample._drawn = catalogue_candidates(catalogue, num_users=1, max_scores=10)
        assert sample.is_sample
        assert sample.candidates.size(1) == 10
        means += sample.log_normalizer.detach().exp() / 2000
    torch.testing.assert_close(means, others, rtol=0.05, atol=0.0)
    torch.testing.assert_close(sample.positive, whole.candidates[rows, columns], rtol=1e-4, atol=1e-5)


def test_the_bound_on_scores_is_kept():
    catalogue = torch.randn(100, 3)
    for num_users, wanted in ((1, 100), (5, 100), (10, 50), (1000, 1)):
        drawn = catalogue_candidates(catalogue, num_users, max_scores=500)
        assert len(drawn.movie) == wanted
        assert drawn.is_sample is (wanted < 100)
        assert torch.equal(drawn.z, catalogue[drawn.movie])
        assert float(drawn.log_count.exp()) == pytest.approx(wanted / 100)


def test_candidates_of_a_batch_are_the_movies_of_its_labels(data):
    batch = next(iter(make_loader(data, [3, 3], batch_size=16)))
    drawn = batch_candidates(torch.randn(batch[MOVIE].num_nodes, 4), batch)
    movies = batch[MOVIE].node_id[batch[RATES].edge_label_index[1]]
    assert sorted(drawn.movie.tolist()) == sorted(set(movies.tolist()))
    for movie, log_count in zip(drawn.movie, drawn.log_count, strict=True):
        assert float(log_count.exp()) == pytest.approx(int((movies == movie).sum()))


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize("whole", [True, False])
def test_scores_against_a_loop(data, whole, batch_size):
    """Of users and candidates one after another: what they score, what is left out, how often a movie is drawn."""
    torch.manual_seed(0)
    catalogue = torch.randn(30, 4)
    for batch in islice(make_loader(data, [2, 2], batch_size=batch_size), 8):
        movie_id, label = batch[MOVIE].node_id, batch[RATES].edge_label > 0
        z_user = torch.randn(batch[USER].num_nodes, 5)
        z_movie = torch.cat([catalogue[movie_id], torch.randn(len(movie_id), 1)], dim=1)
        z_dict = {USER: z_user, MOVIE: z_movie}
        found = BatchScores(z_dict, batch, CLASSIFIER, catalogue if whole else None, user_exponent=0.5)
        users, places = batch[RATES].edge_label_index.tolist()
        links = [pair for pair, is_link in zip(zip(users, places, strict=True), label, strict=True) if is_link]
        rated = {(user, int(movie_id[movie])) for movie, user in batch[REV_RATES].edge_index.t().tolist()}
        rated |= set() if whole else {(user, int(movie_id[place])) for user, place in links}
        if whole:
            table, width, count = [(movie, catalogue[movie]) for movie in range(30)], 4, [1] * 30
        else:
            table = [(int(movie_id[place]), z_movie[place]) for place in sorted(set(places))]
            width, count = 5, [places.count(place) for place in sorted(set(places))]
        with_links = sorted({user for user, _ in links})
        assert len(found.candidates) == len(with_links)
        for i, user in enumerate(with_links):
            row = [-torch.inf if (user, movie) in rated else float(z_user[user, :width] @ z) for movie, z in table]
            assert found.candidates[i].tolist() == pytest.approx(row, abs=1e-5)
            total = sum(torch.tensor(score).exp() / n for score, n in zip(row, count, strict=True))
            assert float(found.log_normalizer[i]) == pytest.approx(float(total.log()), abs=1e-4)
        assert found.is_sample is not whole
        assert [with_links[row] for row in found.user.tolist()] == [user for user, _ in links]
        expected = [float(z_user[user, :width] @ z_movie[place, :width]) for user, place in links]
        assert found.positive.tolist() == pytest.approx(expected, abs=1e-5)
        weight = torch.tensor([float(batch[USER].degree[user]) ** -0.5 for user, _ in links])
        torch.testing.assert_close(found.weight, weight / weight.sum())
        equal = BatchScores(z_dict, batch, CLASSIFIER).weight
        torch.testing.assert_close(equal, torch.full_like(equal, 1 / len(links)))


@pytest.mark.parametrize("num_replicas", [2, 4])
@pytest.mark.parametrize("kind", ["history", "sage"])
def test_processes_take_the_step_of_one(data, kind, num_replicas):
    """The mean of their gradients, which DDP computes, is the gradient of one process with the whole batch."""
    module = history() if kind == "history" else sage_module(20, 30, 0, hidden_channels=8)
    fan_out = HISTORY if kind == "history" else [-1, -1]
    size = 16 // num_replicas
    alone = next(iter(make_loader(data, fan_out, batch_size=16)))
    shares = [
        next(iter(make_loader(data, fan_out, batch_size=size, num_replicas=num_replicas, rank=rank)))
        for rank in range(num_replicas)
    ]
    sums = []
    train_alone(module, mean=lambda value: sums.append(value) or value)
    for batch in shares:
        module._scores(batch).weight  # noqa: B018 (each process tells the others its sum)
    train_alone(module)
    expected = gradients(module, alone)
    train_alone(module, mean=lambda _: torch.stack(sums).mean())
    found = [gradients(module, batch) for batch in shares]
    for name, gradient in expected.items():
        together = torch.stack([of_one[name] for of_one in found]).mean(dim=0)
        torch.testing.assert_close(together, gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", ["history", "sage"])
def test_training_scores_with_the_classifier_of_the_module(data, kind):
    class Undecided(torch.nn.Module):
        def forward(self, z_user, z_movie, edge_label_index):
            return (z_user.sum() + z_movie.sum()) * torch.zeros(edge_label_index.size(1))

    module = history() if kind == "history" else sage_module(20, 30, 0, hidden_channels=8)
    batch = next(iter(make_loader(data, HISTORY if kind == "history" else [3, 3], batch_size=16)))
    before = module._scores(batch).logits
    module.classifier = Undecided()
    after = module._scores(batch).logits
    assert not torch.allclose(before, after)
    if kind == "sage":
        assert torch.equal(after, torch.zeros_like(after))


def gradients(module, batch):
    module.zero_grad()
    module.training_step(batch, 0).backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.requires_grad}
