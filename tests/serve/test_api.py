"""The interface: what each address answers, and what it refuses."""

import asyncio
import json
import re
import threading

import pytest
from starlette.testclient import TestClient

from lightning_lp.serve.app import make_app
from lightning_lp.serve.guards import Guard, Limits
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import FullError, RatingStore
from lightning_lp.serve.swap import Swap
from tests.untrained import NUM_MOVIES, recommender_of

KEY = "0123456789abcdef"


@pytest.fixture
def service(tmp_path) -> Service:
    return Service(recommender_of("history"), RatingStore(tmp_path / "log"))


@pytest.fixture
def client(service) -> TestClient:
    return TestClient(make_app(Swap(service)), raise_server_exceptions=False)


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer, status: int, problem: str) -> None:
    assert (answer.status_code, [*answer.json()]) == (status, ["error"]), answer.text
    assert problem in answer.json()["error"]


def plain(movies) -> list[tuple]:
    """As the interface has it."""
    return [(m.rank, str(m.movie_id), m.title, [*m.genres], m.score) for m in movies]


def listed(answer) -> list[tuple]:
    return [(m["rank"], m["movieId"], m["title"], m["genres"], m["score"]) for m in ok(answer)["movies"]]


def test_recommendations_are_those_of_the_command(client, service):
    recommender = service.recommender
    assert listed(client.get("/v1/recommendations?user=5")) == plain(recommender.recommend(5))
    assert listed(client.get("/v1/recommendations?user=5.0&k=3")) == plain(recommender.recommend(5, 3))
    assert listed(client.get("/v1/similar?movie=4&k=7")) == plain(recommender.similar(4, 7))
    assert [movie["why"] for movie in ok(client.get("/v1/recommendations?user=5"))["movies"]] == [None] * 10
    query = "user=5&exclude=1&exclude=2&only=1&only=3&only=8&only=9&genre=drama&year_from=1981&year_to=1989&k=50"
    wanted = {"3", "9"} - {str(i) for i in recommender.history(5).movies}
    assert {movie[1] for movie in listed(client.get(f"/v1/recommendations?{query}"))} == wanted


def test_somebody_who_is_no_user(client, service):
    def ask(**body):
        return client.post("/v1/recommendations", json=body)

    recommender = service.recommender
    liked = [{"movieId": "3"}, {"movieId": "8", "rating": 4.5}, {"movieId": "21", "time": None}]
    assert listed(ask(liked=liked, k=NUM_MOVIES)) == plain(recommender.recommend_new([3, 8, 21], NUM_MOVIES))
    assert listed(ask(liked=liked, k=4, genre=["Comedy"]))
    refused(ask(liked=[]), 409, "there is none: rate one first")
    refused(ask(liked=[{"movieId": "99"}]), 404, "movie '99' is not one of the 25 movies")
    refused(ask(liked=[{"movieId": "1", "time": 5}, {"movieId": "2"}]), 422, "movie '2' has no time, and others have")
    refused(ask(liked=[{"movieId": 1}]), 422, "body liked 0 movieId: Input should be a valid string")
    refused(ask(liked=[{"movieId": "1"}] * 1001), 422, "at most 1000 items")
    refused(ask(liked=liked, kk=3), 422, "body kk: Extra inputs are not permitted")
    refused(ask(), 422, "body liked: Field required")
    assert service.histories.num_changed == 0, "nothing is stored"


def test_times_and_ratings_of_liked_movies_are_read_where_the_model_reads_them(tmp_path):
    service = Service(recommender_of("sequence"), RatingStore(tmp_path / "log"))
    client = TestClient(make_app(Swap(service)))
    liked = [{"movieId": str(movie), "time": 100 - movie, "rating": movie / 2} for movie in (3, 8, 5)]
    liked[1]["rating"] = None
    expected = service.recommender.recommend_new([3, 8, 5], 6, times=[97, 92, 95], ratings=[1.5, 2.0, 2.5])
    assert listed(client.post("/v1/recommendations", json={"liked": liked, "k": 6})) == plain(expected)
    refused(client.get("/v1/recommendations?user=1&explain=true"), 422, "cannot be told: with the encoder Sequence")
    assert ok(client.get("/ready"))["explains"] is False


