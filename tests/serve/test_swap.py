"""Another model takes the place of the one that answers: no request fails, and each answer is wholly of one of them."""

import csv
import gc
import http.client
import json
import os
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.recommend.filters import Filter
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.serve.app import make_app
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import RatingStore
from lightning_lp.serve.swap import Swap, check_same_data
from tests.graphs import random_links
from tests.journeys import best_checkpoint, fit
from tests.serve.servers import Server, served
from tests.untrained import NUM_LINKS, NUM_MOVIES, NUM_USERS, recommender_of

USERS, MOVIES = torch.arange(NUM_USERS), torch.arange(NUM_MOVIES)
LINKS = random_links(NUM_USERS, NUM_MOVIES, NUM_LINKS, 0).int()


@pytest.fixture
def store(tmp_path) -> RatingStore:
    return RatingStore(tmp_path / "log")


def swap_of(store: RatingStore, *recommenders: Recommender) -> Swap:
    """One that answers from the first, and then from one after another."""
    services = [Service(recommender, store, f"run/{i}") for i, recommender in enumerate(recommenders)][::-1]
    return Swap(services.pop(), services.pop)


def answer(service: Service, user: str) -> list:
    return service.recommend(service.user(user), NUM_MOVIES, Filter())


def test_ratings_count_in_either_model_whichever_of_them_wrote_them(store):
    swap = swap_of(store, recommender_of("history"), recommender_of("history", seed=1, links=LINKS))
    before = swap.service
    before.rate("new", "3", 4.0, 5, None)
    now = swap.reload()
    assert swap.service is now
    before.rate("new", "8", 4.0, 6, "key")  # a request that began before
    assert now.rate("new", "8", 4.0, 6, "key").number == 2, "sent again, it counts once"
    for service in (before, now):
        assert answer(service, "new") == service.recommender.recommend_new([3, 8], NUM_MOVIES)
    now.take_back("new", "3", None)
    for service in (before, now):
        assert answer(service, "new") == service.recommender.recommend_new([8], NUM_MOVIES)
        assert service.histories.num_changed == 1
    assert answer(before, "new") != answer(now, "new")


def test_the_memory_of_the_former_is_free_once_its_last_request_is_answered(store):
    swap = swap_of(store, recommender_of("history"), recommender_of("history", seed=1, links=LINKS))
    running = swap.service
    gone = [weakref.ref(running), weakref.ref(running.recommender), weakref.ref(running.histories)]
    swap.service.warm()
    answer(swap.service, "5")
    gc.collect()
    gc.disable()
    try:
        swap.reload()
        assert [one() is None for one in gone] == [False] * 3, "somebody is answered"
        assert answer(running, "5")
        del running
        assert [one() is None for one in gone] == [True] * 3, "without a search for garbage"
    finally:
        gc.enable()


def test_a_later_run_may_know_more_and_never_less():
    before = recommender_of("history")
    check_same_data(before, recommender_of("history", seed=1, links=LINKS))
    texts = [sorted(map(str, ids.tolist())) for ids in (USERS, MOVIES)]
    places = [torch.tensor([ids.index(str(i)) for i in range(len(ids))]) for ids in texts]
    links = torch.stack([place[of_link.long()] for place, of_link in zip(places, LINKS, strict=True)]).int()
    check_same_data(before, recommender_of("history", users=texts[0], movies=texts[1], links=links))
    with pytest.raises(UserError, match="lacks 1 of the 12 users that are served, the first user '0': it is of other"):
        check_same_data(before, recommender_of("history", users=USERS + 1))
    with pytest.raises(UserError, match="lacks 2 of the 25 movies that are served, the first movie '0'"):
        check_same_data(before, recommender_of("history", movies=MOVIES + 2))


def test_the_same_ids_with_other_ratings_are_other_data():
    before = recommender_of("history")
    most, few = (recommender_of("history", links=LINKS[:, : int(share * NUM_LINKS)]) for share in (0.6, 0.4))
    check_same_data(before, most)
    check_same_data(few, before)
    with pytest.raises(UserError, match="of the ratings that are served, the run knows 40%: it is of other data"):
        check_same_data(before, few)


def test_what_is_refused_changes_nothing(store):
    def damaged() -> Service:
        raise UserError("best.ckpt is damaged: give another")

    service = Service(recommender_of("history"), store, "run/0")
    for load, problem in (
        (damaged, "best.ckpt is damaged: give another; run/0 is served on"),
        (None, "this service was made with one model alone; run/0 is served on"),
        (
            lambda: Service(recommender_of("history", users=USERS + 1), store),
            "the first user '0': it is of other data; ",
        ),
    ):
        swap = Swap(service, load)
        client = TestClient(make_app(swap))
        told = client.post("/v1/reload", json={})
        assert (told.status_code, [*told.json()]) == (409, ["error"])
        assert problem in told.json()["error"]
        assert client.get("/ready").json()["model"] == "run/0"
        told = client.get("/metrics").text
        assert "lightning_lp_swaps_total 0.0" in told
        assert "lightning_lp_refused_swaps_total 1.0" in told


