import copy
import csv
import io
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.__main__ import run
from lightning_lp.checkpointing.finding import load_encoder, newest_run
from lightning_lp.commands.recommend import recommend
from lightning_lp.data.schema import MOVIE, REV_RATES, USER, Columns
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.recommend.listing import write_chunks
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.recommend.topk import best
from tests.graphs import make_graph, sage_module
from tests.journeys import SAGE, best_checkpoint, fit

KEEN = 41
"""A user who has rated all but three movies."""
ODD = {
    9001: ("=cmd|' /C calc'!A0 [red]x[/red] \x1b[31m", "Drama"),
    9002: ("Amélie (2001)", "(no genres listed)"),
    9003: ("Amélie Returns (2003)", "Comedy|Drama"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, and with the ratings it was trained on; the data folder is gone."""
    folder = tmp_path_factory.mktemp("recommend")
    root = folder / "data"
    write_movielens(root, num_users=40, num_movies=57, num_ratings=900, seed=0)
    with (root / "movies.csv").open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows((movie, *texts) for movie, texts in ODD.items())
    movies = pd.read_csv(root / "movies.csv").movieId
    with (root / "ratings.csv").open("a") as file:
        file.writelines(f"{KEEN},{movie},4.0,1\n" for movie in movies[:57])
    shutil.copy(root / "ratings.csv", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(root)
        (folder / "sage").mkdir()
        patch.chdir(folder / "sage")
        fit(root, *SAGE)
    shutil.rmtree(root)
    return folder


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return best_checkpoint(folder / "lightning_logs" / "version_0")


@pytest.fixture(scope="module")
def recommender(folder: Path) -> Recommender:
    return Recommender.load(folder / "lightning_logs" / "version_0")


@pytest.fixture(scope="module")
def rated(folder: Path) -> dict[int, set[int]]:
    return pd.read_csv(folder / "ratings.csv").groupby("userId").movieId.agg(set).to_dict()


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Exit status, output and errors of ``recommend`` with these options."""
    capsys.readouterr()
    status = 0
    try:
        run(None, ["recommend", *map(str, args)])
    except SystemExit as end:
        status = int(end.code or 0)
    return status, *capsys.readouterr()


def ids(movies):
    return [movie.movie_id for movie in movies]


# Laws


@pytest.mark.slow
def test_nobody_is_given_a_movie_they_rated_and_everybody_all_that_are_left(recommender, rated):
    assert len(rated) == len(recommender.users) == 41
    for user, seen in rated.items():
        movies = recommender.recommend(user, k=1000)
        assert sorted(ids(movies)) == sorted(set(recommender.movies.ids.tolist()) - seen)
        assert [movie.rank for movie in movies] == list(range(1, len(movies) + 1))
        scores = [movie.score for movie in movies]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert recommender.recommend(user, k=5) == movies[:5]


def test_lists_have_one_movie_or_more_and_ten_if_nothing_is_said(recommender):
    user, movie = recommender.users.ids[0], recommender.movies.ids[0]
    for ask in (
        lambda k: recommender.recommend(user, k),
        lambda k: recommender.recommend_new([movie], k),
        lambda k: recommender.similar(movie, k),
        lambda k: list(recommender.recommend_all(k)),
    ):
        with pytest.raises(UserError, match="k is 0: 1 or more wanted"):
            ask(0)
        assert len(ask(1)) == 1
    assert len(recommender.recommend(user)) == len(recommender.similar(movie)) == 10


def test_the_unknown_one_of_several_ids_is_named(recommender):
    with pytest.raises(UserError, match="movie 'nope' is not one of the 60"):
        recommender.recommend_new([recommender.movies.ids[0], recommender.movies.ids[1], "nope"])


def test_the_old_name_of_an_attribute_is_known_for_one_release(recommender):
    with pytest.warns(DeprecationWarning, match=r"Recommender\.seen_offsets is seen_indptr now"):
        assert recommender.seen_offsets is recommender.seen_indptr


def test_a_user_who_rated_all_but_three_gets_three(recommender):
    assert sorted(ids(recommender.recommend(KEEN))) == sorted(ODD)


def test_a_user_who_rated_everything_gets_an_empty_list(checkpoint):
    encoder, state = load_encoder(checkpoint)
    everything = torch.stack([torch.zeros(60, dtype=torch.int32), torch.arange(60, dtype=torch.int32)])
    others = state["links"][:, state["links"][0] > 0]
    recommender = Recommender(encoder, state | {"links": torch.cat([everything, others], dim=1)})
    assert recommender.recommend(1) == []
    (table,) = recommender.recommend_all(k=3)
    assert 1 not in set(table.userId)


def test_movies_rated_below_the_minimum_are_seen(checkpoint, rated):
    encoder, state = load_encoder(checkpoint)
    links = state["links"]
    low = torch.arange(links.size(1)) % 3 == 0
    recommender = Recommender(encoder, state | {"links": links[:, ~low], "below_min_rating": links[:, low]})
    for user, seen in rated.items():
        assert not seen & set(ids(recommender.recommend(user, k=1000)))


def test_scores_are_probabilities_of_the_model(recommender, checkpoint):
    encoder, state = load_encoder(checkpoint)
    links = state["links"].long()
    x = torch.from_numpy(
        np.array([[name in text.split("|") for name in state["vocabulary"]] for text in state["genres"]])
    )
    graph = make_graph(links, 41, 60)
    graph[MOVIE].x = x.float()
    with torch.no_grad():
        z = encoder(graph)
        expected = (z[USER] @ z[MOVIE].T).sigmoid()
    for movie in recommender.recommend(7, k=60):
        index = recommender.movies.index([movie.movie_id])[0]
        assert movie.score == pytest.approx(float(expected[6, index]), abs=1e-5)


def test_lists_are_the_same_again_and_in_chunks_of_any_size(recommender, checkpoint):
    again = Recommender.load(checkpoint)
    for chunk in (1, 7, 100):
        table = pd.concat(recommender.recommend_all(k=4, chunk=chunk))
        assert len(table) == 40 * 4 + 3
        for user, rows in table.groupby("userId"):
            movies = again.recommend(user, k=4)
            assert rows["movieId"].tolist() == ids(movies)
            assert rows["rank"].tolist() == [movie.rank for movie in movies]
            assert rows["title"].tolist() == [movie.title for movie in movies]
            assert rows["genres"].tolist() == ["|".join(movie.genres) for movie in movies]
            assert rows["score"].tolist() == [movie.score for movie in movies]


@given(
    scores=st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), min_size=1, max_size=12),
    k=st.integers(1, 15),
    data=st.data(),
)
def test_best_is_a_stable_sort_of_the_unseen(scores, k, data):
    seen = data.draw(st.lists(st.integers(0, len(scores) - 1), unique=True))
    expected = sorted(set(range(len(scores))) - set(seen), key=lambda movie: (-scores[movie], movie))[:k]
    assert best(np.array(scores, dtype=np.float32), np.array(seen, dtype=np.int64), k).tolist() == expected


