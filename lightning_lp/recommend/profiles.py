"""What is known of one user, and what a list is made from."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class History(NamedTuple):
    """What a user has done.

    Attributes:
        movies: [n] int64, the indices of the movies that are links, the latest last.
        seen: [m] int64, the indices of further movies that it knows, such as those rated too low to be a link.
        ratings: [n] float64 of each of ``movies``. None: unknown.
        times: [n] int64 of each of ``movies``, in seconds; they then tell the order. None: unknown.
    """

    movies: NDArray[np.int64]
    seen: NDArray[np.int64]
    ratings: NDArray[np.float64] | None = None
    times: NDArray[np.int64] | None = None


class Profile(NamedTuple):
    """What a list is made from.

    Attributes:
        vector: [d] float32, the user's.
        movies: [n] int64, the indices of the movies that the vector is made from, each once.
        seen: [m] int64, the indices of the movies that are never listed.
    """

    vector: NDArray[np.float32]
    movies: NDArray[np.int64]
    seen: NDArray[np.int64]
