import gc
import weakref
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_lp.callbacks.ranking import RankingMetrics
from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.evaluation.label_metrics import label_metrics
from lightning_lp.evaluation.ranking import KS, dot_products, rank_queries, rank_users
from lightning_lp.evaluation.ranking_task import _TASKS, kept_task, ranking_task
from lightning_lp.evaluation.scoring import score_query_labels, scorer_of
from lightning_lp.evaluation.significance import auroc
from tests.journeys import fit, results, run_folders

NAMES = {f"{name}@{k}" for name in ("recall", "ndcg", "hit_rate", "mrr", "map", "coverage", "novelty") for k in KS}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=30, num_movies=50, num_ratings=700, seed=0)
    return tmp_path / "movies"


def test_a_fit_logs_and_monitors_ranking(root):
    cli = fit(root, "--checkpoint.monitor=val/ndcg@20", "--early_stopping.monitor=val/ndcg@20", "--data.min_rating=2")
    checkpoint = cli.trainer.checkpoint_callback
    assert isinstance(checkpoint, ModelCheckpoint)
    found = results(run_folders()[0])["validation"]
    assert found.keys() >= NAMES
    assert float(checkpoint.best_model_score) == pytest.approx(found["ndcg@20"], abs=1e-6)
    data, model = cli.datamodule, cli.model
    task = ranking_task(data.split.val, data.graph.below_min_rating)
    expected = rank_users(task, dot_products(*model.encoder.embed_all(data.split.val))).means()
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    (tested,) = cli.trainer.test(model, datamodule=data, ckpt_path="best", verbose=False)
    assert {f"test/{name}" for name in NAMES} <= tested.keys()
    assert results(run_folders()[0])["test"]["recall@20"] == pytest.approx(tested["test/recall@20"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "strategy", "history"),
    [("sequence", "leave_last_out", "frozen"), ("sequence", "temporal", "rolling"), ("history", "temporal", "rolling")],
)
def test_a_split_by_time_is_judged_by_its_labels_and_by_its_history(root, encoder, strategy, history):
    flags = [f"--model.encoder={encoder}", f"--data.split.strategy={strategy}", f"--data.split.history={history}"]
    cli = fit(root, *flags, "--checkpoint.monitor=val/label_mrr", "--data.eval_batch_size=50")
    cli.test_best()
    found, data = results(run_folders()[0]), cli.datamodule
    assert found["validation"]["label_mrr"] == pytest.approx(float(cli.trainer.checkpoint_callback.best_model_score))
    for name, graph in {"validation": data.split.val, "test": data.split.test}.items():
        store, score = graph[RATES], scorer_of(cli.model, graph, history, data.graph.data[RATES].rating)
        scores = score_query_labels(graph, score, history)
        expected = label_metrics(store.edge_label_index, store.edge_label, store.edge_label_time, scores)
        expected |= rank_queries(ranking_task(graph, history=history), score).means()
        expected["auroc"] = auroc(scores.double().numpy(), store.edge_label.numpy() > 0)
        assert {metric: found[name][metric] for metric in expected} == pytest.approx(expected, abs=2e-6)


def test_labels_of_a_split_by_chance_have_no_time_and_are_not_judged_by_it(root):
    cli = fit(root, "--trainer.max_epochs=1", "--trainer.logger=false")
    assert not {"val/label_mrr", "val/user_auroc"} & cli.trainer.callback_metrics.keys()
    with pytest.raises(UserError, match=r"--data\.split\.strategy random has no val/user_auroc to watch"):
        fit(root, "--early_stopping.monitor=val/user_auroc")


def test_a_fit_builds_the_task_of_a_part_once(root, monkeypatch):
    """The metrics and the recommendations shown share it, and so do all epochs."""
    built = []

    def spy(graph, below_min_rating=None, max_users=None, history="frozen"):
        built.append(max_users)
        return ranking_task(graph, below_min_rating, max_users, history)

    monkeypatch.setattr("lightning_lp.evaluation.ranking_task.ranking_task", spy)
    fit(root)
    assert built == [None]
    built.clear()
    fit(root, "--ranking.max_users=7")
    assert sorted(built, key=str) == [7, None], "one for each setting"