def test_known_answer_world_has_the_withheld_movie_first():
    n = 20
    kind = torch.arange(n) % 2
    likes = (kind[:, None] == kind) & ~torch.eye(n, dtype=torch.bool)
    links, non_links = likes.nonzero().T, (~likes).nonzero().T
    torch.manual_seed(0)
    module = sage_module(n, n, num_features=0, hidden_channels=16)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=5e-3)
    for _ in range(300):
        order = torch.randperm(links.size(1))
        scored, messages = links[:, order[:60]], links[:, order[60:]]
        negative = non_links[:, torch.randint(non_links.size(1), (120,))]
        z = module.encoder(make_graph(messages, n, n))
        logits = module.classifier(z[USER], z[MOVIE], torch.cat([scored, negative], dim=1))
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat([torch.ones(60), torch.zeros(120)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = {
        "users": torch.arange(n),
        "movies": [f"m{movie:02}" for movie in range(n)],
        "titles": [f"Movie {movie}" for movie in range(n)],
        "genres": [""] * n,
        "links": links.int(),
        "below_min_rating": torch.empty(2, 0, dtype=torch.int32),
    }
    recommender = Recommender(module, state)
    assert [ids(recommender.recommend(user, k=1)) for user in range(n)] == [[f"m{user:02}"] for user in range(n)]


def test_similar_is_the_cosine_without_the_movie_itself(recommender):
    z = recommender.movie_embeddings[:, :-2].astype(np.float64)  # without bias and constant
    cosine = z[4] @ z.T / np.linalg.norm(z, axis=1) / np.linalg.norm(z[4])
    cosine[4] = -2
    movies = recommender.similar(recommender.movies.ids[4], k=60)
    assert ids(movies) == recommender.movies.ids[np.argsort(-cosine)][:-1].tolist()
    assert movies[0].score == pytest.approx(cosine.max(), abs=1e-6)


# New users


def test_a_new_user_with_the_movies_of_another_gets_its_vector(recommender, rated):
    histories = [recommender.movies.index(np.array(sorted(rated[user]))) for user in (1, 7)]
    expected = recommender.user_embeddings[recommender.users.index(np.array([1, 7]))]
    np.testing.assert_allclose(recommender.embed_new(histories), expected, rtol=1e-4, atol=1e-5)


def test_with_graphsage_a_new_user_is_a_node_that_only_receives(folder):
    encoder, state = load_encoder(folder / "sage" / "lightning_logs" / "version_0")
    recommender = Recommender(encoder, state)
    links, liked = state["links"].long(), torch.tensor([3, 8, 21])
    encoder = copy.deepcopy(encoder)
    known = encoder.user_emb.weight
    encoder.user_emb = torch.nn.Embedding.from_pretrained(torch.cat([known, known.mean(dim=0, keepdim=True)]))
    x = torch.from_numpy(
        np.array([[name in text.split("|") for name in state["vocabulary"]] for text in state["genres"]])
    )
    messages = torch.stack([liked, torch.full_like(liked, 41)])
    graph = make_graph(links, 42, 60)
    graph[MOVIE].x = x.float()
    graph[REV_RATES].edge_index = torch.cat([links.flip(0), messages], dim=1)
    with torch.no_grad():
        z = encoder(graph)
    before = recommender.movie_embeddings.copy()
    embedded = recommender.embed_new([liked.numpy(), np.array([5])])
    assert embedded.shape == (2, 8)
    torch.testing.assert_close(torch.from_numpy(embedded[0]), z[USER][41])
    torch.testing.assert_close(torch.from_numpy(recommender.user_embeddings), z[USER][:41])
    assert (recommender.movie_embeddings == before).all()


def test_a_new_user_gets_the_rest(recommender):
    first, second, third = recommender.movies.ids[:3].tolist()
    movies = recommender.recommend_new([first, second], k=1000, seen=[third])
    assert sorted(ids(movies)) == recommender.movies.ids[3:].tolist()
    assert recommender.recommend_new([str(second), first, first], k=1000, seen=[third]) == movies
    with pytest.raises(UserError, match="at least one liked movie"):
        recommender.recommend_new([])


def test_a_file_of_ratings_makes_a_new_user(recommender, capsys, checkpoint, tmp_path):
    first, second, third = recommender.movies.ids[:3].tolist()
    file = tmp_path / "mine.csv"
    file.write_text(f"movieId,rating\n{first},5\n{second},4.5\n{third},1\n")
    options = ["--run", checkpoint, "--format", "json", "--liked"]
    liked = json.loads(call(capsys, *options, file, "--min-rating", 3)[1])
    expected = recommender.recommend_new([first, second], seen=[third])
    assert [movie["movieId"] for movie in liked] == ids(expected)
    assert call(capsys, *options, file)[1] == call(capsys, *options, f"{first}, {second},{third}")[1]
    for text, problem in (
        ("movie\n1\n", "no column movieId"),
        (f"movieId,rating\n{first},good\n", "line 2, column rating: 'good' found, a finite number"),
        (f"movieId,rating\n{first},\n", "line 2, column rating: no rating"),
        (f"movieId,rating\n{first},2\n", "at least one liked movie"),
        ("", "is empty"),
        (f"movieId,rating\n{first},5,\n", "line 2: 2 fields wanted, 3 found"),  # never an index column
    ):
        file.write_text(text)
        status, out, err = call(capsys, *options, file, "--min-rating", 3)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert problem in err


def changed(checkpoint: Path, path: Path, settings: dict[str, object] | None = None, **state: object) -> Path:
    """A copy of a checkpoint with other settings or another state of its data."""
    content = torch.load(checkpoint, weights_only=True)
    content["datamodule_hyper_parameters"] |= settings or {}
    content["MovieLensDataModule"] |= state
    torch.save(content, path)
    return path


def test_a_file_of_ratings_may_have_the_names_of_the_run(recommender, capsys, checkpoint, tmp_path):
    first, second, third = recommender.movies.ids[:3].tolist()
    columns = Columns(user="who", movie="item", rating="stars")
    run = changed(checkpoint, tmp_path / "named.ckpt", {"columns": asdict(columns)})
    assert Recommender.load(run).columns == columns
    old = {"user_column": "who", "movie_column": "item", "rating_column": "stars"}
    assert Recommender.load(changed(checkpoint, tmp_path / "old.ckpt", old)).columns == columns
    assert recommender.columns == Columns()
    expected = ids(recommender.recommend_new([first, second], seen=[third]))
    rows = f"{first},5\n{second},4.5\n{third},1\n"
    for header in ("item,stars", "movieId,stars", "item,rating", "movieId,rating"):
        (tmp_path / "mine.csv").write_text(f"{header}\n{rows}")
        options = ["--run", run, "--format", "json", "--liked", tmp_path / "mine.csv", "--min-rating", 3]
        status, out, err = call(capsys, *options)
        assert status == 0, err
        assert [movie["movieId"] for movie in json.loads(out)] == expected
    (tmp_path / "mine.csv").write_text(f"film,stars\n{rows}")
    assert "no column item (columns wanted: item, stars; found: film, stars)" in call(capsys, *options)[2]


def test_a_checkpoint_without_settings_has_the_usual_names(checkpoint):
    encoder, state = load_encoder(checkpoint)
    assert Recommender(encoder, {key: value for key, value in state.items() if key != "settings"}).columns == Columns()


def test_odd_ids_can_be_given(capsys, checkpoint, tmp_path):
    odd = ["-x", "=1", '"q"', "a,b", "a", "c"]
    movies = sorted([*odd, *(f"m{i:02}" for i in range(54))])
    users = torch.tensor([-5, *range(1, 41)])
    run = changed(checkpoint, tmp_path / "odd.ckpt", movies=movies, users=users)
    recommender = Recommender.load(run)

    def same(expected: list, *options: str) -> None:
        status, out, err = call(capsys, "--run", run, "--format", "json", *options)
        assert status == 0, err
        assert [movie["movieId"] for movie in json.loads(out)] == ids(expected)

    same(recommender.recommend(-5), "--user=-5")
    same(recommender.recommend(-5), "--user", "-5")
    same(recommender.similar("-x"), "--similar-to=-x")
    same(recommender.similar("=1"), "--similar-to", "'=1")  # as a CSV file of ours has it
    same(recommender.recommend_new(["a,b", "c"]), "--liked", '"a,b",c')
    assert movies[0] == '"q"'
    same(recommender.recommend_new(movies[1:]), "--liked", ",".join(f'"{movie}"' for movie in movies[1:] * 20))
    same(recommender.recommend_new(["-x", '"q"', "a"]), '--liked=-x, """q""",a')
    for options, problem in {
        ("--similar-to", "-x"): "one that begins with '-' is given as --similar-to=-...",
        (
            "--liked",
            "c,b",
        ): "movie 'b' is not one of the 60 movies that the model knows; an id that holds a comma stands in",
        ("--liked", '"c'): "ids between commas wanted, in double quotes, as in CSV, what holds a comma",
    }.items():
        status, _, err = call(capsys, "--run", run, *options)
        assert (status, err.count("\n")) == (2, 1), err
        assert problem in err


# Searching titles


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Amelie", [9002, 9003]),
        ("RETURNS amélie", [9003]),
        ("amelie (2001)", [9002]),
        ("  amélie   returns", [9003]),
        ("no such title", []),
        (" ", []),
    ],
)
def test_find(recommender, text, found):
    assert recommender.find(text) == found


