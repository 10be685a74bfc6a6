"""How popular a movie is now: links within a window that fits the data."""

import torch
from torch import Tensor

from lightning_lp.graph.sequences import Sequences

_DAY = 86_400
_WINDOWS = tuple(days * _DAY for days in (7.0, 30.0, 90.0, 365.0, 730.0, 1825.0, float("inf")))
_HELD_OUT = 0.1
"""Share of the links, the latest, that choose the window."""
_PRIOR = 0.1
"""Links that a movie without any counts as."""


def popularity_now(history: Sequences, num_movies: int) -> Tensor:
    """[num_movies] float32 log of how often each movie is chosen now.

    A link counts exp(-age / window). The window is that by which the latest tenth of the links is told best from those
    before them. Without times all links count the same.

    Args:
        history: the known links.
        num_movies: size of the catalogue.
    """
    if history.time is None or history.node.numel() < 2:
        return _log_share(history.node, torch.ones(history.node.numel()), num_movies)
    order = history.time.argsort(stable=True)
    node, time = history.node[order], history.time[order]
    cut = max(1, int(len(node) * (1 - _HELD_OUT)))
    likelihood = [
        float(_log_share(node[:cut], _decayed(time[:cut], window), num_movies)[node[cut:]].mean())
        for window in _WINDOWS
    ]
    best = _WINDOWS[max(range(len(_WINDOWS)), key=likelihood.__getitem__)]
    return _log_share(node, _decayed(time, best), num_movies)


def _decayed(time: Tensor, window: float) -> Tensor:
    return torch.exp(-(time[-1] - time).double() / window)


def _log_share(node: Tensor, value: Tensor, num_movies: int) -> Tensor:
    count = torch.bincount(node, weights=value.double(), minlength=num_movies) + _PRIOR
    return (count / count.sum()).log().float()
