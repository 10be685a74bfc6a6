"""How well scores tell a held-out link from its own non-links: which movie, and not which user."""

import torch
from torch import Tensor

LABEL_METRICS = ("label_mrr", "user_auroc")
"""Names of the metrics; see :func:`label_metrics`."""


def label_metrics(
    edge_label_index: Tensor, edge_label: Tensor, edge_label_time: Tensor, scores: Tensor
) -> dict[str, float]:
    """Judges the labels of a part of a split by time, whose non-links stand beside links of the same source and time.

    - ``label_mrr``: the mean over links of 1 / place among their own non-links, those of equal score half before and
      half behind (Huang et al., "Temporal graph benchmark for machine learning on temporal graphs", NeurIPS 2023);
    - ``user_auroc``: the mean over sources of the share of their (link, non-link) pairs in the right order, ties
      counted half (Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009, section 6.2).

    Links without non-links of their own are left out, as there is no order to judge.

    Args:
        edge_label_index: [2, num_labels] int64 (source, destination).
        edge_label: [num_labels], 1 for a link and 0 for a non-link.
        edge_label_time: [num_labels] int64.
        scores: [num_labels] floats.

    Returns:
        Both, NaN where there is nothing to judge.

    Examples:
        >>> import torch
        >>> from lightning_lp.evaluation.label_metrics import label_metrics
        >>> links, time = torch.tensor([[0, 0, 0, 1, 1], [5, 6, 7, 5, 6]]), torch.tensor([9, 9, 9, 8, 8])
        >>> label, scores = torch.tensor([1, 0, 0, 1, 0]), torch.tensor([0.3, 0.8, 0.1, 0.9, 0.2])
        >>> label_metrics(links, label, time, scores)
        {'label_mrr': 0.75, 'user_auroc': 0.75}
    """
    source, is_link = edge_label_index[0], edge_label > 0
    query = torch.unique(torch.stack([source, edge_label_time]), dim=1, return_inverse=True)[1]
    num, above, tied = _non_links_above(query, is_link, scores)
    reciprocal = 1 / (1 + above + tied / 2)
    values = {"label_mrr": reciprocal[num > 0].mean()}
    num, above, tied = _non_links_above(source, is_link, scores)
    of_link = (1 - (above + tied / 2) / num)[num > 0]
    users, row = torch.unique(source[is_link][num > 0], return_inverse=True)
    sums = of_link.new_zeros(users.numel()).index_add(0, row, of_link)
    values["user_auroc"] = (sums / torch.bincount(row, minlength=users.numel())).mean()
    return {name: float(value) for name, value in values.items()}


def _non_links_above(group: Tensor, is_link: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each link how many non-links its group has, how many are scored higher, and how many equally: float64."""
    known, level = torch.unique(scores, return_inverse=True)
    key = group * known.numel() + level
    others = key[~is_link].sort().values
    first = group[is_link] * known.numel()
    start, end = torch.searchsorted(others, torch.stack([first, first + known.numel()]))
    below, up_to = torch.searchsorted(others, key[is_link]), torch.searchsorted(others, key[is_link], right=True)
    return (end - start).double(), (end - up_to).double(), (up_to - below).double()