def test_explanations_add_up(client):
    for movie in ok(client.get("/v1/recommendations?user=5&explain=true&k=25"))["movies"]:
        why = movie["why"]
        total = sum(reason["contribution"] for reason in why["reasons"]) + why["others"] + why["bias"] + why["rest"]
        assert abs(total - why["logit"]) < 1e-6
        assert len(why["reasons"]) <= 10


def test_a_rating_counts_from_the_next_answer_on(client, service):
    recommender = service.recommender
    stored = ok(client.post("/v1/ratings", json={"user": "me", "movie": "7.0", "rating": 4, "time": 12}), 201)
    assert stored == {"number": 1, "user": "me", "movie": "7", "rating": 4.0, "time": 12, "removed": False}
    assert listed(client.get("/v1/recommendations?user=me")) == plain(recommender.recommend_new([7]))
    header = {"Idempotency-Key": "k1"}
    again = [ok(client.post("/v1/ratings", json={"user": "me", "movie": "9"}, headers=header), 201) for _ in range(3)]
    assert again[0] == again[1] == again[2]
    assert again[0]["rating"] is None
    refused(client.post("/v1/ratings", json={"user": "me", "movie": "8"}, headers=header), 409, "'k1' was used for")
    history = ok(client.get("/v1/history?user=me"))
    assert (history["total"], [movie["movieId"] for movie in history["movies"]]) == (2, ["9", "7"])
    assert history["movies"][1] | {"title": "", "genres": []} == {
        "movieId": "7", "title": "", "genres": [], "rating": 4.0, "time": 12, "new": True,
    }  # fmt: skip
    assert [m["movieId"] for m in ok(client.get("/v1/history?user=me&k=1"))["movies"]] == ["9"]
    for _ in range(2):
        assert ok(client.delete("/v1/ratings?user=me&movie=9", headers={"Idempotency-Key": "k2"}))["removed"] is True
    assert listed(client.get("/v1/recommendations?user=me")) == plain(recommender.recommend_new([7]))
    refused(client.delete("/v1/ratings?user=me&movie=9"), 404, "user 'me' has no rating of movie '9'")
    refused(client.delete("/v1/ratings?user=you&movie=9"), 404, "user 'you' is unknown")
    refused(client.post("/v1/ratings", json={"user": "me", "movie": "99"}), 404, "movie '99' is not one of")


def test_a_rating_that_training_did_not_know_is_null(tmp_path):
    recommender = recommender_of("sequence")
    recommender._graph["user", "rates", "movie"]["rating"][:] = float("nan")
    client = TestClient(make_app(Swap(Service(recommender, RatingStore(tmp_path / "log")))))
    text = client.get("/v1/history?user=5").text
    assert {movie["rating"] for movie in json.loads(text, parse_constant=pytest.fail)["movies"]} == {None}


def test_a_full_disk_is_told(client, service, monkeypatch):
    def full(*args, **kwargs):
        raise FullError("nothing was stored: the disk is full; send it again once there is room")

    monkeypatch.setattr(service._store, "append", full)
    refused(client.post("/v1/ratings", json={"user": "me", "movie": "1"}), 507, "nothing was stored")


def test_search(client):
    found = ok(client.get("/v1/search?text=movie&k=3"))
    assert (found["total"], [movie["movieId"] for movie in found["movies"]]) == (NUM_MOVIES, ["0", "1", "2"])
    assert ok(client.get("/v1/search?text=MOVIE+7+(1987)")) == {
        "model": "model",
        "total": 1,
        "movies": [{"movieId": "7", "title": "Movie 7 (1987)", "genres": []}],
    }
    assert ok(client.get("/v1/search?text=nothing"))["total"] == 0


