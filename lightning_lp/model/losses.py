"""What training minimises. Losses of ranking compare a link with other movies of the same user."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_lp.model.scores import BatchScores


def bce(scores: BatchScores) -> Tensor:
    """Mean binary cross entropy of links and non-links, which are weighted where they are not pairs of any users."""
    return F.binary_cross_entropy_with_logits(scores.logits, scores.label, scores.label_weight)


def softmax(scores: BatchScores) -> Tensor:
    """Cross entropy of the user's next movie among all that it has not rated.

    Where the candidates are a sample, each score is corrected by the log of its frequency, so that popular movies,
    drawn more often, are not pushed down (Bengio and Senécal, "Quick training of probabilistic neural nets by
    importance sampling", AISTATS 2003; for recommending: Yi et al., "Sampling-bias-corrected neural modeling", RecSys
    2019). In full (Liang et al., "Variational autoencoders for collaborative filtering", WWW 2018) none is needed.
    """
    log_z = scores.log_normalizer[scores.user]
    if scores.is_sample:  # the link itself is one of the movies it is compared with
        log_z = torch.logaddexp(log_z, scores.positive)
    return (scores.weight * (log_z - scores.positive)).sum()


def bpr(scores: BatchScores) -> Tensor:
    """Minus the log of the probability that a link scores above a candidate.

    Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009; here the mean over all
    candidates, not one that is drawn.
    """
    return _mean_over_candidates(scores, F.softplus)


def _mean_over_candidates(scores: BatchScores, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Candidates that the user has rated (-inf) add nothing, and are not counted."""
    total = scores.positive.new_zeros(())
    for part in torch.split(torch.arange(scores.user.numel(), device=scores.user.device), 1024):
        candidates = scores.candidates[scores.user[part]]
        compared = candidates.isfinite()
        margin = loss(candidates.masked_fill(~compared, 0.0) - scores.positive[part, None]) * compared
        total = total + (scores.weight[part] * margin.sum(dim=1) / compared.sum(dim=1).clamp(min=1)).sum()
    return total


LOSSES: dict[str, Callable[[BatchScores], Tensor]] = {"bce": bce, "bpr": bpr, "softmax": softmax}
