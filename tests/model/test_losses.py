import math
from types import SimpleNamespace

import pytest
import torch

from lightning_lp.model.losses import LOSSES


@pytest.fixture
def scores():
    torch.manual_seed(0)
    candidates = torch.randn(3, 5)
    candidates[0, 2] = -math.inf
    user, movie = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 3, 4])
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4])
    positive = candidates[user, movie]
    return SimpleNamespace(
        logits=torch.randn(6),
        label=torch.tensor([1.0, 1, 1, 1, 0, 0]),
        label_weight=None,
        candidates=candidates,
        log_normalizer=candidates.logsumexp(dim=1),
        is_sample=False,
        user=user,
        positive=positive,
        weight=weight,
    )


def loop(scores, one):
    """The weighted mean over links of a function of a link's score and its user's unseen candidates."""
    total = 0.0
    for user, positive, weight in zip(scores.user.tolist(), scores.positive.tolist(), scores.weight.tolist()):  # noqa: B905
        total += weight * one(positive, [s for s in scores.candidates[user].tolist() if s > -math.inf])
    return total


def test_softmax_against_a_loop(scores):
    expected = loop(scores, lambda s, others: math.log(sum(math.exp(o) for o in others)) - s)
    assert float(LOSSES["softmax"](scores)) == pytest.approx(expected, abs=1e-5)


def test_bpr_against_a_loop(scores):
    expected = loop(scores, lambda s, others: sum(math.log1p(math.exp(o - s)) for o in others) / len(others))
    assert float(LOSSES["bpr"](scores)) == pytest.approx(expected, abs=1e-5)


def test_bce_against_a_loop(scores):
    pairs = zip(scores.logits.sigmoid().tolist(), scores.label.tolist(), strict=True)
    expected = -sum(math.log(p if label else 1 - p) for p, label in pairs) / 6
    assert float(LOSSES["bce"](scores)) == pytest.approx(expected, abs=1e-5)


def test_bce_weighs_labels_and_divides_by_their_number(scores):
    scores.label_weight = torch.tensor([1.0, 1, 1, 1, 5, 0.5])
    terms = torch.nn.functional.binary_cross_entropy_with_logits(scores.logits, scores.label, reduction="none")
    expected = float((terms * scores.label_weight).sum() / 6)
    assert float(LOSSES["bce"](scores)) == pytest.approx(expected, abs=1e-5)


def test_log_counts_undo_how_often_a_movie_is_drawn():
    """Drawn by popularity with correction, the loss has the gradient of the whole catalogue, on average."""
    torch.manual_seed(0)
    catalogue = torch.randn(1, 6)
    frequency = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    num = 20_000
    drawn, counts = torch.multinomial(frequency, num, replacement=True).unique(return_counts=True)
    log_count = (frequency * num).log()  # the expected counts
    corrected = catalogue[:, drawn].repeat_interleave(counts, dim=1) - log_count[drawn].repeat_interleave(counts)
    assert float(corrected.logsumexp(1)) == pytest.approx(float(catalogue.logsumexp(1)), abs=0.05)
    sampled = SimpleNamespace(
        log_normalizer=(catalogue[:, drawn] - counts.float().log()).logsumexp(1),
        is_sample=True,
        user=torch.tensor([0]),
        positive=catalogue[0, :1],
        weight=torch.ones(1),
    )
    # Each distinct candidate once, divided by its count: a lower bound that never sees the popular ones twice.
    expected = torch.logaddexp((catalogue[:, drawn] - counts.float().log()).logsumexp(1), sampled.positive)
    expected = expected - sampled.positive
    assert float(LOSSES["softmax"](sampled)) == pytest.approx(float(expected), abs=1e-5)
