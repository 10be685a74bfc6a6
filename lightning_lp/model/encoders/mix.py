"""How much the parts of a score count, chosen by links that none of them has seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

_MAX_LINKS = 8192
"""That weights are chosen by."""
_MAX_SCORES = 2**26
"""Of those links: of a large catalogue fewer are judged."""


def judged_links(edge_index: Tensor, num_movies: int) -> Tensor:
    """[2, num_judged] some of the links, always the same, by which weights are chosen.

    Args:
        edge_index: [2, num_links] int64.
        num_movies: size of the catalogue, each of which is scored for each link.
    """
    order = torch.randperm(edge_index.size(1), generator=torch.Generator().manual_seed(0))
    return edge_index[:, order[: max(1, min(_MAX_LINKS, _MAX_SCORES // num_movies))].to(edge_index.device)]


def choose_weights(
    scores: Tensor, parts: Sequence[Tensor], tried: Sequence[Sequence[float]], target: Tensor
) -> list[float]:
    """Chooses what each part counts in a sum of scores, one after the other: what ranks best.

    Of two weights whose difference may be chance (within a standard error of the difference: Breiman et al.,
    "Classification and Regression Trees", 1984, section 3.4.3) the one that stands first is taken.

    Args:
        scores: [num_links, num_movies] what the others are added to; -inf for movies that are no candidates.
        parts: what is added, each [num_links, num_movies] or [num_movies].
        tried: of each part the weights to try.
        target: [num_links] int64, the movie of each link.

    Examples:
        >>> import torch
        >>> from lightning_lp.model.encoders.mix import choose_weights
        >>> scores, part = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0.0, 2.0, 4.0])
        >>> [choose_weights(scores, [part], [(0.0, 0.6, 1.0)], torch.tensor([movie])) for movie in range(3)]
        [[0.0], [0.0], [0.6]]
    """
    chosen = []
    for part, weights in zip(parts, tried, strict=True):
        gains = torch.stack([gain(torch.add(scores, part, alpha=weight), target) for weight in weights])
        behind = gains[gains.mean(dim=1).argmax()] - gains
        is_good = behind.mean(dim=1) <= behind.std(dim=1, correction=0) / target.numel() ** 0.5
        chosen.append(weights[int(is_good.nonzero()[0])])
        scores = torch.add(scores, part, alpha=chosen[-1])
    return chosen


def gain(scores: Tensor, target: Tensor) -> Tensor:
    """1 / log2(1 + place of the target) in each row, as in NDCG; of equal scores half are before it."""
    reached = scores.gather(1, target[:, None])
    place = (scores > reached).sum(dim=1) + ((scores == reached).sum(dim=1) + 1) / 2
    return 1 / (1 + place).log2()