def test_a_title_that_is_part_of_another_can_be_named(checkpoint):
    encoder, state = load_encoder(checkpoint)
    recommender = Recommender(encoder, state | {"titles": ["Heat", "White Heat", *state["titles"][2:]]})
    assert recommender.find("heat") == recommender.movies.ids[:1].tolist()


def test_an_ambiguous_title_is_shown_not_guessed(capsys, checkpoint):
    status, out, err = call(capsys, "--run", checkpoint, "--like", "amelie")
    assert (status, out) == (2, "")
    assert "9002" in err
    assert "9003" in err
    assert err.splitlines()[-1] == "error: --like 'amelie' finds 2 movies: name one with --similar-to MOVIE_ID"
    one = call(capsys, "--run", checkpoint, "--like", "amelie returns")
    assert one == call(capsys, "--run", checkpoint, "--similar-to", 9003)
    assert one[0] == 0


# The command line


def test_script_finds_the_newest_run_and_prints_a_table(folder, capsys, monkeypatch, recommender):
    monkeypatch.chdir(folder)
    assert newest_run() == Path("lightning_logs/version_0")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["recommend.py", "--user", "41", "--k", "3"])
    capsys.readouterr()
    run(recommend)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "[red]x[/red]" in out
    assert "\\x1b" in out
    assert "no genres" not in out
    assert all(str(movie) in out for movie in ODD)


