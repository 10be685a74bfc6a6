"""The reference task: every figure of the tutorial that must come out; sizes on made-up data of the same sizes too."""

import pandas as pd
import pytest
import torch

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.rating_graph import build_graph
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES
from lightning_lp.data.settings import Sampling, SplitSettings
from lightning_lp.data.tables import read_tables

SETTINGS = {
    "split": SplitSettings(disjoint_train_ratio=0.3),
    "sampling": Sampling(
        num_neighbors=[20, 10], eval_num_neighbors=[20, 10], exact_negatives=False, exclude_seed_links=False
    ),
    "batch_size": 128,
    "eval_batch_size": 384,
}


@pytest.fixture(scope="module")
def data(sized) -> MovieLensDataModule:
    data = MovieLensDataModule(root=str(sized), **SETTINGS)
    data.setup()
    return data


def test_graph(data):
    graph = data.graph.data
    assert (data.num_users, data.num_movies, graph[RATES].num_edges) == (610, 9742, 100836)
    assert graph[REV_RATES].num_edges == 100836
    assert graph[MOVIE].x.shape == (9742, 20)
    assert "(no genres listed)" in data.graph.genre_vocabulary
    assert data.tables.rows_read == 100836
    assert data.tables.dropped == {}


def test_features_belong_to_their_movie(data, sized):
    movies = pd.read_csv(sized / "movies.csv")
    index = data.graph.movies.index_of_text(movies.movieId.astype(str).tolist())
    assert [data.graph.titles[i] for i in index] == movies.title.str.strip().tolist()
    genres = movies.genres.str.get_dummies("|")[data.graph.genre_vocabulary]
    assert (data.graph.data[MOVIE].x[index] == torch.from_numpy(genres.to_numpy(copy=True))).all()


def test_movies_of_movielens(movielens):
    graph = build_graph(read_tables(movielens))
    toy_story = graph.movies.index_of_text(["1"])[0]
    assert graph.titles[toy_story] == "Toy Story (1995)"
    genres = {graph.genre_vocabulary[i] for i in graph.data[MOVIE].x[toy_story].nonzero().flatten()}
    assert genres == {"Adventure", "Animation", "Children", "Comedy", "Fantasy"}
    assert 9742 - graph.data[RATES].edge_index[1].unique().numel() == 18


@pytest.mark.parametrize(
    ("part", "messages", "labels", "links"),
    [("train", 56469, 24201, 24201), ("val", 80670, 30249, 10083), ("test", 90753, 30249, 10083)],
)
def test_split(data, part, messages, labels, links):
    store = getattr(data.split, part)[RATES]
    assert store.edge_index.shape == (2, messages)
    assert store.edge_label_index.shape == (2, labels)
    assert int(store.edge_label.sum()) == links


def test_loaders(data):
    train, validation, test = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert (len(train), len(validation), len(test)) == (190, 79, 79)
    batch = next(iter(train))
    assert batch[RATES].edge_label.shape == (384,)
    assert batch[RATES].edge_label.sum() == 128
    labels = [batch[RATES].edge_label for batch in validation]
    assert {label.numel() for label in labels[:-1]} == {384}
    assert all(0 < label.mean() < 1 for label in labels)


@pytest.mark.parametrize("strategy", ["random", "temporal", "leave_last_out"])
def test_other_splits_are_whole(sized, strategy):
    data = MovieLensDataModule(root=str(sized), split=SplitSettings(strategy))
    data.setup()
    parts = [int(graph[RATES].edge_label.sum()) for graph in (data.split.train, data.split.val, data.split.test)]
    assert sum(parts) == 100836
    if strategy == "leave_last_out":
        assert parts[1:] == [610, 610]


@pytest.mark.slow
def test_fast_settings_reach_the_tutorials_auroc_in_one_epoch(movielens, tmp_path, monkeypatch):
    from lightning_lp.commands.cli import main
    from tests.journeys import QUIET

    monkeypatch.chdir(tmp_path)
    cli = main(["fit", "--config", "fast", f"--data.root={movielens}", *QUIET])
    assert cli.trainer.current_epoch == 1
    assert cli.results.results["validation"]["auroc"] >= 0.9307


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("fast-linear", (0.953, 0.265, 0.242)), ("default", (0.965, 0.278, 0.252))]
)
def test_settings_reach_their_figures_of_validation(movielens, tmp_path, monkeypatch, name, least):
    from lightning_lp.commands.cli import main
    from tests.journeys import QUIET

    monkeypatch.chdir(tmp_path)
    cli = main(["fit", "--config", name, f"--data.root={movielens}", *QUIET, "--trainer.max_epochs=4"])
    found = cli.results.results["validation"]
    for metric, value in zip(("auroc", "recall@20", "ndcg@20"), least, strict=True):
        assert found[metric] >= value, metric
    assert found["calibration_error"] < 0.05


@pytest.mark.slow
def test_tutorial_trains_to_its_figures(movielens, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from lightning_lp.commands.cli import main
    from tests.journeys import QUIET, run_folders

    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", "tutorial", f"--data.root={movielens}", *QUIET])
    events = EventAccumulator(str(run_folders()[0]))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([0.4483, 0.3516, 0.3320, 0.3127, 0.2988], abs=0.015)
    assert 0.925 <= events.Scalars("val/auroc")[-1].value <= 0.945
