"""What training minimises. Losses of ranking compare a link with other movies of the same user."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """The scores of a batch.

    Attributes:
        logits: [num_labels] logits of the batch's links and non-links.
        label: [num_labels] float32, 1 for a link.
        candidates: [num_users, num_candidates] scores of movies to compare with; -inf where the user has rated one.
        log_count: [num_candidates] log of how often a candidate was drawn; 0 for a whole catalogue.
        user: [num_links] int64, the row of each link in ``candidates``.
        positive: [num_links] score of each link.
        weight: [num_links] weight of each link, with sum 1.
    """

    logits: Tensor
    label: Tensor
    candidates: Tensor
    log_count: Tensor
    user: Tensor
    positive: Tensor
    weight: Tensor


def bce(scores: Scores) -> Tensor:
    """Mean binary cross entropy of links and non-links."""
    return F.binary_cross_entropy_with_logits(scores.logits, scores.label)


def softmax(scores: Scores) -> Tensor:
    """Cross entropy of the user's next movie among all that it has not rated.

    Where the candidates are a sample, each score is corrected by the log of its frequency, so that popular movies,
    drawn more often, are not pushed down (Bengio and Senécal, "Quick training of probabilistic neural nets by
    importance sampling", AISTATS 2003; for recommending: Yi et al., "Sampling-bias-corrected neural modeling", RecSys
    2019). In full (Liang et al., "Variational autoencoders for collaborative filtering", WWW 2018) none is needed.
    """
    log_z = (scores.candidates - scores.log_count).logsumexp(dim=1)[scores.user]
    # The link itself is one of the movies it is compared with, drawn or not.
    log_z = torch.where(scores.log_count.any(), torch.logaddexp(log_z, scores.positive), log_z)
    return (scores.weight * (log_z - scores.positive)).sum()


def bpr(scores: Scores) -> Tensor:
    """Minus the log of the probability that a link scores above a candidate.

    Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009; here the mean over all
    candidates, not one that is drawn.
    """
    return _mean_over_candidates(scores, F.softplus)


def _mean_over_candidates(scores: Scores, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Candidates that the user has rated (-inf) add nothing, and are not counted."""
    total = scores.positive.new_zeros(())
    for part in torch.split(torch.arange(scores.user.numel(), device=scores.user.device), 1024):
        candidates = scores.candidates[scores.user[part]]
        compared = candidates.isfinite()
        margin = loss(candidates.masked_fill(~compared, 0.0) - scores.positive[part, None]) * compared
        total = total + (scores.weight[part] * margin.sum(dim=1) / compared.sum(dim=1).clamp(min=1)).sum()
    return total


LOSSES: dict[str, Callable[[Scores], Tensor]] = {"bce": bce, "bpr": bpr, "softmax": softmax}