def test_json_and_csv(capsys, checkpoint, recommender):
    movies = recommender.recommend(KEEN)
    status, out, _ = call(capsys, "--run", checkpoint.parents[1], "--user", f"{KEEN}.0", "--format", "json")
    assert status == 0
    assert json.loads(out) == [
        {"rank": m.rank, "movieId": m.movie_id, "title": m.title, "genres": list(m.genres), "score": m.score}
        for m in movies
    ]
    _, out, _ = call(capsys, "--run", checkpoint, "--user", KEEN, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [int(row["movieId"]) for row in rows] == ids(movies)
    titles = {int(row["movieId"]): row["title"] for row in rows}
    assert titles[9001] == "'" + ODD[9001][0].replace("\x1b", r"\x1b")
    assert titles[9002] == ODD[9002][0]
    assert {row["movieId"]: row["genres"] for row in rows}["9002"] == ""


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_all_users(capsys, checkpoint, recommender, tmp_path, suffix):
    out = tmp_path / "new" / f"all{suffix}"
    status, text, err = call(capsys, "--run", checkpoint, "--all-users", "--k", 5, "--out", out)
    assert (status, text) == (0, f"203 recommendations for 41 users written to {out}\n")
    assert "recommending" in err
    assert list(out.parent.iterdir()) == [out]
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out, keep_default_na=False)
    expected = pd.concat(recommender.recommend_all(k=5), ignore_index=True)
    if suffix == ".csv":
        dangerous = expected["title"].str.startswith("=")
        assert dangerous.any()
        expected["title"] = expected["title"].where(~dangerous, "'" + expected["title"].str.replace("\x1b", r"\x1b"))
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, atol=1e-6)


