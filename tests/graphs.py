"""Small graphs that tests are made of."""

from collections.abc import Callable
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.graph.sequences import Sequences, sequences
from lightning_lp.graph.split import LinkSplit, split_links
from lightning_lp.graph.strategies import Strategy
from lightning_lp.model.encoders.base import Encoder, Sizes
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.model.encoders.sage import SageEncoder
from lightning_lp.model.module import LinkPredictionModule


def make_graph(links: torch.Tensor, num_users: int, num_movies: int) -> HeteroData:
    """A graph with these links, in this order, with times that follow their order."""
    data = HeteroData()
    data[USER].node_id = torch.arange(num_users)
    data[MOVIE].node_id = torch.arange(num_movies)
    data[MOVIE].x = torch.eye(num_movies, 3)
    data[MOVIE].terms = torch.zeros(num_movies, 1, dtype=torch.int64)
    data[RATES].edge_index = links
    data[RATES].time = torch.arange(links.size(1))
    data[REV_RATES].edge_index = links.flip(0)
    return data


def split(data: HeteroData, strategy: Strategy = "random", **settings: Any) -> LinkSplit:
    """A split of the links of users and movies."""
    return split_links(data, RATES, REV_RATES, strategy=strategy, **settings)


def random_links(num_users: int, num_movies: int, num_links: int, seed: int) -> torch.Tensor:
    """Distinct pairs, sorted by user, then movie."""
    key = np.random.default_rng(seed).choice(num_users * num_movies, num_links, replace=False)
    return torch.from_numpy(np.stack(np.divmod(np.sort(key), num_movies)))


@st.composite
def graphs(draw: st.DrawFn, min_links: int = 1) -> HeteroData:
    """Random graphs from sparse to nearly full."""
    num_users, num_movies = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    num_links = draw(st.integers(min(min_links, num_users * num_movies - 1), num_users * num_movies - 1))
    links = random_links(num_users, num_movies, num_links, draw(st.integers(0, 1000)))
    return make_graph(links, num_users, num_movies)


def pairs(edge_index: torch.Tensor) -> set[tuple[int, int]]:
    """The columns of [2, n] as a set."""
    return set(map(tuple, edge_index.t().tolist()))


Mean = Callable[[torch.Tensor], torch.Tensor]


def train_alone(module: LinkPredictionModule, mean: Mean = lambda value: value) -> None:
    """Lets ``training_step`` be called without a Trainer; ``mean`` stands for the mean over processes."""
    module.log, module.log_dict = (lambda *args, **kwargs: None for _ in range(2))  # type: ignore[method-assign]
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: mean(value))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    module._trainer = SimpleNamespace(optimizers=[optimizer], strategy=strategy)  # type: ignore[assignment]


def sage_module(num_users: int, num_movies: int, num_features: int, **options: Any) -> LinkPredictionModule:
    """The tutorial's model: two GraphSAGE layers and binary cross entropy."""
    encoder = SageEncoder(**{name: options.pop(name) for name in ("hidden_channels", "num_layers") if name in options})
    tutorial = {"encoder": encoder, "losses": {"bce": 1.0}, "lr_schedule": "constant"}
    return LinkPredictionModule(num_users, num_movies, num_features, **(tutorial | options))


def built(encoder: Encoder, *sizes: int) -> Encoder:
    """An encoder with its parameters for a graph of these sizes, as :class:`Sizes` takes them."""
    encoder.build(Sizes(*sizes))
    return encoder


def history_module(*sizes: int, **options: Any) -> LinkPredictionModule:
    """The default model, small: options of the encoder among those of the module."""
    small = {"hidden_channels": 8, "spectral_channels": 4}
    names = signature(HistoryEncoder).parameters
    encoder = HistoryEncoder(**small | {name: options.pop(name) for name in names if name in options})
    return LinkPredictionModule(*sizes, encoder=encoder, **options)


@st.composite
def histories(draw: st.DrawFn) -> Sequences:
    """Movies that a few users rated, in order."""
    num_users, num_movies = draw(st.integers(1, 5)), 6
    users = draw(st.lists(st.integers(0, num_users - 1), min_size=1, max_size=30))
    movies = draw(st.lists(st.integers(0, num_movies - 1), min_size=len(users), max_size=len(users)))
    return sequences(torch.tensor([users, movies]), None, num_users)
