"""From tables to the graph of users and movies that everything else works on."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.ids import IdMap
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.data.tables import Tables
from lightning_lp.data.titles import title_terms
from lightning_lp.errors import UserError
from lightning_lp.renamed import Renamed


@dataclass(frozen=True)
class RatingGraph:
    """A ``HeteroData`` and what its numbers stand for.

    Attributes:
        data: ``data["user"].node_id`` and ``data["movie"].node_id`` [num_nodes] int64;
            ``data["movie"].x`` [num_movies, num_genres] float32, 1 where a movie has a genre;
            ``data["movie"].terms`` [num_movies, max_terms] int64, numbers of the terms of its title, filled up with 0;
            ``data[RATES].edge_index`` [2, num_links] int64, sorted by user, then movie, each pair once, and its
            reverse; ``data[RATES].rating`` [num_links] float32 and ``data[RATES].time`` [num_links] int64 seconds, if
            the ratings have them, and the same tensors for the reverse.
        users: ids of the users, in node order.
        movies: ids of the movies, in node order: the same order as ``titles``, ``genres`` and ``x``.
        titles: title of each movie.
        genres: genres of each movie, separated by ``|``.
        genre_vocabulary: the genre of each column of ``x``, sorted.
        title_vocabulary: the terms of titles, sorted; the first has number 1.
        below_min_rating: [2, num_pairs] int64 (user, movie) pairs that were rated too low to be a link. They are
            seen all the same: never recommended.
        fingerprint: hash of ids, links and genres.
        part: [num_links] uint8 0 for training, 1 for validation, 2 for test, where the user's files tell it.
    """

    data: HeteroData
    users: IdMap
    movies: IdMap
    titles: list[str]
    genres: list[str]
    genre_vocabulary: list[str]
    title_vocabulary: list[str]
    below_min_rating: Tensor
    fingerprint: str
    part: Tensor | None = None

    vocabulary = Renamed("genre_vocabulary")
    terms = Renamed("title_vocabulary")


def build_graph(tables: Tables, min_rating: float | None = None, use_terms: bool = True) -> RatingGraph:
    """Builds the graph: one node per movie of the movies table and per user with a link.

    Args:
        tables: movies and ratings.
        min_rating: lower ratings are no links; they are remembered as seen.
        use_terms: whether titles are read; otherwise there are no terms.

    Raises:
        UserError: no link is left.
    """
    ratings = tables.coded
    is_link = np.ones(len(ratings), bool)
    if min_rating is not None:
        if ratings.rating.isna().all():
            raise UserError(f"--data.min_rating {min_rating} needs ratings, and {tables.name} has no rating column")
        is_link = ratings.rating.to_numpy() >= min_rating
        if not is_link.any():
            raise UserError(
                f"--data.min_rating {min_rating} leaves none of {len(ratings)} ratings, "
                f"the highest of which is {ratings.rating.max()}: lower it"
            )
    movies = IdMap(tables.movies.movie.to_numpy())
    user, movie = ratings.user.to_numpy(), ratings.movie.to_numpy().astype(np.int64)
    has_links = np.zeros(len(tables.users), bool)
    has_links[user[is_link]] = True
    users = IdMap(tables.users.ids[has_links])
    user = np.where(has_links, has_links.cumsum() - 1, -1)[user]
    genres = tables.movies.genres.tolist()
    titles = tables.movies.title.tolist()
    genre_vocabulary, x = multi_hot([genre_names(text) for text in genres])

    data = HeteroData()
    data[USER].node_id = torch.arange(len(users))
    data[MOVIE].node_id = torch.arange(len(movies))
    data[MOVIE].x = x
    title_vocabulary, data[MOVIE].terms = title_terms(titles if use_terms else [""] * len(titles))
    add_links(data, user[is_link], movie[is_link])
    if not ratings.rating.isna().all():
        data[RATES].rating = torch.from_numpy(ratings.rating.to_numpy()[is_link].astype(np.float32))
    if "time" in ratings:
        data[RATES].time = torch.from_numpy(ratings.time.to_numpy()[is_link])
    for key in ("rating", "time"):
        if key in data[RATES]:
            data[REV_RATES][key] = data[RATES][key]
    is_below = ~is_link & (user >= 0)  # users without a link are no nodes
    return RatingGraph(
        data=data,
        users=users,
        movies=movies,
        titles=titles,
        genres=genres,
        genre_vocabulary=genre_vocabulary,
        title_vocabulary=title_vocabulary,
        below_min_rating=torch.from_numpy(np.stack([user[is_below], movie[is_below]])),
        fingerprint=_fingerprint(users, movies, data, genres),
        part=torch.from_numpy(ratings.part.to_numpy()[is_link]) if "part" in ratings else None,
    )


def add_links(data: HeteroData, user: NDArray[np.int64], movie: NDArray[np.int64]) -> None:
    """Adds links and their reverses. The two share the movies' row: three rows are held instead of four."""
    rows = torch.from_numpy(np.stack([user, movie, user]))
    data[RATES].edge_index, data[REV_RATES].edge_index = rows[:2], rows[1:]


def genre_names(genres: str) -> list[str]:
    """The genres of one movie: ``"Action|Comedy"`` gives ``["Action", "Comedy"]``, blanks give none."""
    return [name for part in genres.split("|") if (name := part.strip())]


def multi_hot(genres: list[list[str]]) -> tuple[list[str], Tensor]:
    """The genres of all movies, sorted, and [num_movies, num_genres] float32, 1 where a movie has a genre.

    Args:
        genres: those of each movie, as :func:`genre_names` gives them.
    """
    names = pd.Series(genres, dtype=object).explode().dropna()
    vocabulary = sorted(names.unique())
    x = torch.zeros(len(genres), len(vocabulary))
    column = pd.Index(vocabulary).get_indexer(pd.Index(names))
    x[torch.tensor(names.index.to_numpy()), torch.from_numpy(column)] = 1.0
    return vocabulary, x


def _fingerprint(users: IdMap, movies: IdMap, data: HeteroData, genres: list[str]) -> str:
    digest = hashlib.sha256()
    for ids in (users.ids, movies.ids, np.array(genres, dtype=object)):
        content = "\n".join(ids).encode() if ids.dtype == object else np.ascontiguousarray(ids).tobytes()
        digest.update(repr((ids.dtype.kind, len(ids), len(content))).encode() + content)
    digest.update(np.ascontiguousarray(data[RATES].edge_index.numpy()).data)
    return digest.hexdigest()[:16]
