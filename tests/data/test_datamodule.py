from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.data.synthetic import write_movielens


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
    data = MovieLensDataModule(root=root, disjoint_train_ratio=0.3, exclude_seed_links=False)
    data.setup()
    assert len(data.train_dataloader()) == 1


def test_titles_are_read_or_not(root):
    read, unread = (MovieLensDataModule(root=root, title_terms=use) for use in (True, False))
    assert read.num_terms > 0
    assert (unread.num_terms, unread.max_terms) == (0, 1)
    assert read.num_users == unread.num_users


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
