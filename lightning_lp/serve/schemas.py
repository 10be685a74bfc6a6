"""What requests and answers look like; the OpenAPI document is made from this."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from lightning_lp.recommend.filters import Filter
from lightning_lp.recommend.reasons import Why as WhyOfScore
from lightning_lp.recommend.topk import Recommendation
from lightning_lp.serve.service import RatedMovie, Service
from lightning_lp.serve.store import Event

MAX_K = 1000
MAX_IDS = 1000
MAX_REASONS = 10
_LAST_SECOND = 253_402_300_799
"""Of the year 9999."""

_NOT_BLANK = r"[^\s\x1c-\x1f\x85\ufeff]"
"""Of what regular expressions call blank, JSON Schema's, pydantic's and Python's each leave something out."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NOT_BLANK)]
Ids = Annotated[list[Id], Field(max_length=MAX_IDS)]
Stars = Annotated[float, Field(ge=-1e6, le=1e6)]


def _is_true(value: object) -> object:
    """JSON's two words alone, where pydantic would also take ``yes`` and ``1``."""
    return {"true": True, "false": False}.get(value, "") if isinstance(value, str) else value


def _whole(value: object) -> object:
    """JSON has no whole numbers of their own: ``10.0`` is ``10``."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


K = Annotated[int, Field(ge=1, le=MAX_K, description="length of the list"), BeforeValidator(_whole)]
Year = Annotated[int, Field(ge=0, le=9999), BeforeValidator(_whole)]
Seconds = Annotated[int, Field(ge=0, le=_LAST_SECOND), BeforeValidator(_whole)]
Model = Annotated[str, Field(description="what answers: run and checkpoint")]
YesNo = Annotated[bool, BeforeValidator(_is_true)]


class Wanted(BaseModel):
    """What is wanted of a list."""

    model_config = ConfigDict(extra="forbid")

    k: K = 10
    exclude: Annotated[Ids, Field(description="ids of movies that are not listed")] = []
    only: Annotated[Ids, Field(description="ids of the movies that may be listed; none: any")] = []
    genre: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=100)]],
        Field(max_length=50, description="a listed movie has one of these; none: any"),
    ] = []
    year_from: Annotated[Year | None, Field(description="first year of release, by the title")] = None
    year_to: Annotated[Year | None, Field(description="last year of release, by the title")] = None
    explain: Annotated[YesNo, Field(description="tell what each score is made of")] = False

    def filter(self) -> Filter:
        """Which movies may be listed."""
        return Filter(self.exclude, self.only, self.genre, self.year_from, self.year_to)


LISTS = frozenset(name for name, field in Wanted.model_fields.items() if field.default == [])
"""What may be given more than once in a query."""


class OfUser(Wanted):
    """Recommendations for a user."""

    user: Id


class Liked(BaseModel):
    """A movie that somebody likes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    movieId: Id  # noqa: N815
    rating: Annotated[Stars | None, Field(description="of all movies or none; null: unknown")] = None
    time: Annotated[Seconds | None, Field(description="seconds since 1970, of all movies or none")] = None


class OfLiked(Wanted):
    """Recommendations for somebody who is no user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    liked: Annotated[list[Liked], Field(max_length=MAX_IDS, description="without times the last is the latest")]


class SimilarTo(BaseModel):
    """Movies like one."""

    model_config = ConfigDict(extra="forbid")

    movie: Id
    k: K = 10


class Search(BaseModel):
    """Movies by their title."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    k: K = 10


class HistoryOf(BaseModel):
    """What a user has rated."""

    model_config = ConfigDict(extra="forbid")

    user: Id
    k: K = 100


class RatingOf(BaseModel):
    """A rating that is taken back."""

    model_config = ConfigDict(extra="forbid")

    user: Id
    movie: Id


