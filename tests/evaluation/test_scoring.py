"""Modules of a user's own on our data module."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_lp.callbacks.curves import Curves
from lightning_lp.callbacks.ranking import RankingMetrics
from lightning_lp.callbacks.samples import Samples
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import MOVIE, RATES, USER
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.evaluation.ranking import dot_products, rank_queries
from lightning_lp.evaluation.ranking_task import ranking_task
from lightning_lp.evaluation.scoring import LabelScores, score_labels, score_query_labels, scorer_of


class Scores(pl.LightningModule):
    """Any attribute may bear any name."""

    embeddings = "mine"

    def __init__(self, num_users: int, num_movies: int) -> None:
        super().__init__()
        self.user, self.movie = nn.Embedding(num_users, 4), nn.Embedding(num_movies, 4)

    def logits(self, batch):
        user, movie = batch[RATES].edge_label_index
        return (self.user(batch[USER].node_id[user]) * self.movie(batch[MOVIE].node_id[movie])).sum(dim=1)

    def training_step(self, batch, batch_idx):
        return F.binary_cross_entropy_with_logits(self.logits(batch), batch[RATES].edge_label)

    def validation_step(self, batch, batch_idx):
        assert batch["movie", "rev_rates", "user"].edge_index.numel(), "its batches carry messages"

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Forward(Scores):
    def forward(self, batch):
        return self.logits(batch)


class Embeds(Scores):
    def embed_all(self, graph):
        return self.user.weight.detach(), self.movie.weight.detach()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "movies"
    write_movielens(folder, num_users=30, num_movies=40, num_ratings=500, seed=0)
    return str(folder)


def fit(kind, root, folder, split=None):
    pl.seed_everything(0)
    data = MovieLensDataModule(root, split=split or {})
    model = kind(data.num_users, data.num_movies)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callbacks = [RankingMetrics(), Curves(), Samples()]
    logger = TensorBoardLogger(folder)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=callbacks, logger=logger, log_every_n_steps=1, **quiet
    )
    trainer.fit(model, datamodule=data)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    return data, model, trainer, events.Tags()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Forward, Embeds])
def test_they_are_ranked_drawn_and_shown(kind, root, tmp_path):
    data, model, trainer, tags = fit(kind, root, tmp_path)
    assert 0 < float(trainer.callback_metrics["val/recall@20"]) <= 1
    assert "val/curves" in tags["images"]
    assert "val/recommendations/text_summary" in tags["tensors"]
    expected = dot_products(model.user.weight, model.movie.weight)(torch.arange(30))
    scores = scorer_of(model, data.split.val)(torch.arange(30))
    torch.testing.assert_close(scores, expected)
    user, movie = data.split.val[RATES].edge_label_index
    torch.testing.assert_close(score_labels(data.split.val, lambda users: expected[users]), expected[user, movie])


def test_they_are_told_what_is_missing(root, tmp_path):
    with pytest.warns(UserWarning, match=r"Scores is not ranked: that needs embed_all\(graph\).* or forward\(batch\)"):
        _, _, trainer, _ = fit(Scores, root, tmp_path)
    assert "val/recall@20" not in trainer.callback_metrics


@pytest.mark.parametrize("kind", [Forward, Embeds])
def test_one_that_embeds_no_new_users_is_told_once_that_history_rolls(kind, root, tmp_path):
    split = {"strategy": "leave_last_out", "history": "rolling"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        _, _, trainer, tags = fit(kind, root, tmp_path, split)
    told = [str(each.message) for each in caught if "is not ranked" in str(each.message)]
    assert len(told) == 1
    assert "is not ranked: --data.split.history rolling needs embed_new(graph, edge_index, num_users, edge" in told[0]
    assert "val/recall@20" not in trainer.callback_metrics
    assert "val/curves" not in tags["images"]


class EmbedsAsOf(Embeds):
    def embed_new(self, graph, edge_index, num_users, edge_attrs):
        assert set(edge_attrs) == {"time", "rating"}
        movie, query = edge_index
        z_user = torch.zeros(num_users, 4)
        return z_user.index_add(0, query, self.movie.weight.detach()[movie] * edge_attrs["rating"][:, None])


def test_one_that_embeds_new_users_is_ranked_by_a_history_that_rolls(root, tmp_path):
    split = {"strategy": "leave_last_out", "history": "rolling"}
    _, _, trainer, tags = fit(EmbedsAsOf, root, tmp_path, split)
    assert 0 <= float(trainer.callback_metrics["val/recall@20"]) <= 1
    assert 0 <= float(trainer.callback_metrics["val/label_mrr"]) <= 1
    assert "val/curves" in tags["images"]
    assert "val/recommendations/text_summary" in tags["tensors"]


@pytest.mark.parametrize("history", ["frozen", "rolling"])
def test_processes_share_the_labels(root, history):
    data = MovieLensDataModule(root, split={"strategy": "temporal"})
    data.setup()
    graph, scores = data.split.val, torch.rand(30, 40)

    def score(users, time=None):
        return scores[users] + (0 if time is None else (time % 7)[:, None])

    task = ranking_task(graph, history=history)
    alone = LabelScores(graph, score, history)
    rank_queries(task, alone)
    assert torch.equal(alone.scores, score_query_labels(graph, score, history, chunk=3))
    assert alone.is_scored.all()
    shares = [LabelScores(graph, score, history) for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_lp.evaluation.ranking._MAX_USERS", 4)
        for rank, share in enumerate(shares):
            rank_queries(task, share, rank, 3)
    assert torch.equal(sum(share.scores for share in shares), alone.scores)
    assert sum(share.is_scored.int() for share in shares).tolist() == [1] * alone.scores.numel()
