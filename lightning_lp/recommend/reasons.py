"""Why a movie is recommended: what its score is made of."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Encoder
from lightning_lp.recommend.profiles import Profile

Doubles = NDArray[np.float64]


class Reason(NamedTuple):
    """What one of the user's movies adds to a score.

    Attributes:
        movie_id: its id, as in the data.
        title: its title.
        contribution: what it adds to the logit; less than 0 where it speaks against the movie.
    """

    movie_id: int | str
    title: str
    contribution: float


class Why(NamedTuple):
    """What a score is made of: ``logit`` is the sum of all contributions, ``bias`` and ``rest``.

    Attributes:
        logit: the score before it is made a probability, its sigmoid.
        reasons: of each of the user's movies, the largest contribution first.
        bias: what the recommended movie has for every user, its popularity above all.
        rest: what is the same for whatever movie of this user's: how much the user rates, and the constant of the
            layer; with what float32 has rounded.
    """

    logit: float
    reasons: list[Reason]
    bias: float
    rest: float


def parts_of_scores(
    encoder: Encoder, profile: Profile, z_movie: NDArray[np.float32]
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Splits scores into what the user's movies add, the biases of the scored movies, and what is left.

    Args:
        encoder: the model.
        profile: the user.
        z_movie: [k, d] vectors of the scored movies.

    Returns:
        [k] logits, [k, n] what each movie of the user's adds, [k] biases and [k] rests, in float64.

    Raises:
        UserError: with this encoder a user is not the sum of its movies.
    """
    parts = encoder.user_parts(torch.from_numpy(profile.movies).to(next(encoder.parameters()).device))
    if parts is None:
        raise UserError(
            f"why a movie is recommended cannot be told: with the encoder {type(encoder).__name__} a user is not a sum "
            "over its movies, as it is with `history`, the default"
        )
    user, movie = profile.vector.astype(np.float64), z_movie.astype(np.float64)
    of_movies: Doubles = parts.cpu().numpy()
    levels = slice(len(user) - encoder.num_bias_channels, len(user) - 1)  # the last of them is the user's
    bias = movie[:, levels] @ user[levels]
    left = user - of_movies.sum(axis=0)
    left[levels] = 0
    return movie @ user, movie @ of_movies.T, bias, movie @ left