def test_a_kept_task_is_that_of_its_graph_and_what_is_seen(root):
    data = MovieLensDataModule(str(root), min_rating=4.0)
    data.setup()
    below, val = data.graph.below_min_rating, data.split.val
    for graph, seen in ((val, below), (val, None), (data.split.test, below), (val, below)):
        task = kept_task(graph, seen)
        assert kept_task(graph, seen) is task
        expected = ranking_task(graph, seen)
        for name in ("users", "seen", "held_out", "self_information"):
            assert torch.equal(getattr(task, name), getattr(expected, name))
    assert [graph is val for graph in _TASKS] == [True], "one is kept"
    whole = weakref.ref(task)
    del data, val, graph, task
    gc.collect()
    assert whole() is None


@pytest.mark.slow
@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2]), (2, [0, 2]), (0, [])])
def test_every_n_epochs(root, monkeypatch, every, epochs):
    ranked = []
    log = RankingMetrics._log

    def spy(self, trainer, *args):
        ranked.append(trainer.current_epoch if trainer.state.fn == "fit" else "after")
        log(self, trainer, *args)

    monkeypatch.setattr(RankingMetrics, "_log", spy)
    watch = ["--checkpoint.monitor=val/auroc", "--early_stopping.monitor=val/auroc"]
    fit(root, f"--ranking.every_n_epochs={every}", "--trainer.max_epochs=3", "--trainer.num_sanity_val_steps=1", *watch)
    assert ranked == [*epochs, "after"]


def test_watching_what_is_never_ranked_is_refused(root):
    for name in ("ndcg@20", "label_mrr"):
        with pytest.raises(UserError, match=rf"leaves no val/{name} to watch: give --checkpoint\.monitor val/auroc"):
            fit(
                root,
                "--ranking.every_n_epochs=0",
                f"--checkpoint.monitor=val/{name}",
                "--data.split.strategy=leave_last_out",
            )


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(UserError, match=r"--ranking\.every_n_epochs -1: 0 or more wanted"):
        RankingMetrics(-1)


def test_some_of_the_users_are_ranked(root):
    """They are always the same ones, and judged as they are among all."""
    data = MovieLensDataModule(str(root))
    data.setup()
    whole, some, again = (ranking_task(data.split.val, max_users=n) for n in (None, 7, 7))
    assert torch.equal(some.users, again.users)
    assert len(some.users) == 7 < len(whole.users)
    assert set(some.users.tolist()) < set(whole.users.tolist())
    assert torch.equal(ranking_task(data.split.val, max_users=10_000).users, whole.users)
    scores = torch.rand(data.num_users, data.num_movies)
    of_all, of_some = (rank_users(task, lambda users: scores[users]) for task in (whole, some))
    rows = torch.isin(of_all.users, some.users)
    assert torch.equal(of_some.lists, of_all.lists[rows])
    assert torch.equal(of_some.values["recall@20"], of_all.values["recall@20"][rows])
    cli = fit(root, "--ranking.max_users=7", "--trainer.logger=false")
    task = ranking_task(data.split.val, max_users=7)
    expected = rank_users(task, dot_products(*cli.model.encoder.embed_all(data.split.val))).means()
    assert float(cli.trainer.callback_metrics["val/recall@20"]) == pytest.approx(expected["recall@20"], abs=1e-6)


def test_ranking_nobody_is_refused():
    with pytest.raises(UserError, match=r"--ranking\.max_users 0: 1 or more wanted, or null for all"):
        RankingMetrics(max_users=0)


def test_embedding_all_equals_the_loader(root):
    cli = fit(root, "--trainer.logger=false")
    data, model = cli.datamodule, cli.model
    model.eval()
    z_user, z_movie = model.encoder.embed_all(data.split.val)
    with torch.no_grad():
        alone = MovieLensDataModule(str(root))  # without a Trainer, batches carry messages
        alone.setup()
        batch = next(iter(alone.val_dataloader()))
        logits = model(batch)
    user, movie = data.split.val["user", "rates", "movie"].edge_label_index[:, batch["user", "rates", "movie"].input_id]
    scores = dot_products(z_user, z_movie)(user)[torch.arange(len(user)), movie]
    assert torch.allclose(scores, logits, atol=1e-4)
