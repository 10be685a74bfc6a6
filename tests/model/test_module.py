import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch_geometric.loader import LinkNeighborLoader
from torchmetrics.functional.classification import binary_calibration_error

from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.model.module import LinkPredictionModule
from tests.graph.test_sampler import make_loader, make_sampler
from tests.graphs import history_module, make_graph, random_links, sage_module, train_alone


def trainer(**options: object) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", **quiet, **options)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_world_with_a_known_answer():
    """20 users like the 20 movies of their parity. The one left out must come first among all unseen movies."""
    pl.seed_everything(0)
    user, movie = torch.cartesian_prod(torch.arange(20), torch.arange(20)).t()
    liked = ((user + movie) % 2 == 0) & (user != movie)
    data = make_graph(torch.stack([user[liked], movie[liked]]), 20, 20)
    data[MOVIE].x = torch.zeros(20, 1)
    module = sage_module(20, 20, 0, hidden_channels=8, lr=0.01, weight_decay=1e-3)
    trainer(max_epochs=20).fit(module, make_loader(data, [-1, -1], batch_size=32))
    module.eval()
    with torch.no_grad():
        z_dict = module.encoder(data)
        scores = z_dict[USER] @ z_dict[MOVIE].t()
    scores[data[RATES].edge_index[0], data[RATES].edge_index[1]] = -torch.inf
    assert scores.argmax(dim=1).tolist() == list(range(20))


@pytest.fixture
def labelled_loader() -> LinkNeighborLoader:
    data = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    links = random_links(20, 30, 101, seed=1)
    label = torch.bernoulli(torch.full((101,), 0.3), generator=torch.Generator().manual_seed(0))
    sampler = make_sampler(data, [-1, -1])
    return LinkNeighborLoader(
        data, [-1, -1], edge_label_index=(RATES, links), edge_label=label, neighbor_sampler=sampler, batch_size=7
    )


def test_metrics_are_those_of_all_labels_together(labelled_loader):
    module = sage_module(20, 30, 3, hidden_channels=8)
    module.encoder.user_emb.weight.data *= 5  # large logits: given these, torchmetrics would guess
    found = trainer().test(module, labelled_loader, verbose=False)[0]
    module.eval()
    with torch.no_grad():
        logits = torch.cat([module(batch) for batch in labelled_loader])
    label = labelled_loader.input_data.label
    assert found["test/auroc"] == pytest.approx(roc_auc_score(label, logits.sigmoid()), abs=1e-6)
    assert found["test/average_precision"] == pytest.approx(average_precision_score(label, logits.sigmoid()), abs=1e-6)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
    assert found["test/loss"] == pytest.approx(float(loss), abs=1e-5)


def test_an_evaluation_begins_with_metrics_of_its_own():
    """Processes that were spawned find all tensors of the module in memory that they share."""
    module = sage_module(20, 30, 3, hidden_channels=8)
    for stage in ("val", "test"):
        mean = getattr(module, f"{stage}_loss")
        mean.update(torch.tensor(3.0))
        mean.mean_value.share_memory_()
        getattr(module, f"on_{'validation' if stage == 'val' else stage}_epoch_start")()
        assert not mean.mean_value.is_shared()
        assert float(mean.weight) == 0


