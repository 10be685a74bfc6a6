"""What random draws depend on: the seed, the epoch and what is drawn, and nothing else."""

import warnings

import numpy as np
import torch

from lightning_lp.graph import kernel

NEGATIVES, NEIGHBORS = 1, 2
"""What a key is for."""


class Draws:
    """Keys of the kernels' draws.

    Args:
        seed: seed of every draw.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._knows_epoch = seed, False
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # also seen by running workers

    def set_epoch(self, epoch: int) -> None:
        """Makes the draws of this epoch from now on, also in workers that are already running."""
        self._epoch.fill_(epoch)
        self._knows_epoch = True

    def key(self, *what: int | np.int64) -> np.int64:
        """The key of the draws for ``what``, in this epoch."""
        return kernel.hash_array(np.array([self._seed, int(self._epoch), *what]))

    def warn_of_one_epoch(self) -> None:
        """Says, once, that nobody tells the epoch."""
        if self._knows_epoch:
            return
        self._knows_epoch = True
        warnings.warn(
            "nobody tells the LinkNeighborSampler which epoch it is, so each would draw the same negatives: give "
            "the loader sampler=LinkOrder(num_links, batch_size, shuffle=True, sampler=...), or call set_epoch",
            stacklevel=3,
        )