@pytest.mark.parametrize(
    ("address", "status", "problem"),
    [
        ("/v1/recommendations?user=99", 404, "user '99' is unknown"),
        ("/v1/recommendations", 422, "query user: Field required"),
        ("/v1/recommendations?user=", 422, "query user: String should have at least 1 character"),
        ("/v1/recommendations?user=%20", 422, "query user: String should match pattern"),
        ("/v1/recommendations?user=%C2%85%EF%BB%BF", 422, "query user: String should match pattern"),
        ("/v1/recommendations?user=1&k=0", 422, "query k: Input should be greater than or equal to 1"),
        ("/v1/recommendations?user=1&k=1001", 422, "query k: Input should be less than or equal to 1000"),
        ("/v1/recommendations?user=1&k=3&k=4", 422, "query k: given 2 times, once is wanted"),
        ("/v1/recommendations?user=1&user=1&user=2", 422, "query user: given 3 times, once is wanted"),
        ("/v1/similar?movie=1&movie=2", 422, "query movie: given 2 times, once is wanted"),
        ("/v1/recommendations?user=1&kk=3", 422, "query kk: Extra inputs are not permitted"),
        ("/v1/recommendations?user=1&explain=perhaps", 422, "query explain: Input should be a valid boolean"),
        ("/v1/recommendations?user=1&genre=Dramma", 404, "did you mean Drama"),
        ("/v1/recommendations?user=1&" + "&".join(["only=1"] * 1001), 422, "at most 1000 items"),
        ("/v1/history?user=nobody", 404, "user 'nobody' is unknown"),
        ("/v1/similar?movie=..%2F..%2Fetc%2Fpasswd", 404, "is not one of the 25 movies"),
        ("/../../etc/passwd", 404, "there is nothing at this address"),
        ("/page.html", 404, "there is nothing at this address"),
        ("/docs", 404, "there is nothing at this address"),
        ("/v1/recommendations/", 404, "there is nothing at this address"),
    ],
)
def test_wrong_questions_get_one_sentence(client, address, status, problem):
    refused(client.get(address), status, problem)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"user": "\\ud800", "movie": "1"}', '{"user": NaN}', "\x00"])
def test_bodies_that_are_none_get_one_sentence(client, body):
    answer = client.post("/v1/ratings", content=body.encode(), headers={"content-type": "application/json"})
    refused(answer, 422, "body")
    assert client.put("/v1/ratings").status_code == 405


@pytest.mark.parametrize("rating", ["Infinity", "NaN", "1e7", "true", '"5"', "[]"])
def test_ratings_are_numbers(client, rating):
    body = f'{{"user": "me", "movie": "1", "rating": {rating}}}'
    refused(client.post("/v1/ratings", content=body, headers={"content-type": "application/json"}), 422, "body rating")


def test_a_form_of_another_page_rates_nothing(client, service):
    """A browser sends such types without asking first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        headers = {} if kind is None else {"content-type": kind}
        answer = client.post("/v1/ratings", content=b'{"user": "me", "movie": "1"}', headers=headers)
        assert answer.status_code == 422, kind
    assert service.histories.num_changed == 0


def test_a_key_is_wanted_where_there_is_one(service):
    client = TestClient(make_app(Swap(service), api_key=KEY))
    for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}):
        answer = client.get("/v1/recommendations?user=5", headers=headers)
        refused(answer, 401, "'Authorization: Bearer KEY' with the API key is wanted")
        assert answer.headers["www-authenticate"] == "Bearer"
        refused(client.get("/metrics", headers=headers), 401, "API key")
        refused(client.post("/v1/ratings", json={}, headers=headers), 401, "API key")
    assert listed(client.get("/v1/recommendations?user=5", headers={"Authorization": f"Bearer {KEY}"}))
    assert [client.get(path).status_code for path in ("/", "/health", "/ready", "/openapi.json")] == [200] * 4
    told = client.get("/openapi.json").json()
    assert told["paths"]["/v1/ratings"]["post"]["security"] == [{"key": []}]
    assert told["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}


def test_without_a_key_the_service_is_asked_by_its_own_names_alone(service):
    client = TestClient(make_app(Swap(service), hosts={"127.0.0.1", "localhost", "::1"}))
    for host, status in {
        "localhost": 200, "LOCALHOST:8000": 200, "127.0.0.1:1": 200, "[::1]:8000": 200, "[::1]": 200,
        "evil.example": 400, "localhost.evil.example:8000": 400, "": 400,
    }.items():  # fmt: skip
        assert client.get("/ready", headers={"Host": host}).status_code == status, host


def test_a_large_body_is_refused_whatever_it_says_of_itself(service):
    client = TestClient(make_app(Swap(service), limits=Limits(max_body=100)))
    refused(client.post("/v1/ratings", content=b" " * 101), 413, "more than 100 bytes")
    refused(client.post("/v1/ratings", content=(b" " * 30 for _ in range(4))), 413, "more than 100 bytes")
    ok(client.post("/v1/ratings", json={"user": "me", "movie": "1"}), 201)


def test_half_a_request_is_none():
    """One who goes before its end has asked for nothing, even if what came is whole by itself."""

    async def main() -> None:
        asked = []

        async def app(scope, receive, send):
            asked.append(await receive())

        messages = [
            {"type": "http.disconnect"},
            {"type": "http.request", "body": b'{"user": "me", "movie": "1"}', "more_body": True},
        ]

        async def receive():
            return messages.pop()

        guard = Guard(app, Limits(max_running=1))
        for _ in range(2):
            await ask(guard, receive if messages else None)[0]
        assert len(asked) == 1, "the second, which is whole"
        assert asked[0]["body"] == b""

    asyncio.run(main())


def test_a_fault_of_the_program_is_told_without_what_it_is(client, service, monkeypatch):
    monkeypatch.setattr(service, "history", lambda user: 1 / 0)
    answer = client.get("/v1/history?user=5")
    refused(answer, 500, "a fault of the program's: the log of the service tells more")
    assert "ZeroDivision" not in answer.text


def ask(guard: Guard, receive=None, path="/v1", client="", **headers: str) -> tuple:
    """An answer of a guard's, and what it has sent of it."""
    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    async def nothing():
        return {"type": "http.request", "body": b"", "more_body": False}

    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": told, "client": (client, 1)}
    return guard(scope, receive or nothing, send), sent


