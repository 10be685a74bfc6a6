"""Links that are tied in time with another of their source: neither is earlier than the other."""

import numpy as np
import torch
from torch import Tensor


def is_tied(source: Tensor, time: Tensor) -> Tensor:
    """Which links share source and time with another.

    Args:
        source: [num_links] int64 source of each link.
        time: [num_links] time of each.

    Returns:
        [num_links] bool.

    Examples:
        >>> import torch
        >>> from lightning_lp.graph.ties import is_tied
        >>> is_tied(torch.tensor([0, 0, 0, 1]), torch.tensor([5, 7, 5, 7]))
        tensor([ True, False,  True, False])
    """
    src, when = source.numpy(), time.numpy()
    order = np.lexsort([when, src])
    as_before = (np.diff(src[order]) == 0) & (np.diff(when[order]) == 0)
    tied = np.zeros(len(src), bool)
    tied[order[1:]] = as_before
    tied[order[:-1]] |= as_before
    return torch.from_numpy(tied)
