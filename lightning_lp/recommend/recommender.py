"""Recommends movies from a checkpoint alone: neither the CSV files nor training are needed."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lightning_lp.checkpointing.finding import load_encoder
from lightning_lp.data.ids import IdMap
from lightning_lp.data.lookup import known_indices
from lightning_lp.data.rating_graph import genre_names
from lightning_lp.data.schema import NO_GENRES, RATES, REV_RATES, Columns
from lightning_lp.data.settings import grouped
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Encoder
from lightning_lp.model.encoders.readers import Reader
from lightning_lp.model.encoders.registry import short_name, spec_of
from lightning_lp.recommend.histories import known_graph, new_edges
from lightning_lp.recommend.profiles import History, Profile
from lightning_lp.recommend.reasons import Reason, Why, parts_of_scores
from lightning_lp.recommend.search import TitleSearch
from lightning_lp.recommend.topk import Recommendation, best, dot_products, probability
from lightning_lp.renamed import Renamed

if TYPE_CHECKING:
    from lightning_lp.model.module import LinkPredictionModule


class Recommender:
    """A trained model with every node embedded: messages are all known links, those once held out included.

    Ids are taken as a user types them: ``1``, ``"1"`` and ``"1.0"`` are one id.

    Args:
        module: the trained model, or its encoder alone.
        state: ids, titles, genres and links, as ``MovieLensDataModule.state_dict()`` gives them; ``settings``, if there
            are any, are those of that data module, for the names of columns.

    Attributes:
        users: ids of the users, in the order of ``user_embeddings`` [num_users, d] float32.
        movies: ids of the movies, in the order of ``movie_embeddings`` [num_movies, d] float32, ``titles`` and
            ``genres``.
        seen_indptr: [num_users + 1] int64; user ``u`` has rated
            ``seen_movies[seen_indptr[u]:seen_indptr[u + 1]]``, too low to be a link or not: the rows of a CSR matrix.
        columns: the names of the columns in the files that the model was trained on.
        min_rating: lower ratings are seen, but no links. None: every rating is a link.
        edge_attrs: what the model reads of a new user's links: ``time``, ``rating``, both or neither.
        needs_history: whether nothing can be recommended to a new user without a liked movie.

    Raises:
        UserError: the model's vectors are not finite numbers.

    Examples:
        >>> from pathlib import Path
        >>> from lightning_lp import LinkPredictionModule, MovieLensDataModule, Recommender
        >>> from lightning_lp.data.sources.synthetic import write_movielens
        >>> write_movielens(Path("movies"), num_users=20, num_movies=30, num_ratings=300)
        >>> data = MovieLensDataModule("movies")
        >>> model = LinkPredictionModule(data.num_users, data.num_movies, data.num_features, encoder="sage")
        >>> recommender = Recommender(model, data.state_dict())  # of a model that is not trained
        >>> recommended = [movie.movie_id for movie in recommender.recommend(1, k=3)]
        >>> rated = recommender.movies.ids[recommender.seen_movies[: recommender.seen_indptr[1]]]
        >>> len(recommended), set(recommended) & set(rated.tolist())
        (3, set())
    """

    seen_offsets = Renamed("seen_indptr")

    def __init__(self, module: "LinkPredictionModule | Encoder", state: dict[str, Any]) -> None:
        self.users, self.movies = IdMap.from_state(state["users"]), IdMap.from_state(state["movies"])
        self.titles: list[str] = state["titles"]
        genres = (genre_names(text) for text in state["genres"])
        self.genres = [tuple(name for name in names if name != NO_GENRES) for names in genres]
        settings = grouped(state.get("settings", {}))
        self.columns = Columns(**settings.get("columns", {}))
        self.min_rating: float | None = settings.get("min_rating")
        seen = torch.cat([state["links"], state["below_min_rating"]], dim=1).numpy()
        counts = np.bincount(seen[0], minlength=len(self.users))
        self.seen_indptr = np.append(0, np.cumsum(counts))
        self.seen_movies = seen[1, np.lexsort(seen[::-1])].astype(np.int64)
        self._encoder = (module if isinstance(module, Encoder) else module.encoder).eval()
        self._graph = known_graph(state)
        read = (*self._encoder.edge_attrs, *self._encoder.optional_edge_attrs)
        self.edge_attrs = tuple(name for name in read if name in self._graph[REV_RATES])
        self.needs_history = self._encoder.needs_history
        self.user_embeddings, self.movie_embeddings = (z.cpu().numpy() for z in self._encoder.embed_all(self._graph))
        if not (np.isfinite(self.user_embeddings).all() and np.isfinite(self.movie_embeddings).all()):
            raise UserError("the model's vectors are not finite numbers: its training diverged, train it again")

    @classmethod
    def load(cls, path: Path | str) -> "Recommender":
        """Loads a checkpoint file, or the best checkpoint of a run folder.

        Raises:
            UserError: there is no such file, or it is damaged or not a checkpoint of ``lightning_lp``.
        """
        return cls(*load_encoder(path))

    def recommend(self, user: int | str, k: int = 10) -> list[Recommendation]:
        """The ``k`` movies that the user has not rated and most likely would, or all that are left.

        Raises:
            UserError: the user is unknown, or ``k`` is less than 1.
        """
        return self.list_for(self.profile(user), k)

    def profile(self, user: int | str) -> Profile:
        """What lists for a known user are made from.

        Raises:
            UnknownError: the user is unknown.
        """
        index = int(known_indices(self.users, [user], "user", "; for a new user give movies instead, with --liked")[0])
        seen = self.seen_movies[self.seen_indptr[index] : self.seen_indptr[index + 1]]
        return Profile(self.user_embeddings[index], self._links_of(index)[0], seen)

    def history(self, user: int | str) -> History:
        """What the model knows of a user: from it, :meth:`new_profile` makes the list of a new user who did the same.

        Raises:
            UnknownError: the user is unknown.
        """
        index = int(known_indices(self.users, [user], "user")[0])
        movies, links = self._links_of(index)
        seen = np.setdiff1d(self.seen_movies[self.seen_indptr[index] : self.seen_indptr[index + 1]], movies)
        read = {name: self._graph[RATES][name][links].numpy() for name in self.edge_attrs}
        ratings = read["rating"].astype(np.float64) if "rating" in read else None
        return History(movies, seen, ratings, read.get("time"))

    def new_profile(self, history: History) -> Profile:
        """What lists for a user are made from that the model never saw.

        Raises:
            UserError: there is no movie, and the model needs one (``needs_history`` of its encoder).
            ValueError: there are more or fewer times or ratings than movies.
        """
        movies, seen, ratings, times = history
        if not len(movies) and self.needs_history:
            raise UserError("a new user needs at least one liked movie: give some")
        (vector,) = self.embed_new(
            [movies],
            times=None if times is None else [times],
            ratings=None if ratings is None else [ratings],
        )
        return Profile(vector, np.unique(movies), np.append(movies, seen))

    def list_for(
        self, profile: Profile, k: int = 10, hidden: Sequence[int] | NDArray[np.int64] = ()
    ) -> list[Recommendation]:
        """The ``k`` movies that a user has not seen and most likely would rate, or all that are left.

        Args:
            profile: the user.
            k: length of the list.
            hidden: the indices of further movies that are not listed.

        Raises:
            UserError: ``k`` is less than 1.
        """
        return self.list_of_scores(self.scores(profile), np.append(profile.seen, np.asarray(hidden, np.int64)), k)

    def scores(self, profile: Profile) -> NDArray[np.float32]:
        """[num_movies] float32, the logit of each movie for a user."""
        scores: NDArray[np.float32] = dot_products(profile.vector[None], self._wide_movies)[0]
        return scores

    def list_of_scores(
        self, scores: NDArray[np.float32], hidden: NDArray[np.int64], k: int = 10
    ) -> list[Recommendation]:
        """As :meth:`list_for`, from what :meth:`scores` gives; ``hidden`` are all that are not listed."""
        return self._listed(scores, hidden, k, probability)

    @property
    def explains(self) -> bool:
        """Whether :meth:`why` can tell."""
        return type(self._encoder).user_parts is not Encoder.user_parts

    def why(self, profile: Profile, movies: Sequence[int | str]) -> list[Why]:
        """What the score of each of these movies is made of, for a user.

        Raises:
            UserError: a movie is unknown, or with this encoder a user is not a sum over its movies.
        """
        index = known_indices(self.movies, movies, "movie")
        parts = parts_of_scores(self._encoder, profile, self.movie_embeddings[index])
        found = []
        for logit, of_movies, bias, rest in zip(*parts, strict=True):
            order = np.argsort(-of_movies, kind="stable")
            lines = zip(profile.movies[order].tolist(), of_movies[order].tolist(), strict=True)
            reasons = [Reason(self.movies.ids.item(i), self.titles[i], value) for i, value in lines]
            found.append(Why(float(logit), reasons, float(bias), float(rest)))
        return found

    def recommend_all(self, k: int = 10, chunk: int = 256) -> Iterator[pd.DataFrame]:
        """As :meth:`recommend` for all users, in chunks: memory grows with ``chunk`` x movies.

        Yields:
            For ``chunk`` users at a time a table of ``userId``, ``rank``, ``movieId``, ``title``, ``genres``
            (separated by ``|``) and ``score`` (float32).

        Raises:
            UserError: ``k`` is less than 1.
        """
        _check_k(k)
        titles = np.array(self.titles, dtype=object)
        genres = np.array(["|".join(names) for names in self.genres], dtype=object)
        for start in range(0, len(self.users), chunk):
            scores = dot_products(self.user_embeddings[start : start + chunk], self._wide_movies)
            indptr = self.seen_indptr[start : start + chunk + 1]
            top = [best(row, self.seen_movies[indptr[i] : indptr[i + 1]], k) for i, row in enumerate(scores)]
            movie, counts = np.concatenate(top), np.array([len(movies) for movies in top])
            user = np.repeat(np.arange(len(top)), counts)
            yield pd.DataFrame(
                {
                    "userId": self.users.ids[start + user],
                    "rank": np.arange(len(movie)) - np.repeat(np.cumsum(counts) - counts, counts) + 1,
                    "movieId": self.movies.ids[movie],
                    "title": titles[movie],
                    "genres": genres[movie],
                    "score": probability(scores[user, movie]),
                }
            )

    def recommend_new(
        self,
        liked: Sequence[int | str],
        k: int = 10,
        seen: Sequence[int | str] = (),
        *,
        times: Sequence[int] | NDArray[np.int64] | None = None,
        ratings: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> list[Recommendation]:
        """Recommends to a user that the model never saw.

        Args:
            liked: ids of movies that the user likes, the latest last. None at all, where the model can say what is
                popular now (``needs_history`` of its encoder).
            k: length of the list.
            seen: ids of further movies that the user knows; none of either is recommended.
            times: of each liked movie, in seconds; they then tell the order. Default: the order is as given.
            ratings: of each liked movie. Default: unknown.

        Raises:
            UserError: no movie is given to a model that needs one, one is unknown, or ``k`` is less than 1.
            ValueError: there are more or fewer times or ratings than movies.
        """
        return self.list_for(self.new_profile(self.history_of(liked, seen, times=times, ratings=ratings)), k)

    def history_of(
        self,
        liked: Sequence[int | str],
        seen: Sequence[int | str] = (),
        *,
        times: Sequence[int] | NDArray[np.int64] | None = None,
        ratings: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> History:
        """What a new user has done, from ids: :meth:`recommend_new` says what they are.

        Raises:
            UnknownError: a movie is unknown.
        """
        return History(
            known_indices(self.movies, liked, "movie"),
            known_indices(self.movies, seen, "movie"),
            ratings=None if ratings is None else np.asarray(ratings, np.float64),
            times=None if times is None else np.asarray(times, np.int64),
        )

    def embed_new(
        self,
        histories: Sequence[NDArray[np.int64]],
        *,
        times: Sequence[NDArray[np.int64]] | None = None,
        ratings: Sequence[NDArray[np.float64]] | None = None,
    ) -> NDArray[np.float32]:
        """Embeds users that the model never saw, from their movies.

        Args:
            histories: for each user the indices of its movies, the latest last. Of a movie that is there more than
                once, the last time counts.
            times: for each user the time of each movie, in seconds; they then tell the order. Default: as given.
            ratings: for each user the rating of each movie. Default: unknown.

        Returns:
            [len(histories), d] float32.

        Raises:
            ValueError: there are more or fewer times or ratings than movies.
        """
        attrs: dict[str, Sequence[NDArray[Any]] | None] = {"time": times, "rating": ratings}
        edge_index, read = new_edges(histories, attrs, self.edge_attrs)
        options = {"edge_attrs": read} if read else {}
        return np.asarray(self._encoder.embed_new(self._graph, edge_index, len(histories), **options).cpu().numpy())

    def reader(self) -> Reader | None:
        """What an exporter writes down of :meth:`embed_new`; none where the encoder has none."""
        return self._encoder.reader(self._graph)

    @property
    def encoder_name(self) -> str:
        """Short name of the encoder, or its dotted path."""
        return short_name(spec_of(self._encoder)["class_path"])

    def similar(self, movie: int | str, k: int = 10) -> list[Recommendation]:
        """The ``k`` movies whose vectors are closest to the movie's, by cosine; the movie itself is left out.

        Channels that only move the level of a score are left out, too.

        Raises:
            UserError: the movie is unknown, or ``k`` is less than 1.
        """
        index = known_indices(self.movies, [movie], "movie")
        directions = self._directions
        return self._listed(dot_products(directions[index], directions)[0], index, k, lambda cosine: cosine)

    def find(self, text: str) -> list[int | str]:
        """The ids of the movies whose title is the text; else of those that hold it; else all of its words.

        Upper and lower case and accents make no difference.
        """
        ids: list[int | str] = self.movies.ids[self._search.find(text)].tolist()
        return ids

    def describe(self, movies: Sequence[int | str]) -> list[tuple[str, str, str]]:
        """Id, title and genres of each movie, as texts."""
        index = known_indices(self.movies, movies, "movie")
        return [(str(self.movies.ids[i]), self.titles[i], ", ".join(self.genres[i])) for i in index]

    @cached_property
    def _wide_movies(self) -> NDArray[np.float64]:
        """The movies' vectors as their products are summed."""
        return self.movie_embeddings.astype(np.float64)

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        """The movies' vectors with length 1, without channels that only move the level of a score."""
        vectors = self.movie_embeddings[:, : self.movie_embeddings.shape[1] - self._encoder.num_bias_channels]
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        directions: NDArray[np.float32] = vectors / np.maximum(length, np.finfo(np.float32).tiny)
        return directions.astype(np.float64)

    @cached_property
    def _search(self) -> TitleSearch:
        return TitleSearch(self.titles)

    @cached_property
    def _links(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which links are a user's: those at ``order[indptr[user]:indptr[user + 1]]``."""
        user = self._graph[RATES].edge_index[0].numpy()
        indptr = np.append(0, np.cumsum(np.bincount(user, minlength=len(self.users))))
        return indptr, np.argsort(user, kind="stable")

    def _links_of(self, user: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The movies of a user's links, and the places of these links."""
        indptr, order = self._links
        links = order[indptr[user] : indptr[user + 1]]
        return self._graph[RATES].edge_index[1].numpy()[links], links

    def _listed(
        self,
        scores: NDArray[np.float32],
        seen: NDArray[np.int64],
        k: int,
        shown: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> list[Recommendation]:
        """The best unseen movies in words, with ``shown`` of their scores."""
        _check_k(k)
        movies = best(scores, seen, k)
        lines = zip(movies.tolist(), self.movies.ids[movies].tolist(), shown(scores[movies]).tolist(), strict=True)
        return [
            Recommendation(rank, movie_id, self.titles[movie], self.genres[movie], score)
            for rank, (movie, movie_id, score) in enumerate(lines, start=1)
        ]


def _check_k(k: int) -> None:
    if k < 1:
        raise UserError(f"k is {k}: 1 or more wanted")
