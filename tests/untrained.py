"""Models that nobody trained: all that serving and explaining need."""

from typing import Any

import torch

from lightning_lp.model.module import LinkPredictionModule
from lightning_lp.recommend.recommender import Recommender
from tests.graphs import random_links

NUM_USERS, NUM_MOVIES, NUM_LINKS = 12, 25, 90
GENRES = ["Comedy", "Drama", "Comedy|Drama", "(no genres listed)"]


def recommender_of(encoder_name: str, seed: int = 0, **state: Any) -> Recommender:
    """A recommender with 12 users and 25 movies, whose ids are their indices; users 0 to 11 have 90 links.

    Args:
        encoder_name: short name of its encoder.
        seed: of links, times, ratings and weights.
        state: what replaces parts of the state of its data.
    """
    torch.manual_seed(seed)
    options = {"hidden_channels": 8} | ({"spectral_channels": 6} if encoder_name in ("history", "sequence") else {})
    spec = {"class_path": encoder_name, "init_args": options}
    module = LinkPredictionModule(NUM_USERS, NUM_MOVIES, 3, 0, 1, encoder=spec)
    for weight in module.parameters():
        weight.data.add_(0.3 * torch.randn_like(weight))
    is_timed = encoder_name == "sequence"
    attrs = {"time": torch.randint(1000, (NUM_LINKS,)), "rating": torch.randint(1, 11, (NUM_LINKS,)) / 2}
    known = {
        "users": torch.arange(NUM_USERS),
        "movies": torch.arange(NUM_MOVIES),
        "titles": [f"Movie {movie} ({1980 + movie})" for movie in range(NUM_MOVIES)],
        "genres": [GENRES[movie % 4] for movie in range(NUM_MOVIES)],
        "links": random_links(NUM_USERS, NUM_MOVIES, NUM_LINKS, seed).int(),
        "below_min_rating": torch.empty(2, 0, dtype=torch.int32),
        **({"edge_attrs": attrs} if is_timed else {}),
    }
    return Recommender(module, known | state)
