"""The addresses of the service: each takes a request apart, asks, and puts the answer together."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from lightning_lp.errors import UserError
from lightning_lp.serve import schemas
from lightning_lp.serve.schemas import Problem
from lightning_lp.serve.service import Asked, Service
from lightning_lp.serve.swap import Swap


async def _swap(request: Request) -> Swap:
    swap: Swap = request.app.state.swap
    return swap


async def _service(swap: Annotated[Swap, Depends(_swap)]) -> Service:
    """What answers this request: taken once, so that its answer comes wholly from one model."""
    return swap.service


Served = Annotated[Service, Depends(_service)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern="^[!-~]+$",
        description="sent twice with the same key, a rating counts once",
    ),
]


_Problems = dict[int | str, dict[str, Any]]


def _problems(*statuses: int) -> _Problems:
    return {status: {"model": Problem, "description": _MEANING[status]} for status in statuses}


_MEANING = {
    400: "malformed, or asked for by another host name",
    401: "an API key is wanted, or another one",
    404: "a user, movie, genre or rating is unknown",
    408: "the request came too slowly",
    409: "there is no liked movie to go by, the idempotency key was used for another request, or a model is refused",
    413: "the request is too large",
    422: "a value is not as it must be",
    429: "too many requests of this address at once: try again after a second",
    503: "too much to do: try again after a second",
    507: "the disk is full, or the log cannot be written: nothing was stored",
}
EVERYWHERE = _problems(400, 401, 408, 413, 429, 503)


async def _named_once(request: Request) -> None:
    """Refuses a value that is given twice where one is wanted: none of the two would be what was meant.

    Raises:
        UserError: there is one.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name in (name for name, count in counts.items() if count > 1 and name not in schemas.LISTS):
        raise UserError(f"query {name}: given {counts[name]} times, once is wanted")


api = APIRouter(prefix="/v1", responses=EVERYWHERE, dependencies=[Depends(_named_once)])
probes = APIRouter(responses=EVERYWHERE)


@api.get("/recommendations", tags=["recommend"], responses=_problems(404, 409, 422))
def recommend(service: Served, wanted: Annotated[schemas.OfUser, Query()]) -> schemas.Scores:
    """The movies that a user has not rated and most likely would."""
    return _listed(service, service.user(wanted.user), wanted)


@api.post("/recommendations", tags=["recommend"], responses=_problems(404, 409, 422))
def recommend_to_new(service: Served, wanted: Annotated[schemas.OfLiked, Body()]) -> schemas.Scores:
    """The same for somebody who is no user, from movies that they like. Nothing is stored."""
    liked = wanted.liked
    history = service.history_of(
        [movie.movieId for movie in liked], [movie.rating for movie in liked], [movie.time for movie in liked]
    )
    return _listed(service, service.nobody(history), wanted)


@api.get("/similar", tags=["recommend"], responses=_problems(404, 422))
def similar(service: Served, wanted: Annotated[schemas.SimilarTo, Query()]) -> schemas.Scores:
    """The movies most like one."""
    movies = [schemas.Scored.of(movie) for movie in service.similar(wanted.movie, wanted.k)]
    return schemas.Scores(model=service.name, movies=movies)


@api.get("/search", tags=["movies"], responses=_problems(422))
def search(service: Served, wanted: Annotated[schemas.Search, Query()]) -> schemas.Found:
    """The movies whose title is the text; else those whose title holds it; else all of its words."""
    found = service.recommender.find(wanted.text)
    shown = service.named(found[: wanted.k])
    movies = [schemas.Movie.of_movie(*movie) for movie in shown]
    return schemas.Found(model=service.name, total=len(found), movies=movies)


@api.get("/history", tags=["ratings"], responses=_problems(404, 422))
def history(service: Served, wanted: Annotated[schemas.HistoryOf, Query()]) -> schemas.History:
    """What a user has rated, the latest first."""
    rated = service.history(wanted.user)
    movies = [schemas.Rated.of(movie) for movie in rated[: wanted.k]]
    return schemas.History(model=service.name, total=len(rated), movies=movies)


@api.post("/ratings", tags=["ratings"], status_code=201, responses=_problems(404, 409, 422, 507))
def rate(service: Served, rating: Annotated[schemas.NewRating, Body()], key: Key = None) -> schemas.Stored:
    """Stores a rating, of a new user as well, in place of an earlier one. It counts from the next answer on."""
    return schemas.Stored.of(service.rate(rating.user, rating.movie, rating.rating, rating.time, key))


@api.delete("/ratings", tags=["ratings"], responses=_problems(404, 409, 422, 507))
def take_back(service: Served, rating: Annotated[schemas.RatingOf, Query()], key: Key = None) -> schemas.Stored:
    """Takes a rating back, one that the model was trained on as well. It counts from the next answer on."""
    return schemas.Stored.of(service.take_back(rating.user, rating.movie, key))


@api.post("/reload", tags=["model"], responses=_problems(409, 422))
def reload(swap: Annotated[Swap, Depends(_swap)], nothing: Annotated[schemas.Nothing, Body()]) -> schemas.Ready:
    """Reads the run again and lets its newest model answer, while requests run. The body is ``{}``."""
    return schemas.Ready.of(swap.reload())


@probes.get("/health", tags=["probes"])
async def health() -> schemas.Health:
    """Whether the process runs."""
    return schemas.Health()


@probes.get("/ready", tags=["probes"])
async def ready(service: Served) -> schemas.Ready:
    """Whether it answers, and what is served."""
    return schemas.Ready.of(service)


@probes.get("/metrics", tags=["probes"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counts and times of requests, as Prometheus reads them."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _listed(service: Service, asked: Asked, wanted: schemas.Wanted) -> schemas.Scores:
    movies = service.recommend(asked, wanted.k, wanted.filter())
    whys = service.why(asked, movies) if wanted.explain else [None] * len(movies)
    lines = [schemas.Scored.of(*line) for line in zip(movies, whys, strict=True)]
    return schemas.Scores(model=service.name, movies=lines)
