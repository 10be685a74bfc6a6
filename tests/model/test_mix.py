"""What the parts of a score count is chosen by validation links, and by nothing else."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES, REV_RATES
from lightning_lp.model.encoders import sequence
from lightning_lp.model.encoders.mix import choose_weights, gain, judged_links, scale_and_level
from lightning_lp.model.module import LinkPredictionModule
from tests.model.test_sequence import NUM_MOVIES, made, timed_graph

WEIGHTS = 0.5, 0.1, 1.0, 2.0


@given(st.integers(0, 2**31), st.integers(1, 50), st.integers(2, 30))
def test_what_ranks_within_a_standard_error_of_the_best_is_taken_first(seed, num_links, num_movies):
    rng = np.random.default_rng(seed)
    scores, part = (torch.from_numpy(rng.integers(-3, 4, (num_links, num_movies))).float() for _ in range(2))
    target = torch.from_numpy(rng.integers(0, num_movies, num_links))
    (chosen,) = choose_weights(scores, [part], [WEIGHTS], torch.arange(num_links), target)
    gains = []
    for weight in WEIGHTS:
        total = (scores + weight * part).numpy()
        of_target = total[np.arange(num_links), target.numpy()][:, None]
        place = (total > of_target).sum(1) + ((total == of_target).sum(1) + 1) / 2
        gains.append(1 / np.log2(1 + place))
    best = max(gains, key=np.mean)
    good = [np.mean(best - each) <= np.std(best - each) / np.sqrt(num_links) + 1e-6 for each in gains]
    sure = [np.mean(best - each) <= np.std(best - each) / np.sqrt(num_links) - 1e-6 for each in gains]
    assert WEIGHTS.index(chosen) in {good.index(True), (sure.index(True) if any(sure) else good.index(True))}


def test_a_part_counts_as_much_as_it_tells_and_noise_nothing():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(50, (500,), generator=generator)
    scores, telling, noise = torch.randn(3, 500, 50, generator=generator)
    telling[torch.arange(500), target] += 2
    tried = [(0.0, 1.0), (0.0, 1.0)]
    assert choose_weights(scores, [telling, noise], tried, torch.arange(500), target) == [1.0, 0.0]
    assert choose_weights(scores, [noise, telling], tried, torch.arange(500), target) == [0.0, 1.0]


def test_the_same_links_are_judged_and_fewer_of_a_large_catalogue():
    links = torch.arange(20_000).expand(2, -1)
    assert torch.equal(judged_links(links, 10), judged_links(links, 10))
    assert [judged_links(links, num).size(1) for num in (10, 2**16, 2**40)] == [8192, 256, 1]
    assert sorted(judged_links(links[:, :7], 10)[0].tolist()) == list(range(7))


def test_what_is_judged_are_the_scores_of_the_encoder(monkeypatch):
    """But for a constant of each user, its normaliser."""
    graph, given_to = timed_graph(), {}
    encoder = made(graph)

    def spy(scores, parts, tried, row, target):
        given_to.update(scores=scores[row], parts=[parts[0][row], parts[1]], target=target)
        return [0.7, 0.3]

    monkeypatch.setattr(sequence, "choose_weights", spy)
    pairs = torch.cartesian_prod(torch.arange(20), torch.arange(NUM_MOVIES)).T
    is_link = torch.zeros(20, NUM_MOVIES, dtype=torch.bool)
    is_link[tuple(graph[RATES].edge_index)] = True
    encoder.choose_on_validation(graph, pairs, (~is_link[tuple(pairs)]).float())
    torch.testing.assert_close(encoder.weight, torch.tensor([0.7, 0.3]))
    z_user, z_movie = encoder.embed_all(graph)
    user = judged_links(pairs[:, ~is_link[tuple(pairs)]], NUM_MOVIES)[0]
    learned, popular = given_to["parts"]
    found, wanted = given_to["scores"] + 0.7 * learned + 0.3 * popular, (z_user @ z_movie.T)[user]
    assert torch.equal(found == -torch.inf, is_link[user])
    level = torch.where(is_link[user], 0.0, found - wanted)
    assert not level.isnan().any()
    assert level.abs().max() > 0.1, "the encoder's scores are normalised"
    for row, seen in zip(level, is_link[user], strict=True):
        torch.testing.assert_close(row[~seen], row[~seen][:1].expand(int((~seen).sum())), rtol=1e-4, atol=1e-3)
    assert torch.equal(judged_links(pairs[:, ~is_link[tuple(pairs)]], NUM_MOVIES)[1], given_to["target"])


@pytest.mark.parametrize("links", ["none", "of users without history"])
def test_nothing_is_chosen_where_nothing_tells(links):
    graph = timed_graph()
    for store, row in ((graph[RATES], 0), (graph[REV_RATES], 1)):
        is_kept = store.edge_index[row] != 3
        for name in ("edge_index", "time", "rating"):
            store[name] = store[name][..., is_kept]
    encoder = made(graph)
    before = encoder.weight.clone()
    pairs = torch.empty(2, 0, dtype=torch.int64) if links == "none" else torch.tensor([[3, 3], [1, 2]])
    encoder.choose_on_validation(graph, pairs, torch.ones(pairs.size(1)))
    assert torch.equal(encoder.weight, before)


def test_a_gain_is_that_of_ndcg():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0], [-torch.inf, 0.0, 1.0]])
    torch.testing.assert_close(
        gain(scores, torch.tensor([1, 0, 2])), torch.tensor([1 / np.log2(3), 1 / np.log2(2.5), 1]).float()
    )


def test_a_fit_chooses_before_each_validation_and_a_checkpoint_has_it(root, tmp_path, monkeypatch):
    """Neither the check before training nor what validates and tests later chooses."""
    told = []

    def choose(encoder, graph, *labels):
        told.append((graph, *labels))
        encoder.weight.copy_(torch.tensor([len(told), 0.0]))

    monkeypatch.setattr(sequence.SequenceEncoder, "choose_on_validation", choose)
    data = MovieLensDataModule(root, split={"strategy": "leave_last_out"})
    data.setup()
    small = {"hidden_channels": 8, "transition_channels": 4, "spectral_channels": 8}
    encoder = sequence.SequenceEncoder(**small)
    sizes = data.num_users, data.num_movies, data.num_features, data.num_terms, data.max_terms
    model = LinkPredictionModule(*sizes, encoder=encoder)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=1, default_root_dir=tmp_path, **quiet)
    trainer.fit(model, data)
    assert len(told) == 2
    val = data.split.val
    for graph, pairs, label in told:
        assert graph is val
        assert torch.equal(pairs, val[RATES].edge_label_index)
        assert torch.equal(label, val[RATES].edge_label)
    path = trainer.checkpoint_callback.best_model_path
    trainer.validate(model, data, verbose=False)
    trainer.test(model, data, verbose=False)
    assert len(told) == 2
    assert LinkPredictionModule.load_from_checkpoint(path).encoder.weight.tolist() == [2.0, 0.0]


@given(st.integers(0, 2**31), st.floats(0.2, 5), st.floats(-2, 2))
def test_scale_and_level_are_those_that_labels_were_drawn_with(seed, scale, level):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=20_000)
    is_link = rng.random(20_000) < 1 / (1 + np.exp(-(scale * logits + level)))
    found = scale_and_level(torch.from_numpy(logits).float(), torch.from_numpy(is_link))
    assert found == pytest.approx((scale, level), rel=0.15, abs=0.15)


def test_logits_that_mislead_keep_their_order():
    logits = torch.linspace(-3, 3, 1000)
    assert scale_and_level(logits, logits < 0) == (1.0, 0.0)
    assert scale_and_level(logits, logits > 0)[0] > 5  # finite, though nothing bounds it but the prior