def test_more_at_once_than_are_answered_are_refused_and_others_go_on():
    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = Guard(app, Limits(max_running=3))
        asked = [ask(guard) for _ in range(5)]
        running = [asyncio.ensure_future(answer) for answer, _ in asked]
        await asyncio.sleep(0.01)
        assert [sent[0]["status"] for _, sent in asked if sent] == [503, 503]
        assert (b"retry-after", b"1") in asked[4][1][0]["headers"]
        probe, told = ask(guard, path="/health")
        running.append(asyncio.ensure_future(probe))
        await asyncio.sleep(0.01)
        assert not told, "it is not refused: the process runs"
        gate.set()
        await asyncio.gather(*running)
        assert [sent[0]["status"] for _, sent in asked] == [200, 200, 200, 503, 503]
        answer, sent = ask(guard)
        await answer
        assert sent[0]["status"] == 200

    asyncio.run(main())


def test_one_address_leaves_places_for_others():
    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def status(answer, sent):
            await answer
            return sent[0]["status"]

        async def slow():
            await coming.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        coming = asyncio.Event()
        guard = Guard(app, Limits(max_running=4, max_of_one=3))
        late = asyncio.ensure_future(status(*ask(guard, slow, client="a", **{"content-length": "1"})))
        running = [asyncio.ensure_future(status(*ask(guard, client="a"))) for _ in range(3)]
        await asyncio.sleep(0.01)
        answer, sent = ask(guard, client="a")
        await answer
        assert (sent[0]["status"], b"more than 3 requests at once" in sent[1]["body"]) == (429, True)
        assert (b"retry-after", b"1") in sent[0]["headers"]
        running.append(asyncio.ensure_future(status(*ask(guard, client="b"))))
        await asyncio.sleep(0.01)
        assert await status(*ask(guard, client="b")) == 503, "the whole service has no place left"
        coming.set()
        assert await late == 429, "its body came when the places were taken"
        gate.set()
        assert await asyncio.gather(*running) == [200] * 4
        assert await status(*ask(guard, client="a")) == 200
        assert not guard._of, "nothing is kept of those who have gone"

    asyncio.run(main())


