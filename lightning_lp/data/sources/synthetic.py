"""Write MovieLens-shaped CSV files of any size from a seed.

Every movie has a point in a taste space: its genres', plus its era's and something of its own. Every user has a
direction in it, made of a few favourite genres and something of their own. A user rates a movie with a
probability that rises with the movie's popularity and with the affinity (the dot product of the two), and
rates it the higher the closer it is. So a model that knows only popularity is beaten by one that learns tastes.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from filelock import FileLock
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from lightning_lp.data.schema import MOVIES_FILE, NO_GENRES, RATINGS_FILE, Columns
from lightning_lp.errors import UserError

SAMPLE_NAME = "synthetic-sample"
SAMPLE_VERSION = 1
"""Raise it whenever the sample's bytes change: the cached folder's name bears it."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Each with its share of MovieLens' movies, in percent.
GENRES = {
    "Action": 19, "Adventure": 13, "Animation": 6, "Children": 7, "Comedy": 39, "Crime": 12, "Documentary": 5,
    "Drama": 45, "Fantasy": 8, "Film-Noir": 1, "Horror": 10, "IMAX": 2, "Musical": 3, "Mystery": 6,
    "Romance": 16, "Sci-Fi": 10, "Thriller": 19, "War": 4, "Western": 2,
}  # fmt: skip
FIRST_WORDS = (
    "Silent", "Golden", "Last", "Broken", "Secret", "Crimson", "Distant", "Wild", "Hidden", "Burning", "Lost",
    "Little", "Midnight", "Frozen", "Electric", "Gentle", "Savage", "Paper", "Iron", "Summer",
)  # fmt: skip
SECOND_WORDS = (
    "River", "Garden", "Heart", "City", "Stranger", "Empire", "Dream", "Road", "Island", "Promise", "Shadow",
    "Dance", "Letter", "Winter", "Kingdom", "Affair", "Machine", "Voyage", "Witness", "Circus",
)  # fmt: skip
PLACES = (
    "Lisbon", "Oslo", "Kyoto", "Cairo", "Vienna", "Dakar", "Lima", "Prague", "Havana", "Tunis", "Bergen",
    "Quito", "Naples", "Delhi", "Riga", "Seville", "Hanoi", "Dublin", "Tbilisi", "Reno",
)  # fmt: skip

DIMENSIONS = 16
MIN_RATINGS = 20  # as MovieLens has it
USERS_PER_CHUNK = 256  # part of the format: each chunk has its own random numbers
OVERSAMPLING = 12  # candidates drawn for every rating wanted
TASTE = 4.0  # weight of affinity against popularity in what is rated
STARS = pa.array([f"{half / 2:.1f}" for half in range(11)])  # numbers would lose the ".0"


@dataclass(frozen=True)
class _World:
    """Movies (M) and users (U) behind the files.

    Attributes:
        movie_ids: ids with gaps, ascending, shape [M].
        popularity: probability that the next rating is of the movie, taste apart, shape [M].
        cumulative: the popularity summed up to each movie, the last 1, shape [M].
        quality: what the movie adds to its ratings, in stars, shape [M].
        movies: the movies' points in the taste space, shape [M, DIMENSIONS].
        genres: the genres' points, shape [19, DIMENSIONS].
        counts: number of ratings of each user, shape [U].
    """

    movie_ids: Ints
    popularity: Floats
    cumulative: Floats
    quality: Floats
    movies: Floats
    genres: Floats
    counts: Ints


def write_movielens(
    root: Path,
    num_users: int = 600,
    num_movies: int = 2_500,
    num_ratings: int = 50_000,
    seed: int = 0,
) -> None:
    """Write `movies.csv` and `ratings.csv` into a new folder, which appears by one rename when it is complete.

    There are exactly `num_ratings` ratings, no (user, movie) pair twice, and every user has at least 20 where
    the sizes allow it. Popularity and activity are long-tailed; some movies have no rating. The same sizes and
    seed give the same bytes.

    Args:
        root: the folder to make; it may exist only if it is empty.
        num_users: number of users, at least 1; their ids are 1 to `num_users`.
        num_movies: number of movies, at least 1; their ids have gaps.
        num_ratings: number of ratings, from 1 to `num_users * num_movies`.
        seed: seed, at least 0.

    Raises:
        UserError: a size or the seed is out of range, or the folder is not empty or cannot be written.
    """
    for name, value in (("users", num_users), ("movies", num_movies), ("ratings", num_ratings)):
        if value < 1:
            raise UserError(f"cannot make a data set of {value} {name}: give at least 1")
    if num_ratings > num_users * num_movies:
        raise UserError(
            f"{num_users:,} users can rate {num_movies:,} movies {num_users * num_movies:,} times at most, "
            f"not {num_ratings:,}: ask for fewer ratings"
        )
    if seed < 0:
        raise UserError(f"the seed is {seed}: give 0 or more")
    try:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UserError(f"{root} exists and is not an empty folder: remove it, or name another")
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
            folder = Path(temporary) / root.name  # an inner folder, for only that has the usual permissions
            folder.mkdir()
            _write(folder, num_users, num_movies, num_ratings, SeedSequence(seed))
            os.replace(folder, root)
    except OSError as error:
        raise UserError(f"cannot write a synthetic data set to {root}: {error}") from error


