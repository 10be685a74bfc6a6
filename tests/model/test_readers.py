"""A history in dense operations says what the encoder says of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_lp.model.encoders.causal import _gap_buckets as buckets_by_bits
from lightning_lp.model.encoders.readers import _gap_buckets
from lightning_lp.model.encoders.registry import ENCODERS, make_encoder
from tests.graphs import make_graph, random_links
from tests.model.test_conformance import SIZES, SMALL, with_times

NUM_MOVIES = 30


def trained(name: str, **options):
    """An encoder whose weights are not those it begins with, and its graph."""
    torch.manual_seed(0)
    graph = make_graph(random_links(20, NUM_MOVIES, 150, seed=0), 20, NUM_MOVIES)
    graph["movie"].terms = torch.arange(60).remainder(5).view(30, 2)
    graph = with_times(graph)
    for store in (graph["user", "rates", "movie"], graph["movie", "rev_rates", "user"]):
        store.rating = torch.arange(150).remainder(10) / 2
    encoder = make_encoder({"class_path": name, "init_args": {"hidden_channels": 8} | SMALL[name] | options})
    encoder.build(SIZES)
    encoder.prepare(graph, 2.0)
    for weight in encoder.parameters():
        weight.data.add_(0.3 * torch.randn_like(weight))
    if name == "history" and options.get("temperature") is None:
        encoder.mix.copy_(torch.tensor([5.0, 0.8, -0.3]))
    return encoder.eval(), graph


def told(num: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    movie = torch.randperm(NUM_MOVIES, generator=generator)[:num]
    time = torch.randint(10**9, (num,), generator=generator).sort().values
    return movie, {"time": time, "rating": torch.randint(1, 11, (num,), generator=generator) / 2}


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}], ids=["chosen", "temperature"])
def test_history(options):
    encoder, graph = trained("history", **options)
    reader = encoder.reader(graph)
    for num in (1, 2, 7, NUM_MOVIES):
        movie, _ = told(num, num)
        expected = encoder.embed_new(graph, torch.stack([movie, torch.zeros_like(movie)]), 1)[0]
        torch.testing.assert_close(reader(movie), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("is_rated", [True, False])
def test_sequence(length, is_rated):
    encoder, graph = trained("sequence", length=length)
    reader = encoder.reader(graph)
    for num in (1, 2, 3, 4, 5, 6, 9, 11, NUM_MOVIES):
        movie, attrs = told(num, num)
        if not is_rated:
            del attrs["rating"]
        expected = encoder.embed_new(graph, torch.stack([movie, torch.zeros_like(movie)]), 1, attrs)[0]
        rating = attrs.get("rating", torch.full((num,), torch.nan))
        torch.testing.assert_close(reader(movie, rating, attrs["time"]), expected, atol=1e-4, rtol=1e-5)


def test_the_vectors_of_movies_are_those_of_the_catalogue():
    for name in ("history", "sequence"):
        encoder, graph = trained(name)
        assert torch.equal(encoder.reader(graph).z_movie, encoder.embed_all(graph)[1])


def test_an_encoder_that_reads_the_graph_has_none():
    assert all(make_encoder(name).reader(None) is None for name in ENCODERS if name not in ("history", "sequence"))


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 40))
def test_gaps_fall_into_the_buckets_of_attention(times, power):
    time = torch.tensor(sorted({*times, times[0] + 2**power - 1, times[0] + 2**power - 2, times[0] + 2**power}))
    places = torch.ones(len(time), len(time)).tril().bool()
    assert torch.equal(_gap_buckets(time)[places].int(), buckets_by_bits(time[None])[0][places])
