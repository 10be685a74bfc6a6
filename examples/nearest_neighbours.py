"""Recommending through a search for nearest neighbours, as services with millions of items do it.

The score of a movie is a dot product. One more channel makes of the largest product the smallest distance (Bachrach et
al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product spaces", RecSys 2014),
and any index of vectors can answer: here scikit-learn's, at scale FAISS or the like.

    python examples/nearest_neighbours.py lightning_logs/version_0
"""

import sys

import numpy as np
from sklearn.neighbors import NearestNeighbors

from lightning_lp import Recommender


class NeighbourRecommender:
    """Answers as :class:`Recommender`, from an index."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        vectors = recommender.movie_embeddings.astype(np.float64)
        squared = np.square(vectors).sum(axis=1, keepdims=True)
        # |(m, sqrt(M - |m|^2)) - (u, 0)|^2 = M + |u|^2 - 2 m u: the nearest has the largest product.
        self.index = NearestNeighbors().fit(np.hstack([vectors, np.sqrt(squared.max() - squared)]))

    def recommend(self, user: int | str, k: int = 10) -> list[int | str]:
        """The ids of the ``k`` best movies that a user has not rated."""
        row = self.recommender.users.index([user])[0]
        seen = self.recommender.seen_movies[slice(*self.recommender.seen_indptr[row : row + 2])]
        query = np.append(self.recommender.user_embeddings[row].astype(np.float64), 0.0)
        num_found = min(k + len(seen), len(self.recommender.movies))
        found = self.index.kneighbors(query[None], num_found, return_distance=False)[0]
        return self.recommender.movies.ids[found[~np.isin(found, seen)][:k]].tolist()


if __name__ == "__main__":
    exact = Recommender.load(sys.argv[1])
    fast = NeighbourRecommender(exact)
    for user in exact.users.ids[:3].tolist():
        listed = [movie.movie_id for movie in exact.recommend(user)]
        print(f"user {user}: {fast.recommend(user)}, as the recommender has it: {fast.recommend(user) == listed}")