def write_sample(cache_dir: Path) -> Path:
    """Return the folder of the embedded sample, written first unless the cache has it.

    It has 600 users, 2,500 movies and 50,000 ratings, always the same. It is not MovieLens: reports call it
    `SAMPLE_NAME`.

    Args:
        cache_dir: where data sets are kept; made if missing.

    Returns:
        `cache_dir/synthetic-sample-vN`, with `movies.csv` and `ratings.csv` in it.

    Raises:
        UserError: the cache folder cannot be written.
    """
    root = cache_dir / f"{SAMPLE_NAME}-v{SAMPLE_VERSION}"
    if root.is_dir():
        return root
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f".{root.name}.lock"):
            if not root.is_dir():
                write_movielens(root, num_users=600, num_movies=2_500, num_ratings=50_000, seed=2024)
    except OSError as error:
        raise UserError(
            f"cannot keep the synthetic sample in the cache folder {cache_dir}: {error}. "
            "Name a folder that you can write with LIGHTNING_LP_CACHE=DIR"
        ) from error
    return root


def _write(folder: Path, num_users: int, num_movies: int, num_ratings: int, seed: SeedSequence) -> None:
    for_movies, for_users, for_chunks = seed.spawn(3)
    rng = default_rng(for_movies)
    has_genre = _draw_genres(num_movies, rng)  # [M, 19]
    years = 2024 - np.minimum(rng.exponential(22.0, num_movies), 104.0).astype(np.int64)
    world = _make_world(has_genre, years, _draw_counts(num_users, num_movies, num_ratings, for_users), rng)
    _write_movies(folder / MOVIES_FILE, world.movie_ids, has_genre, years, rng)

    columns = Columns()
    with (folder / RATINGS_FILE).open("wb") as file:
        file.write(f"{columns.user},{columns.movie},{columns.rating},{columns.time}\n".encode())
        options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
        for table in _rating_chunks(world, for_chunks):
            pa_csv.write_csv(table, file, options)


def _draw_genres(num_movies: int, rng: Generator) -> NDArray[np.bool_]:
    """Which movie has which genre, shape [M, 19]; about 1 in 250 movies has none."""
    share = np.array(list(GENRES.values())) / 100
    has_genre = rng.random((num_movies, len(GENRES))) < share
    bare = np.flatnonzero(~has_genre.any(axis=1))
    has_genre[bare, rng.choice(len(GENRES), len(bare), p=share / share.sum())] = True
    has_genre[rng.random(num_movies) < 0.004] = False
    return has_genre


