from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER, Columns
from lightning_lp.data.settings import Sampling, SplitSettings
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.errors import UserError
from lightning_lp.model.module import LinkPredictionModule


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("data") / "movies"
    write_movielens(folder, num_users=40, num_movies=60, num_ratings=900, seed=0)
    return str(folder)


def test_a_batch_larger_than_the_data_leaves_messages(root):
    data = MovieLensDataModule(root=root)
    data.setup()
    batches = list(data.train_dataloader())
    assert sum(int(batch[RATES].edge_label.sum()) for batch in batches) == 720
    for batch in batches:
        assert batch[REV_RATES].edge_index.size(1) == 720 - int(batch[RATES].edge_label.sum()) >= 630


def test_where_no_links_are_left_out_a_batch_is_as_large_as_asked(root):
    data = MovieLensDataModule(
        root=root, split=SplitSettings(disjoint_train_ratio=0.3), sampling=Sampling(exclude_seed_links=False)
    )
    data.setup()
    assert len(data.train_dataloader()) == 1


def test_titles_are_read_or_not(root):
    read, unread = (MovieLensDataModule(root=root, title_terms=use) for use in (True, False))
    assert read.num_terms > 0
    assert (unread.num_terms, unread.max_terms) == (0, 1)
    assert read.num_users == unread.num_users


@pytest.mark.parametrize("given", [None, [3]])
def test_links_of_a_user_are_together_where_the_model_groups_them(root, given):
    """And messages are sampled in evaluation, and in training if the settings say so."""
    data = MovieLensDataModule(
        root=root,
        split=SplitSettings("leave_last_out"),
        sampling=Sampling(num_neighbors=given, eval_num_neighbors=[-1]),
        batch_size=50,
    )
    sizes = data.num_users, data.num_movies, data.num_features, data.num_terms, data.max_terms
    module = LinkPredictionModule(*sizes, encoder="sequence")
    data.trainer = SimpleNamespace(world_size=1, global_rank=0, lightning_module=module)
    data.setup("fit")
    seen, messages = [], 0
    for batch in data.train_dataloader():
        is_link = batch[RATES].edge_label > 0
        seen += batch[USER].node_id[batch[RATES].edge_label_index[0, is_link]].tolist()
        messages += batch[REV_RATES].num_edges
    runs = [user for i, user in enumerate(seen) if i == 0 or seen[i - 1] != user]
    assert len(runs) == len(set(seen)) == 40
    assert sorted(seen) == data.split.train_links[0].tolist()
    assert (messages > 0) is (given is not None)
    assert min(batch[REV_RATES].num_edges for batch in data.val_dataloader()) > 0


def of_user(batch, user, edge_label_index):
    return batch[MOVIE].node_id[edge_label_index[1, batch[USER].node_id[edge_label_index[0]] == user]].tolist()


def test_half_of_a_users_links_are_learned_from_the_other_half(root):
    """In each epoch each link once; and non-links count as if they were pairs of any users."""
    data = MovieLensDataModule(root=root, batch_size=50)
    sizes = data.num_users, data.num_movies, data.num_features, data.num_terms, data.max_terms
    module = LinkPredictionModule(*sizes, encoder="history")
    data.trainer = SimpleNamespace(world_size=1, global_rank=0, lightning_module=module)
    data.setup("fit")
    known = data.split.train_links
    degree = torch.bincount(known[0], minlength=40)
    learned, halves, counted = [], 0, torch.zeros(40)
    for batch in data.train_dataloader():
        links = batch[RATES].edge_label_index[:, batch[RATES].edge_label > 0]
        learned += torch.stack([batch[USER].node_id[links[0]], batch[MOVIE].node_id[links[1]]]).T.tolist()
        for user in batch[USER].node_id.tolist():
            now, before = (of_user(batch, user, pairs) for pairs in (links, batch[REV_RATES].edge_index.flip(0)))
            assert sorted(now + before) == known[1, known[0] == user].tolist()
            halves += abs(len(now) - len(before)) <= 1
        user = batch[RATES].edge_label_index[0, batch[RATES].edge_label == 0]
        counted.index_add_(0, batch[USER].node_id[user], batch[USER].non_link_weight[user])
    assert sorted(learned) == known.T.tolist()
    assert halves >= 60, "but for those that a batch begins or ends with"
    left = (data.num_movies - degree).float()
    torch.testing.assert_close(counted, left / left.sum() * 2 * known.size(1))


class OwnModule(pl.LightningModule):
    """A user's model, with a name that ours has too."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding(40, 2)
        self.messages: list[int] = []

    def training_step(self, batch, batch_idx):
        return self.embeddings(batch["user"].node_id).sum()

    def validation_step(self, batch, batch_idx):
        self.messages.append(batch[REV_RATES].num_edges)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_an_own_module_is_given_messages_whatever_its_attributes_are_called(root, tmp_path):
    module = OwnModule()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=MovieLensDataModule(root=root))
    assert min(module.messages) > 0


def test_milliseconds_are_split_as_the_same_seconds(root, tmp_path):
    header, *rows = (Path(root) / "ratings.csv").read_text().splitlines()
    (tmp_path / "ratings.csv").write_text("\n".join([header, *(f"{row}000" for row in rows)]))
    (tmp_path / "movies.csv").write_bytes((Path(root) / "movies.csv").read_bytes())
    seconds, milliseconds = (
        MovieLensDataModule(root=str(path), split=SplitSettings("temporal")) for path in (root, tmp_path)
    )
    for data in (seconds, milliseconds):
        data.setup()
    assert milliseconds.split.fingerprint == seconds.split.fingerprint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"genres_separator": ""}, r"--data\.genres_separator : a character or more wanted"),
        ({"unknown_movies": "ask"}, r"--data\.unknown_movies ask: refuse, drop or keep wanted"),
        ({"ratings_file": " "}, r"--data\.ratings_file  : the name of a file wanted"),
        (
            {"columns": {"movie_id": "title"}},
            r"--data\.columns\.movie_id title: another column than --data\.columns\.title",
        ),
        (
            {"columns": {"rating": "userId"}},
            r"--data\.columns\.rating userId: another|--data\.columns\.user userId: another",
        ),
    ],
)
def test_settings_that_cannot_be_right(root, settings, message):
    with pytest.raises(UserError, match=message):
        MovieLensDataModule(root=root, **settings)


def test_settings_of_two_files_may_be_alike(root):
    for columns in (
        Columns(movie_id="userId"),
        Columns(movie_id="movieId"),
        Columns(rating=None, time=None, title=None, genres=None),
    ):
        assert MovieLensDataModule(root=root, columns=columns).columns == columns


def test_a_run_finds_its_tables_from_any_folder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "films.csv").write_bytes((Path(root) / "movies.csv").read_bytes())
    data = MovieLensDataModule(root=root, movies_file="other/films.csv")
    assert data.hparams["movies_file"] == str(tmp_path / "other" / "films.csv")
    assert data.hparams["ratings_file"] == "ratings.csv"
    monkeypatch.chdir("/")
    assert MovieLensDataModule(**{name: data.hparams[name] for name in ("root", "movies_file")}).num_movies == 60
