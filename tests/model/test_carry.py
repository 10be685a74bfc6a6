"""Weights that go on in another graph: known rows by their names, whatever the encoder."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_lp.data.handover import Start
from lightning_lp.data.previous import SIZES
from lightning_lp.data.schema import MOVIE
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Sizes
from lightning_lp.model.encoders.carry import Axis, axes_of, prepare_from
from lightning_lp.model.encoders.registry import make_encoder, spec_of
from tests.graphs import make_graph, random_links
from tests.model.test_conformance import NAMES, SMALL, Own, with_times

THEN = Sizes(20, 20, num_features=3, num_terms=4, max_terms=2)  # as many users as movies
NOW = Sizes(22, 25, num_features=4, num_terms=5, max_terms=3)
PLACES = {
    "num_users": np.array([*range(19), -1, -1, -1]),  # the last has gone
    "num_movies": np.array([*range(3, 20), *[-1] * 8]),  # the first three have
    "num_features": np.array([0, -1, 2, 1]),
    "num_terms": np.array([3, 0, -1, 1, 2]),
}


def begun(name: str) -> tuple[Any, Any, Start]:
    """An encoder that is trained, one that is to start from it, and what is told of the first."""
    torch.manual_seed(0)
    spec = {"class_path": name, "init_args": {"hidden_channels": 8} | SMALL.get(name, {})}
    then, now = make_encoder(spec), make_encoder(spec)
    then.build(THEN)
    now.build(NOW)
    for weight in then.parameters():
        weight.data.normal_()
    previous = SimpleNamespace(
        path="before.ckpt",
        encoder=spec_of(then),
        weights=then.state_dict(),
        names={size: range(getattr(THEN, size)) for size in SIZES},
    )
    return then, now, Start(previous, PLACES)


def graph_of(sizes: Sizes):
    graph = make_graph(random_links(sizes.num_users, sizes.num_movies, 150, seed=0), sizes.num_users, sizes.num_movies)
    graph[MOVIE].x = (torch.rand(sizes.num_movies, sizes.num_features) < 0.5).float()
    graph[MOVIE].terms = torch.randint(sizes.num_terms + 1, (sizes.num_movies, sizes.max_terms))
    return with_times(graph)


@pytest.mark.parametrize("name", NAMES)
def test_known_rows_go_on_by_their_names(name):
    then, now, start = begun(name)
    graph, state = graph_of(NOW), then.state_dict()
    prepare_from(now, start, graph, 2.0)
    weights = now.state_dict()
    movies, users = (torch.from_numpy(PLACES[f"num_{kind}"]) for kind in ("movies", "users"))
    assert torch.equal(weights["movie_emb.weight"][:17], state["movie_emb.weight"][3:])
    assert weights["movie_emb.weight"][17:].ne(0).any(dim=1).all()
    if "user_emb.weight" in state:
        assert torch.equal(weights["user_emb.weight"][users >= 0], state["user_emb.weight"][:19])
        linear = then.movie_lin.weight[:, [0, 2, 1]]
        assert torch.equal(weights["movie_lin.weight"][:, [0, 2, 3]], linear)
    if "term_emb.weight" in state:  # row 0 is none of a term
        assert torch.equal(weights["term_emb.weight"][[0, 1, 2, 4, 5]], state["term_emb.weight"][[0, 4, 1, 2, 3]])
    for key, axes in axes_of(now).items():  # what no graph's size shapes is the same
        if key in dict(now.named_parameters()) and all(axis.size is None for axis in axes):
            assert torch.equal(weights[key], state[key]), key
    assert movies.numel() == len(weights["movie_emb.weight"])
    anew = make_encoder(spec_of(now))
    anew.build(NOW)
    anew.prepare(graph, 2.0)
    for key, value in anew.named_buffers():
        if key not in ("mix", "l2", "has_penalty"):  # what the links say is said by those of now
            torch.testing.assert_close(dict(now.named_buffers())[key].abs(), value.abs(), atol=1e-3, rtol=1e-3)


def test_new_movies_are_begun_where_the_known_ones_have_been_turned():
    """Of rows that have only been rotated since ``prepare`` began them, new ones follow the rotation."""
    _, now, start = begun("history")
    graph = graph_of(NOW)
    plain = make_encoder(spec_of(now))
    plain.build(NOW)
    plain.prepare(graph, 2.0)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    turned = plain.movie_emb.weight.data @ rotation
    start.previous.weights["movie_emb.weight"][3:] = turned[:17]
    prepare_from(now, start, graph, 2.0)
    torch.testing.assert_close(now.movie_emb.weight.data, turned, atol=1e-4, rtol=1e-4)


def test_what_is_chosen_is_what_the_linear_part_is_made_with():
    then, now, start = begun("history")
    start.previous.weights["l2"].fill_(600.0)
    start.previous.weights["mix"].copy_(torch.tensor([5.0, 0.9, 0.1]))
    graph = graph_of(NOW)
    prepare_from(now, start, graph, 2.0)
    assert (float(now.l2), now.mix.tolist()) == (600.0, then.mix.tolist())
    anew = make_encoder({"class_path": "history", "init_args": now.options | {"spectral_l2": 600.0}})
    anew.build(NOW)
    anew.prepare(graph, 2.0)
    torch.testing.assert_close(now.spectral_source, anew.spectral_source)


def test_what_is_given_goes_before_what_was_chosen():
    _, now, start = begun("history")
    start.previous.weights["l2"].fill_(600.0)
    start.previous.weights["has_penalty"].fill_(True)
    start.previous.weights["mix"].copy_(torch.tensor([5.0, 0.9, 0.1]))
    graph = graph_of(NOW)
    given = make_encoder(
        {"class_path": "history", "init_args": now.options | {"spectral_l2": 1e3, "spectral_weight": 3}}
    )
    given.build(NOW)
    anew = make_encoder(spec_of(given))
    anew.build(NOW)
    prepare_from(given, start, graph, 2.0)
    anew.prepare(graph, 2.0)
    assert (float(given.l2), float(given.mix[0])) == (1e3, 3.0)
    torch.testing.assert_close(given.spectral_source, anew.spectral_source)
    labels = random_links(NOW.num_users, NOW.num_movies, 30, seed=1)
    given.choose_on_validation(graph, labels, torch.arange(30) % 2)
    assert (float(given.l2), float(given.mix[0])) == (1e3, 3.0)
    assert given.chosen == {"spectral_weight": 3.0, "spectral_l2": 1e3}


def test_a_penalty_that_was_given_can_be_chosen_after_it():
    then, now, start = begun("history")
    graph = graph_of(NOW)
    given = make_encoder({"class_path": "history", "init_args": then.options | {"spectral_l2": 1e7}})
    given.build(THEN)
    start.previous.weights.update({key: given.state_dict()[key] for key in ("l2", "has_penalty")})
    prepare_from(now, start, graph, 2.0)
    assert not now.chosen
    labels = random_links(NOW.num_users, NOW.num_movies, 30, seed=1)
    now.choose_on_validation(graph, labels, torch.arange(30) % 2)
    assert now.chosen["spectral_l2"] == float(now.l2) <= 4800.0


def test_axes_are_told_by_what_they_grow_with():
    axes = axes_of(make_encoder("history"))
    assert axes["movie_emb.weight"] == [Axis("num_movies"), Axis()]
    assert axes["term_emb.weight"] == [Axis("num_terms", 1), Axis()]
    assert axes["movie_lin.weight"] == [Axis(), Axis("num_features")]
    assert axes["terms"] == [Axis("num_movies"), Axis("max_terms")]
    assert axes["mix"] == [Axis()]


class Padded(Own):
    """Nobody knows which of its rows is the one too many."""

    def build(self, sizes):
        self.movie_emb = nn.Embedding(sizes.num_movies + 1, self.hidden_channels)


class Hashed(Own):
    """No row of it is one movie's."""

    def build(self, sizes):
        self.movie_emb = nn.Embedding(min(sizes.num_movies, 21), self.hidden_channels)


@pytest.mark.parametrize(
    ("kind", "problem"), [(Padded, "its movie_emb.weight has not one row for each"), (Hashed, "has 21 rows for 25")]
)
def test_an_encoder_whose_rows_are_nobodys_is_refused(kind, problem):
    _, now, start = begun(f"{__name__}.{kind.__name__}")
    with pytest.raises(UserError, match=problem):
        prepare_from(now, start, graph_of(NOW), 2.0)