def _draw_counts(num_users: int, num_movies: int, num_ratings: int, seed: SeedSequence) -> Ints:
    """Ratings of each user: a floor, and shares of the rest that are log-normal; shape [U], sum `num_ratings`."""
    weights = default_rng(seed).lognormal(sigma=1.3, size=num_users)
    counts = np.full(num_users, min(MIN_RATINGS, num_ratings // num_users, num_movies), dtype=np.int64)
    while left := num_ratings - int(counts.sum()):
        room = num_movies - counts
        share = weights * (room > 0)
        extra = np.minimum(room, (left * (1 - 1e-12) * share / share.sum()).astype(np.int64))  # never above left
        if not extra.any():
            extra[np.argsort(-share, kind="stable")[:left]] = 1
            extra = np.minimum(extra, room)
        counts += extra
    return counts


def _make_world(has_genre: NDArray[np.bool_], years: Ints, counts: Ints, rng: Generator) -> _World:
    num_movies = len(years)
    genres = rng.normal(size=(len(GENRES), DIMENSIONS))
    genres /= np.linalg.norm(genres, axis=1, keepdims=True)
    era = rng.normal(size=DIMENSIONS) / DIMENSIONS**0.5
    own = rng.normal(size=(num_movies, DIMENSIONS)) / DIMENSIONS**0.5
    movies = has_genre @ genres / np.sqrt(np.maximum(1, has_genre.sum(axis=1, keepdims=True)))
    movies += 0.7 * own + 0.5 * ((years - 2000) / 20)[:, None] * era
    quality = rng.normal(scale=0.4, size=num_movies)
    appeal = np.exp(quality) * (0.3 + np.minimum(rng.pareto(0.8, num_movies), 1000.0))
    cumulative = np.cumsum(appeal)
    return _World(
        movie_ids=np.cumsum(rng.geometric(0.6, num_movies)),
        popularity=appeal / cumulative[-1],
        cumulative=cumulative / cumulative[-1],
        quality=quality,
        movies=movies,
        genres=genres,
        counts=counts,
    )


def _write_movies(path: Path, movie_ids: Ints, has_genre: NDArray[np.bool_], years: Ints, rng: Generator) -> None:
    names = np.array(list(GENRES))
    words = rng.integers(0, 20, size=(len(movie_ids), 4))
    columns = Columns()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([columns.movie, columns.title, columns.genres])
        for movie, (first, second, place, form), year, row in zip(
            movie_ids.tolist(), words.tolist(), years.tolist(), has_genre, strict=True
        ):
            title = f"{FIRST_WORDS[first]} {SECOND_WORDS[second]}"
            title += f" of {PLACES[place]}" if form % 2 else ""
            title += ", The" if form < 6 else ""
            writer.writerow([movie, f"{title} ({year})", "|".join(names[row]) or NO_GENRES])


def _rating_chunks(world: _World, seed: SeedSequence) -> Iterator[pa.Table]:
    """Ratings of USERS_PER_CHUNK users at a time, sorted by user and movie."""
    starts = range(0, len(world.counts), USERS_PER_CHUNK)
    for start, chunk_seed in zip(starts, seed.spawn(len(starts)), strict=True):
        rng = default_rng(chunk_seed)
        counts = world.counts[start : start + USERS_PER_CHUNK]
        tastes = _draw_tastes(len(counts), world.genres, rng)
        user, movie = np.divmod(_choose(world, counts, tastes, rng), len(world.movies))
        affinity = np.einsum("ld,ld->l", tastes[user], world.movies[movie])
        yield pa.table(
            {
                "user": start + user + 1,
                "movie": world.movie_ids[movie],
                "rating": STARS.take(pa.array(_draw_halves(user, world.quality[movie] + affinity, rng))),
                "time": _draw_times(user, rng),
            }
        )


def _draw_tastes(num_users: int, genres: Floats, rng: Generator) -> Floats:
    """Directions of users in the taste space: a few favourite genres and something of their own, shape [U, D]."""
    liking = rng.gamma(0.15, size=(num_users, len(genres)))  # most near 0, a few large
    liking /= liking.sum(axis=1, keepdims=True)
    own = rng.normal(size=(num_users, DIMENSIONS))
    return np.asarray(1.5 * liking @ genres + 0.35 * own, dtype=np.float64)


def _choose(world: _World, counts: Ints, tastes: Floats, rng: Generator) -> Ints:
    """Choose `counts[u]` movies for each user u of a chunk, by popularity and affinity.

    A Gumbel top-k chooses without replacement (Kool et al., 2019, "Stochastic Beams and Where to Find Them").
    To score every movie takes too long in a large world: there a user's candidates are drawn by popularity, and
    only they are scored. Users who would have too few candidates choose among all movies.

    Returns:
        `u * num_movies + movie` of each choice, ascending, shape [counts.sum()].
    """
    num_movies = len(world.popularity)
    candidates = OVERSAMPLING * counts
    candidates[candidates >= num_movies] = 0
    user = np.repeat(np.arange(len(counts)), candidates)
    drawn = rng.random(len(user))
    ascending = np.argsort(drawn)  # searching in order is several times as fast, and sorting faster than np.unique
    pairs = user[ascending] * num_movies + np.searchsorted(world.cumulative, drawn[ascending], side="right")
    pairs.sort()
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    user, movie = np.divmod(pairs, num_movies)
    short = np.bincount(user, minlength=len(counts)) < counts
    score = TASTE * np.einsum("ld,ld->l", tastes[user], world.movies[movie]) + rng.gumbel(size=len(user))
    chosen = [pairs[_best(user, score, np.where(short, 0, counts))]]
    for dense in np.flatnonzero(short):
        affinity = world.movies @ tastes[dense]
        score = TASTE * affinity + np.log(world.popularity) + rng.gumbel(size=num_movies)
        best = np.argpartition(-score, counts[dense] - 1)[: counts[dense]]
        chosen.append(dense * num_movies + best)
    return np.sort(np.concatenate(chosen))


def _best(user: Ints, score: Floats, counts: Ints) -> Ints:
    """Positions of the `counts[u]` best scores of each user; `user` ascends."""
    order = np.argsort(user * 1e4 - score)  # scores are far smaller than 1e4
    first = np.searchsorted(user, user)
    return order[np.arange(len(user)) - first < counts[user]]


def _draw_halves(user: Ints, liking: Floats, rng: Generator) -> Ints:
    """Ratings in half stars, 1 to 10, that rise with the liking; each user has a leniency of their own."""
    leniency = rng.normal(scale=0.35, size=USERS_PER_CHUNK)
    stars = 3.1 + leniency[user] + 0.6 * liking + rng.normal(scale=0.7, size=len(user))
    return np.clip(np.rint(2 * stars), 1, 10).astype(np.int64)


def _draw_times(user: Ints, rng: Generator) -> Ints:
    """Times in seconds: each user joins some time from 1996 to 2023 and stays for hours, or for years."""
    joined = rng.uniform(820_454_400, 1_672_531_200, size=USERS_PER_CHUNK)
    stay = np.minimum(np.exp(rng.normal(11.0, 2.5, size=USERS_PER_CHUNK)), 4e7)
    return np.asarray(joined[user] + stay[user] * rng.random(len(user)), dtype=np.int64)