def test_one_model_is_loaded_at_a_time(store):
    begun, end = threading.Event(), threading.Event()
    service, other = (Service(recommender_of("history"), store, name) for name in "ab")

    def load() -> Service:
        begun.set()
        assert end.wait(30)
        return other

    swap = Swap(service, load)
    client = TestClient(make_app(swap))
    first = threading.Thread(target=swap.reload)
    first.start()
    assert begun.wait(30)
    told = client.post("/v1/reload", json={})
    assert (told.status_code, told.json()["error"]) == (
        409,
        "a model is being loaded already: ask again when it has ended",
    )
    again = threading.Thread(target=swap.reload, kwargs={"wait": True})
    again.start()
    assert client.get("/v1/recommendations?user=5").json()["model"] == "a", "it answers meanwhile"
    end.set()
    first.join(30)
    again.join(30)
    assert (swap.swaps, swap.service) == (2, other)
    assert client.get("/v1/recommendations?user=5").json()["model"] == "b"
    told = client.get("/metrics").text
    assert "lightning_lp_swaps_total 2.0" in told
    assert 'lightning_lp_model_info{name="b"} 1.0' in told


def test_no_page_elsewhere_can_ask_for_it(store):
    client = TestClient(make_app(swap_of(store, recommender_of("history"))))
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if kind is None else {"content-type": kind}
        assert client.post("/v1/reload", content=b"{}", headers=headers).status_code == 422, kind
    assert client.post("/v1/reload", json={"run": "/etc"}).status_code == 422, "no path is taken"
    secret = TestClient(make_app(swap_of(store, recommender_of("history")), api_key="0123456789abcdef"))
    assert secret.post("/v1/reload", json={}).status_code == 401


# In a process of its own.


