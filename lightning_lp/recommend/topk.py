"""The exact top-k of dot products, with NumPy alone.

The recommender ranks with it, and an exported folder holds a copy of this file, so that both give the same
movies in the same order.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Recommendation(NamedTuple):
    """One line of a list of movies.

    Attributes:
        rank: place in the list, from 1.
        movie_id: the movie's id, as in the data.
        title: its title.
        genres: its genres.
        score: the probability of a link; among similar movies the cosine.
    """

    rank: int
    movie_id: int | str
    title: str
    genres: tuple[str, ...]
    score: float


def dot_products(vectors: NDArray[Any], movies: NDArray[Any]) -> Floats:
    """The dot product of each vector and each movie: [n, d] and [num_movies, d] give [n, num_movies] float32.

    Summed in float64 and rounded once: the order of the sum, which differs between libraries and between one user
    and many, cannot change a rank, and equal vectors have equal scores. Vectors in float64 are not copied.
    """
    products: Floats = (np.asarray(vectors, np.float64) @ np.asarray(movies, np.float64).T).astype(np.float32)
    return products


def best(scores: Floats, seen: NDArray[np.integer[Any]], k: int) -> Ints:
    """The ``k`` highest of ``scores`` [num_movies] that are not ``seen``, or all that are left; ties by index.

    Examples:
        >>> import numpy as np
        >>> from lightning_lp.recommend.topk import best
        >>> best(np.array([0.5, 0.9, 0.5, 0.1], np.float32), seen=np.array([1]), k=2)
        array([0, 2])
    """
    unseen = scores.copy()
    unseen[seen] = -np.inf
    k = min(k, len(unseen))
    at_least = np.partition(unseen, -k)[-k]
    candidates = np.flatnonzero((unseen >= at_least) & (unseen > -np.inf))
    return candidates[np.argsort(-unseen[candidates], kind="stable")][:k]


def probability(logits: Floats) -> Floats:
    """The sigmoid of each logit, float32; written so that no exponential overflows."""
    sigmoid: Floats = np.exp(-np.logaddexp(np.float32(0), -logits))
    return sigmoid


class TopK:
    """Recommends from an exported folder.

    Args:
        folder: the exported folder. Default: the one this file is in.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        folder = Path(__file__).parent if folder is None else Path(folder)
        self.user_embeddings = np.load(folder / "user_embeddings.npy")  # [num_users, d] float32
        self.movie_embeddings = np.load(folder / "movie_embeddings.npy")  # [num_movies, d] float32
        self.movie_ids = np.load(folder / "movie_ids.npy").tolist()
        self._user_index = {str(user): i for i, user in enumerate(np.load(folder / "user_ids.npy").tolist())}
        self._seen_offsets = np.load(folder / "seen_offsets.npy")
        self._seen_movies = np.load(folder / "seen_movies.npy")
        movies = json.loads((folder / "movies.json").read_text(encoding="utf-8"))
        self._titles, self._genres = movies["titles"], movies["genres"]

    def recommend(self, user: int | str, k: int = 10) -> list[Recommendation]:
        """The ``k`` movies that the user has not rated and most likely would, or all that are left.

        Raises:
            ValueError: the user is unknown, or ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}: give 1 or more")
        if (index := self._user_index.get(str(user))) is None:
            raise ValueError(f"user {user!r} is unknown")
        seen = self._seen_movies[self._seen_offsets[index] : self._seen_offsets[index + 1]]
        scores = dot_products(self.user_embeddings[[index]], self.movie_embeddings)[0]
        movies = best(scores, seen, k)
        shown = zip(movies.tolist(), probability(scores[movies]).tolist(), strict=True)
        return [
            Recommendation(rank, self.movie_ids[movie], self._titles[movie], tuple(self._genres[movie]), score)
            for rank, (movie, score) in enumerate(shown, start=1)
        ]