def test_an_interrupted_file_is_not_there(tmp_path, recommender):
    def broken():
        yield next(recommender.recommend_all(k=2, chunk=5))
        raise KeyboardInterrupt

    for name in ("all.csv", "all.parquet"):
        with pytest.raises(KeyboardInterrupt):
            write_chunks(tmp_path / name, broken())
    assert not list(tmp_path.iterdir())


def test_a_first_chunk_without_rows_decides_nothing(tmp_path, recommender):
    first, second = recommender.recommend_all(k=2, chunk=21)
    for name, read in (("all.csv", pd.read_csv), ("all.parquet", pd.read_parquet)):
        assert write_chunks(tmp_path / name, [first[:0], second]) == len(second)
        assert read(tmp_path / name)["movieId"].tolist() == second["movieId"].tolist()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--user", "999"], "user '999' is not one of the 41 users"),
        (["--user", "x\n\x1b"], r"user 'x\n\x1b' is not one"),
        (["--user", "1", "--k", "0"], "--k 0: 1 or more wanted"),
        (["--user", "1", "--k", "many"], "invalid int value: 'many'"),
        (["--similar-to", "9999"], "movie '9999' is not one of the 60 movies"),
        (["--like", "zzzz"], "no title holds these words"),
        (["--liked", "9001,nope"], "movie 'nope' is not one"),
        (["--liked", ","], "at least one liked movie"),
        (["--liked", "missing.csv"], "missing.csv not found"),
        (["--liked", "9001", "--min-rating", "3"], "--min-rating needs ratings"),
        (["--user", "1", "--min-rating", "3"], "--min-rating goes with --liked"),
        (["--user", "1", "--like", "x"], "not allowed with argument --user"),
        ([], "one of the arguments --user --all-users --similar-to --like --liked is required"),
        (["--all-users"], "--all-users and --out FILE.parquet|csv go together"),
        (["--user", "1", "--out", "x.csv"], "--all-users and --out FILE.parquet|csv go together"),
        (["--all-users", "--out", "x.txt"], "ends in .parquet or .csv"),
        (["--user", "1", "--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_mistakes_are_one_line(capsys, checkpoint, tmp_path, monkeypatch, options, problem):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, "--run", checkpoint, *options)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert problem in err
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint(capsys, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no trained model in lightning_logs" in call(capsys, "--user", 1)[2]
    (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:5000])
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    other = torch.load(checkpoint, weights_only=True)
    other["state_dict"].popitem()
    torch.save(other, tmp_path / "incomplete.ckpt")
    (tmp_path / "empty").mkdir()
    for name, problem in {
        "cut.ckpt": "is not a checkpoint of lightning_lp, or is damaged",
        "text.ckpt": "is not a checkpoint of lightning_lp, or is damaged",
        "foreign.ckpt": "is not a checkpoint of lightning_lp, or is damaged",
        "incomplete.ckpt": "is not a checkpoint of lightning_lp, or is damaged",
        "empty": "holds no one best checkpoint (found: none)",
        "nowhere": "nowhere: no such file or folder",
    }.items():
        status, _, err = call(capsys, "--run", name, "--user", 1)
        assert (status, err.count("\n")) == (2, 1), err
        assert problem in err


def test_a_diverged_model_recommends_nothing(checkpoint):
    encoder, state = load_encoder(checkpoint)
    with torch.no_grad():
        encoder.movie_emb.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="training diverged"):
        Recommender(encoder, state)


@pytest.mark.slow
def test_loading_and_answering_takes_less_than_three_seconds(made_up, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(made_up, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--model.encoder.hidden_channels=64")
    start = time.perf_counter()
    movies = Recommender.load(newest_run()).recommend(42, k=10)
    assert time.perf_counter() - start < 3
    assert len(movies) == 10