def test_bodies_that_come_slowly_take_nobodys_place():
    async def main() -> None:
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def status(answer, sent):
            await answer
            return sent[0]["status"]

        gate = asyncio.Event()

        async def slow():
            await gate.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        guard = Guard(app, Limits(max_running=2, max_coming=2))
        assert await asyncio.wait_for(status(*ask(guard, slow, "/health", **{"content-length": "1"})), 5) == 200
        coming = [asyncio.ensure_future(status(*ask(guard, slow, **{"content-length": "1"}))) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert await status(*ask(guard)) == 200
        for header in ({"content-length": "1"}, {"transfer-encoding": "chunked"}):
            assert await status(*ask(guard, **header)) == 503, "their bodies would take memory without bounds"
        gate.set()
        assert await asyncio.gather(*coming) == [200, 200]
        assert await status(*ask(guard, **{"content-length": "1"})) == 200

    asyncio.run(main())


def test_what_takes_too_long_is_told_and_counts_until_it_has_ended():
    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def slow():
            await asyncio.sleep(60)

        guard = Guard(app, Limits(max_running=1, seconds=0.05))
        answer, sent = ask(guard, slow)
        await answer
        assert (sent[0]["status"], b"took more than 0.05 s" in sent[1]["body"]) == (408, True)
        answer, sent = ask(guard)
        await answer
        assert (sent[0]["status"], b"no answer within 0.05 s" in sent[1]["body"]) == (503, True)
        answer, other = ask(guard)
        await answer
        assert b"too many requests" in other[1]["body"], "the first still runs"
        gate.set()
        await asyncio.sleep(0.01)
        answer, other = ask(guard)
        await answer
        assert other[0]["status"] == 200
        assert [message["type"] for message in sent].count("http.response.start") == 1

    asyncio.run(main())


def test_answers_in_threads_are_late_too(service, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(service, "history", lambda user: release.wait(10) and [])
    client = TestClient(make_app(Swap(service), limits=Limits(seconds=0.2)))
    refused(client.get("/v1/history?user=5"), 503, "no answer within 0.2 s")
    release.set()


def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(client):
    client.get("/v1/recommendations?user=5")
    client.get("/v1/recommendations?user=99")
    for i in range(3):
        client.get(f"/nothing/{i}")
    client.request("ODD", "/health")
    client.post("/v1/ratings", json={"user": "me", "movie": "1"})
    told = client.get("/metrics").text
    for line in (
        'lightning_lp_requests_total{method="GET",route="/v1/recommendations",status="200"} 1.0',
        'lightning_lp_requests_total{method="GET",route="/v1/recommendations",status="404"} 1.0',
        'lightning_lp_requests_total{method="GET",route="none",status="404"} 3.0',
        'lightning_lp_seconds_count{route="/v1/recommendations"} 2.0',
        "lightning_lp_running 1.0",
        "lightning_lp_changed_users 1.0",
    ):
        assert line in told
    assert "nothing/" not in told
    assert "ODD" not in told


def test_every_answer_forbids_what_the_page_does_not_need(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for answer in (
        page,
        client.get("/health"),
        client.get("/nothing"),
        client.post("/v1/ratings", content=b"x" * 10**6),
    ):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(
        r"""(src|action)\s*=|href="(?!data:,")|https?:|innerHTML|insertAdjacent|document\.write|\bon\w+=""", page.text
    )


def test_a_hostile_title_is_text_in_json(tmp_path):
    title = "<img src=x onerror=alert(1)> \x1b[31m \u202e (1999)"
    recommender = recommender_of("history", titles=[title, *[f"Movie {i}" for i in range(1, NUM_MOVIES)]])
    client = TestClient(make_app(Swap(Service(recommender, RatingStore(tmp_path / "log")))))
    answer = client.get("/v1/search?text=img")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["movies"][0]["title"] == title


def test_the_document_names_every_address(client):
    told = ok(client.get("/openapi.json"))
    assert told["openapi"].startswith("3.1")
    assert {path: sorted(methods) for path, methods in told["paths"].items()} == {
        "/v1/recommendations": ["get", "post"],
        "/v1/similar": ["get"],
        "/v1/search": ["get"],
        "/v1/history": ["get"],
        "/v1/ratings": ["delete", "post"],
        "/v1/reload": ["post"],
        "/health": ["get"],
        "/ready": ["get"],
        "/metrics": ["get"],
    }
    assert all("HTTPValidationError" not in json.dumps(methods) for methods in told["paths"].values())