@pytest.mark.parametrize("encoder", ["sage", "history"])
def test_mixed_precision_keeps_scores_and_metrics_in_float32(encoder):
    """bfloat16 would leave a few hundred scores, and ties would decide the metrics."""
    data = make_graph(random_links(60, 80, 900, seed=0), 60, 80)
    links = random_links(60, 80, 2000, seed=1)
    label = torch.bernoulli(torch.full((2000,), 0.3), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    module = (
        sage_module(60, 80, 3, hidden_channels=64)
        if encoder == "sage"
        else history_module(60, 80, 3, 0, 1, hidden_channels=64)
    )
    num_neighbors = [-1, -1] if encoder == "sage" else {RATES: [0], REV_RATES: [-1]}
    loader = LinkNeighborLoader(
        data,
        num_neighbors,
        edge_label_index=(RATES, links),
        edge_label=label,
        neighbor_sampler=make_sampler(data, num_neighbors),
        batch_size=500,
    )
    scores: list[torch.Tensor] = []
    module.register_forward_hook(lambda _, inputs, output: scores.append(output))
    found = trainer(precision="bf16-mixed").test(module, loader, verbose=False)[0]
    logits = torch.cat(scores)
    assert logits.dtype == torch.float32
    assert logits.numel() == 2000
    assert logits.unique().numel() > 1018 > logits.bfloat16().unique().numel()
    exact = logits.double()
    assert found["test/auroc"] == pytest.approx(roc_auc_score(label, exact), abs=1e-6)
    assert found["test/average_precision"] == pytest.approx(average_precision_score(label, exact), abs=1e-6)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
    assert found["test/loss"] == pytest.approx(float(loss), abs=1e-6)
    calibration = binary_calibration_error(logits.sigmoid(), label.long(), n_bins=10, norm="l1")
    assert found["test/calibration_error"] == pytest.approx(float(calibration), abs=1e-6)


def test_every_parameter_learns():
    """DDP would hang on one that gets no gradient."""
    data = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    module = sage_module(20, 30, 3, hidden_channels=8)
    loader = make_loader(data, [3, 3], batch_size=64)
    for batch in loader:
        batch[MOVIE].x = data[MOVIE].x[batch[MOVIE].node_id]
        module(batch).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("losses", [{"softmax": 1.0}, {"bpr": 1.0}, {"softmax": 1.0, "bce": 1.0}])
def test_every_parameter_of_the_default_model_is_in_the_loss(losses):
    data = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    module = history_module(20, 30, 3, 0, 1, losses=losses)
    train_alone(module)
    batch = next(iter(make_loader(data, {RATES: [0], REV_RATES: [-1]}, batch_size=64)))
    module.training_step(batch, 0).backward()
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in learning)


def test_a_checkpoint_alone_rebuilds_the_module(tmp_path):
    module = sage_module(20, 30, 3, num_layers=3, hidden_channels=8)
    run = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    run.strategy.connect(module)
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = LinkPredictionModule.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.hparams == module.hparams
    for name, value in module.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_fused_adam_is_adam_and_clipping_works_under_mixed_precision():
    data = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    weights = []
    for options in ({}, {"gradient_clip_val": 1e6}):  # the second is not fused, and clips nothing
        pl.seed_everything(0)
        module = sage_module(20, 30, 0, hidden_channels=8)
        trainer(max_epochs=3, **options).fit(module, make_loader(data, [-1, -1], batch_size=32))
        weights.append(torch.cat([weight.detach().flatten() for weight in module.parameters()]))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
    clipping = trainer(max_epochs=1, gradient_clip_val=0.1, precision="bf16-mixed")
    clipping.fit(sage_module(20, 30, 0, hidden_channels=8), make_loader(data, [-1, -1], batch_size=32))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("encoder", ["history", "sage"])
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_every_precision_trains(encoder, precision, monkeypatch):
    monkeypatch.setattr(
        LinkPredictionModule, "setup", lambda self, stage: None
    )  # there is no data module to start from
    data = make_graph(random_links(20, 30, 150, seed=0), 20, 30)
    if encoder == "history":
        module, fan_out = history_module(20, 30, 3, 0, 1), [-1]
    else:
        module, fan_out = sage_module(20, 30, 3, hidden_channels=8), [3, 3]
    start = [parameter.clone() for parameter in module.parameters() if parameter.requires_grad]
    loader = make_loader(data, fan_out, batch_size=32)
    loader.data[MOVIE].x = data[MOVIE].x
    trainer(max_epochs=1, precision=precision).fit(module, loader)
    now = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert all(parameter.isfinite().all() for parameter in now)
    assert any(not torch.equal(old.float(), new.float()) for old, new in zip(start, now, strict=True))
    z_user, z_movie = module.encoder.embed_all(data)
    assert z_user.dtype == z_movie.dtype == torch.float32
    assert (z_user @ z_movie.T).isfinite().all()