class NewRating(BaseModel):
    """A rating that came in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user: Id
    movie: Id
    rating: Annotated[Stars | None, Field(description="null: unknown")] = None
    time: Annotated[Seconds | None, Field(description="seconds since 1970; null: now")] = None


class Nothing(BaseModel):
    """Nothing is to be told. That it is JSON tells that no page elsewhere has sent it."""

    model_config = ConfigDict(extra="forbid")


class Movie(BaseModel):
    """A movie; ids are texts, whatever they are in the data."""

    movieId: str  # noqa: N815
    title: str
    genres: list[str]

    @classmethod
    def of_movie(cls, movie_id: int | str, title: str, genres: Iterable[str]) -> "Movie":
        """The line of a movie."""
        return cls(movieId=str(movie_id), title=title, genres=list(genres))


class Reason(BaseModel):
    """What one of the user's movies adds to the logit of a score."""

    movieId: str  # noqa: N815
    title: str
    contribution: float


class Why(BaseModel):
    """What a score is made of: the logit is the sum of contributions, others, bias and rest; the score its sigmoid."""

    logit: float
    reasons: Annotated[list[Reason], Field(description=f"the {MAX_REASONS} that count most, for or against")]
    others: Annotated[float, Field(description="the sum of what the user's other movies add")]
    bias: Annotated[float, Field(description="what the movie has for every user")]
    rest: Annotated[float, Field(description="what is no single movie's")]

    @classmethod
    def of(cls, why: WhyOfScore) -> "Why":
        """The largest reasons, and the sum of the others."""
        by_size = sorted(why.reasons, key=lambda reason: -abs(reason.contribution))
        shown = sorted(by_size[:MAX_REASONS], key=lambda reason: -reason.contribution)
        reasons = [Reason(movieId=str(r.movie_id), title=r.title, contribution=r.contribution) for r in shown]
        others = sum(reason.contribution for reason in by_size[MAX_REASONS:])
        return cls(logit=why.logit, reasons=reasons, others=others, bias=why.bias, rest=why.rest)


class Scored(Movie):
    """A line of a list."""

    rank: int
    score: float
    why: Why | None = None

    @classmethod
    def of(cls, movie: Recommendation, why: WhyOfScore | None = None) -> "Scored":
        """The line of a recommendation."""
        rank, movie_id, title, genres, score = movie
        told = None if why is None else Why.of(why)
        return cls(rank=rank, movieId=str(movie_id), title=title, genres=list(genres), score=score, why=told)


class Scores(BaseModel):
    """A list, the best first; ``score`` is the probability of a rating, of similar movies the cosine."""

    model: Model
    movies: list[Scored]


class Found(BaseModel):
    """The first movies that a search finds, and how many there are."""

    model: Model
    total: int
    movies: list[Movie]


class Rated(Movie):
    """A line of a user's history."""

    rating: Annotated[float | None, Field(description="null: unknown, or not kept")]
    time: Annotated[int | None, Field(description="seconds since 1970; null: unknown, or not kept")]
    new: Annotated[bool, Field(description="whether it came in after training")]

    @classmethod
    def of(cls, movie: RatedMovie) -> "Rated":
        """The line of a rated movie."""
        movie_id, title, genres, rating, time, is_new = movie
        return cls(movieId=str(movie_id), title=title, genres=list(genres), rating=rating, time=time, new=is_new)


class History(BaseModel):
    """What a user has rated, the latest first, and how much there is."""

    model: Model
    total: int
    movies: list[Rated]


class Stored(BaseModel):
    """An entry of the log of ratings, which is on the disk."""

    number: int
    user: str
    movie: str
    rating: float | None
    time: int
    removed: bool

    @classmethod
    def of(cls, event: Event) -> "Stored":
        """The entry of an event."""
        return cls(**event._asdict())


class Health(BaseModel):
    """Whether the process runs."""

    status: str = "ok"


class Ready(BaseModel):
    """What is served."""

    model: Model
    users: int
    movies: int
    explains: Annotated[bool, Field(description="whether it can tell what scores are made of")]
    genres: list[str]

    @classmethod
    def of(cls, service: Service) -> "Ready":
        """What a service answers from."""
        recommender = service.recommender
        return cls(
            model=service.name,
            users=len(recommender.users),
            movies=len(recommender.movies),
            explains=recommender.explains,
            genres=service.catalogue.genres,
        )


class Problem(BaseModel):
    """What is wrong, in a sentence."""

    error: str
