"""``lightning-lp serve`` as a user starts it, in a process of its own."""

import http.client
import json
import random
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lightning_lp.__main__ import run
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.serve.store import RatingStore
from tests.serve.servers import served

KEY = "0123456789abcdef"


def refusal(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The one sentence with which the command refuses options."""
    with pytest.raises(SystemExit) as end:
        run(None, ["serve", *map(str, options)])
    said = capsys.readouterr()
    assert (end.value.code, said.out, said.err.count("\n")) == (2, "", 1), said
    return said.err


def test_wrong_options_get_one_sentence_at_once(capsys, tmp_path):
    (tmp_path / "short").write_text("secret\n")
    assert "--host 0.0.0.0: others than this machine may ask, which needs --api-key-file" in refusal(
        capsys, "--host", "0.0.0.0"
    )
    assert "16 characters or more wanted" in refusal(capsys, "--api-key-file", tmp_path / "short")
    assert "cannot be read" in refusal(capsys, "--api-key-file", tmp_path / "nothing")
    assert "--port 70000: 0 to 65535 wanted" in refusal(capsys, "--port", 70000)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "cannot be had: Address already in use" in refusal(capsys, "--port", other.getsockname()[1])
    assert "no such file or folder" in refusal(capsys, "--port", 0, "--run", tmp_path / "none")


def test_what_is_missing_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "lightning_lp.serve.server", raising=False)
    monkeypatch.delattr("lightning_lp.serve.server", raising=False)  # the package remembers it, too
    assert "serve needs the package uvicorn: pip install 'lightning_lp[serve]'" in refusal(capsys)


@pytest.mark.slow
def test_it_answers_as_recommend_does_and_remembers(run_folder, tmp_path, capsys):
    run(None, ["recommend", "--run", str(run_folder), "--user", "7", "--format", "json"])
    expected = [movie | {"movieId": str(movie["movieId"])} for movie in json.loads(capsys.readouterr().out)]
    with served(tmp_path, "--run", run_folder) as server:
        status, told = server.ask("GET", "/v1/recommendations?user=7")
        assert (status, [{k: v for k, v in movie.items() if k != "why"} for movie in told["movies"]]) == (200, expected)
        first, second = (movie["movieId"] for movie in expected[:2])
        assert server.ask("POST", "/v1/ratings", {"user": "new", "movie": first, "rating": 4.5})[0] == 201
        assert server.ask("GET", "/ready", Host="evil.example")[0] == 400
        answers = [server.ask("GET", f"/v1/recommendations?user={user}&explain=true") for user in ("7", "new")]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 143
    assert (run_folder / "ratings.sqlite").exists()
    with served(tmp_path, "--run", run_folder) as server:
        again = [server.ask("GET", f"/v1/recommendations?user={user}&explain=true") for user in ("7", "new")]
        assert again == answers, "bit for bit, after a start"
        assert server.ask("DELETE", f"/v1/ratings?user=new&movie={first}")[0] == 200
        assert server.ask("DELETE", f"/v1/ratings?user=new&movie={second}")[0] == 404
    (run_folder / "ratings.sqlite").unlink()


@pytest.mark.slow
def test_others_than_this_machine_need_a_key(run_folder, tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\nand a remark\n")
    options = [
        "--run",
        run_folder,
        "--host",
        "0.0.0.0",
        "--api-key-file",
        tmp_path / "key",
        "--ratings",
        tmp_path / "log",
    ]
    with served(tmp_path, *options) as server:
        assert server.ask("GET", "/v1/history?user=7")[0] == 401
        assert server.ask("GET", "/v1/history?user=7", Authorization=f"Bearer {KEY}")[0] == 200
        assert KEY not in server.said


@pytest.mark.slow
def test_a_thousand_ratings_from_many_clients_at_once(run_folder, tmp_path):
    recommender = Recommender.load(run_folder)
    movies = [str(movie) for movie in recommender.movies.ids.tolist()]
    with served(tmp_path, "--run", run_folder, "--ratings", tmp_path / "log") as server:

        def rate(i: int) -> int:
            body = {"user": f"user {i % 20}", "movie": movies[i % 50], "rating": i % 10 / 2, "time": i}
            return server.ask("POST", "/v1/ratings", body, **{"Idempotency-Key": f"key-{i % 1000}"})[0]

        with ThreadPoolExecutor(32) as pool:
            assert {*pool.map(rate, [*range(1000), *range(0, 1000, 3)])} == {201}
        histories = [server.ask("GET", f"/v1/history?user=user%20{i}")[1] for i in range(20)]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    store = RatingStore(tmp_path / "log")
    assert [event.time for event in sorted(store.events(), key=lambda event: event.time)] == [*range(1000)]
    for i, history in enumerate(histories):
        mine = {event.movie: event.rating for event in store.events() if event.user == f"user {i}"}
        assert {movie["movieId"]: movie["rating"] for movie in history["movies"]} == mine


@pytest.mark.slow
def test_killed_again_and_again_at_random_moments(run_folder, tmp_path):
    """What was acknowledged is there after each start, once; what was sent and not answered is there once or not."""
    draws, kills = random.Random(0), 50
    movies = [str(movie) for movie in Recommender.load(run_folder).movies.ids.tolist()]
    acknowledged: dict[str, dict] = {}
    sent: set[str] = set()
    lock = threading.Lock()

    def write(server, name: str) -> None:
        for number in range(10_000):
            key, user, movie = f"{name}-{number}", f"user {number % 5}", movies[number % 60]
            with lock:
                sent.add(key)
            try:
                body = {"user": user, "movie": movie, "rating": number % 10 / 2, "time": number}
                status, stored = server.ask("POST", "/v1/ratings", body, **{"Idempotency-Key": key})
            except (OSError, http.client.HTTPException, ValueError):
                return  # it was killed, perhaps within an answer
            assert status == 201
            with lock:
                acknowledged[key] = stored

    for kill in range(kills):
        with served(tmp_path, "--run", run_folder, "--ratings", tmp_path / "log") as server:
            threads = [threading.Thread(target=write, args=(server, f"{kill}-{i}")) for i in range(3)]
            for thread in threads:
                thread.start()
            time.sleep(draws.uniform(0, 0.15))
            server.process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
        store = RatingStore(tmp_path / "log")
        stored = {key: store.by_key(key) for key in acknowledged}
        assert {key: event._asdict() for key, event in stored.items() if event} == acknowledged
        events = [*store.events()]
        assert [event.number for event in events] == [*range(1, len(events) + 1)]
        assert len(acknowledged) <= len(events) <= len(sent)
        store.close()
    assert len(acknowledged) > kills