@pytest.fixture(scope="module")
def runs(run_folder, tmp_path_factory) -> list[Path]:
    """Runs on the same data: two with other weights, and one that was trained later, with more users and movies."""
    folder = tmp_path_factory.mktemp("runs")
    first, other = (shutil.copytree(run_folder, folder / f"version_{i}") for i in range(2))
    file = best_checkpoint(other)
    content = torch.load(file, weights_only=True)
    torch.manual_seed(0)
    for weight in content["state_dict"].values():
        if weight.is_floating_point():
            weight.mul_(1 + 0.1 * torch.randn_like(weight))
    torch.save(content, file)
    write_movielens(folder / "data", num_users=40, num_movies=60, num_ratings=900, seed=0)
    with (folder / "data" / "movies.csv").open("a", newline="") as table:
        csv.writer(table).writerow([10_000, "A later one (2020)", "Drama"])
    with (folder / "data" / "ratings.csv").open("a", newline="") as table:
        csv.writer(table).writerows([10_000, movie, 4.0, 1_600_000_000] for movie in (10_000, 1, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(folder / "data")
    shutil.move(folder / "lightning_logs" / "version_0", folder / "version_2")
    return [first, other, folder / "version_2"]


def point(link: Path, run: Path) -> None:
    """Lets a link lead elsewhere, at once."""
    new = link.with_suffix(".new")
    new.symlink_to(run)
    os.replace(new, link)


def plain(movies) -> list[tuple]:
    return [(m.rank, str(m.movie_id), m.title, [*m.genres], m.score) for m in movies]


def listed(told: dict) -> list[tuple]:
    return [(m["rank"], m["movieId"], m["title"], m["genres"], m["score"]) for m in told["movies"]]


@contextmanager
def clients(server: Server, questions: dict[str, str], count: int) -> Iterator[list[tuple[str, int, dict]]]:
    """Clients that ask again and again, each over one connection, until the end."""
    found: list[tuple[str, int, dict]] = []
    end = threading.Event()

    def ask(number: int) -> None:
        link = http.client.HTTPConnection(server.host, server.port, timeout=60)
        names = [*questions][number:] + [*questions][:number]
        while not end.is_set():
            for name in names:
                link.request("GET", questions[name])
                told = link.getresponse()
                found.append((name, told.status, json.loads(told.read())))
        link.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        end.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.slow
def test_models_are_exchanged_again_and_again_while_many_ask_and_one_rates(runs, tmp_path):
    names = [f"{run.name}/{best_checkpoint(run).name}" for run in runs]
    models = dict(zip(names, map(Recommender.load, runs), strict=True))
    users = [str(user) for user in models[names[0]].users.ids[:4].tolist()]
    movies = [str(movie) for movie in models[names[0]].movies.ids.tolist()]
    questions = {user: f"/v1/recommendations?user={user}&k=60" for user in users} | {
        "similar": f"/v1/similar?movie={movies[5]}&k=59",
        "rated before": "/v1/recommendations?user=rated%20before&k=60",
        "history": "/v1/history?user=rated%20before",
    }
    expected = {
        name: {user: plain(model.recommend(user, 60)) for user in users}
        | {
            "similar": plain(model.similar(movies[5], 59)),
            "rated before": plain(model.recommend_new(movies[:3], 60)),
        }
        for name, model in models.items()
    }
    assert expected[names[0]] != expected[names[1]]
    current = tmp_path / "current"
    point(current, runs[0])
    with served(tmp_path, "--run", current, "--ratings", tmp_path / "log") as server:
        for movie in movies[:3]:
            server.ask("POST", "/v1/ratings", {"user": "rated before", "movie": movie, "rating": 4})
        rated: list[str] = []
        with clients(server, questions, 4) as found:
            for number in range(1, 25):
                before = runs[number % 2] if number < 24 else runs[2]
                point(current, before)
                if number % 3:
                    status, told = server.ask("POST", "/v1/reload", {})
                    assert (status, told["model"]) == (200, names[runs.index(before)])
                else:
                    server.process.send_signal(signal.SIGHUP)
                assert server.ask("POST", "/v1/ratings", {"user": "w", "movie": movies[number]})[0] == 201
                rated.append(movies[number])
                status, told = server.ask("GET", "/v1/recommendations?user=w&k=60")
                assert status == 200
                assert listed(told) == plain(models[told["model"]].recommend_new(rated, 60)), "what was rated counts"
                end = time.monotonic() + 60
                while f"lightning_lp_swaps_total {number}.0" not in metrics(server):
                    assert time.monotonic() < end, server.said
                    time.sleep(0.01)
        assert server.ask("GET", "/ready")[1]["movies"] == 61
        assert "lightning_lp_models 1.0" in metrics(server), "the memory of the others is free"
        status, told = server.ask("GET", "/v1/recommendations?user=w&k=60")
        assert listed(told) == plain(models[names[2]].recommend_new(rated, 60)), "all that was rated, of the last model"
    assert {status for _, status, _ in found} == {200}
    assert {told["model"] for _, _, told in found} >= {*names[:2]}
    for name, _, told in found:
        if name == "history":
            assert [movie["movieId"] for movie in told["movies"]] == movies[2::-1]
        else:
            assert listed(told) == expected[told["model"]][name], "wholly of the model that it names"
    assert f"serving {names[1]}\n" in server.said


def metrics(server: Server) -> str:
    link = http.client.HTTPConnection(server.host, server.port, timeout=60)
    link.request("GET", "/metrics")
    text = link.getresponse().read().decode()
    link.close()
    return text


@pytest.mark.slow
def test_runs_that_are_refused_and_the_log_that_they_would_lose(runs, run_folder, tmp_path):
    first, other, later = (shutil.copytree(run, tmp_path / run.name) for run in runs)
    current = tmp_path / "current"
    point(current, later)
    with served(tmp_path, "--run", current, "--ratings", tmp_path / "log") as server:
        served_now = server.ask("GET", "/ready")[1]
        best_checkpoint(other).write_bytes(best_checkpoint(other).read_bytes()[:5000])
        for run, problem in (
            (other, "is not a checkpoint of lightning_lp, or is damaged: give another; version_2/"),
            (first, "the run lacks 1 of the 41 users that are served, the first user '10000': it is of other data; "),
            (tmp_path / "nothing", "no such file or folder, a run folder or a checkpoint file is wanted; version_2/"),
        ):
            point(current, run)
            status, told = server.ask("POST", "/v1/reload", {})
            assert (status, problem in told["error"], told["error"].endswith(" is served on")) == (409, True, True), (
                told
            )
            said = len(server.said)
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 60
            while not server.said[said:].endswith("\n"):
                assert time.monotonic() < end
                time.sleep(0.01)
            assert server.said[said:] == f"refused: {told['error']}\n"
            assert server.ask("GET", "/ready")[1] == served_now
        assert "lightning_lp_refused_swaps_total 6.0" in metrics(server)
    point(current, first)
    with served(tmp_path, "--run", current) as server:
        point(current, later)
        status, told = server.ask("POST", "/v1/reload", {})
        assert (status, "the ratings lie in the folder of the first: start with --ratings FILE" in told["error"]) == (
            409,
            True,
        )
        point(current, first)
        assert server.ask("POST", "/v1/reload", {})[0] == 200
