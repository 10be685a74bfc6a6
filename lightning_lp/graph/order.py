"""The order in which a loader visits its links, and which process visits which."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from lightning_lp.graph.sampler import LinkNeighborSampler

_CHUNK = 1 << 16  # links turned into Python numbers at a time


class LinkOrder(DistributedSampler[int]):
    """Hands out link numbers so that several processes together do what one would.

    Training (``shuffle``): each epoch is a permutation that depends on the seed and the epoch. Every process is handed
    the same global batches of ``batch_size`` x ``num_replicas`` links; its ``LinkNeighborSampler`` samples its share of
    each, and knows what the others score. So that shares are equal, up to ``num_replicas`` - 1 links are left out of
    an epoch.

    With ``group`` the links of one group (such as those of one user) come one after another in training, in ascending
    order of their numbers, and the groups are in random order. With ``parts_per_group`` n each group is divided at
    random into n parts of equal size (but for one link); first comes a part of each group, then the next part of each,
    so that in the batches of one part the others can be what it is predicted from.

    Evaluation: in order, whatever the groups. Batch i goes to process i modulo ``num_replicas``, so every link is
    visited exactly once (PyTorch's own ``DistributedSampler`` repeats some, which changes the metrics), and batches
    are the same for any number of processes.

    It derives from ``DistributedSampler`` because Lightning leaves those alone and tells them the epoch. Where nobody
    does (an ordinary loop), each pass over it is the next epoch.

    Args:
        num_links: how many links there are.
        batch_size: links per batch of one process.
        shuffle: training or evaluation.
        seed: seed of the permutations.
        sampler: is told the epoch, too, when ``shuffle`` is set.
        num_replicas: number of processes.
        rank: number of this process.
        group: [num_links] int64, equal for links that are to stay together when ``shuffle`` is set. Default: each is
            shuffled by itself.
        parts_per_group: how many parts each group is divided into.

    Raises:
        ValueError: ``group`` has another length, or there are to be no parts.

    Attributes:
        first_batch: the batch to begin with, where training continues in the middle of an epoch.

    Examples:
        >>> from lightning_lp.graph.order import LinkOrder
        >>> list(LinkOrder(7, batch_size=2, shuffle=False))
        [0, 1, 2, 3, 4, 5, 6]
        >>> [list(LinkOrder(7, batch_size=2, shuffle=False, num_replicas=2, rank=rank)) for rank in (0, 1)]
        [[0, 1, 4, 5], [2, 3, 6]]
        >>> order = LinkOrder(7, batch_size=2, shuffle=True, seed=1)
        >>> first, second = list(order), list(order)  # two epochs
        >>> sorted(first) == sorted(second), first == second
        (True, False)
    """

    def __init__(
        self,
        num_links: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        sampler: LinkNeighborSampler | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        group: Tensor | None = None,
        parts_per_group: int = 1,
    ) -> None:
        super().__init__(
            range(num_links),  # type: ignore[arg-type]
            num_replicas=num_replicas,
            rank=rank,
            shuffle=shuffle,
            seed=seed,
        )
        self.num_links, self.batch_size, self.sampler = num_links, batch_size, sampler
        self.first_batch = 0
        if group is not None and tuple(group.shape) != (num_links,):
            raise ValueError(f"group: one number for each of {num_links} links wanted, got {list(group.shape)}")
        if parts_per_group < 1:
            raise ValueError(f"parts_per_group {parts_per_group}: 1 or more wanted")
        self._groups = _Groups(group.numpy(), parts_per_group) if shuffle and group is not None else None
        self.set_epoch(0)

    def advance(self) -> None:
        """Moves on to the next epoch, if this one has begun."""
        if self._has_begun:
            self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the order and of the neighbour sampler. Evaluation is the same in every epoch."""
        super().set_epoch(epoch)
        self._has_begun = False
        if self.shuffle and self.sampler is not None:
            self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        self.advance()
        self._has_begun = True
        order = self._order()
        for start, stop in islice(self._batches(), self.first_batch, None):
            for i in range(start, stop, _CHUNK):
                yield from order[i : min(stop, i + _CHUNK)].tolist()

    def _order(self) -> NDArray[Any]:
        """All link numbers, as this epoch visits them."""
        rng = np.random.default_rng([self.seed, self.epoch])
        if self._groups is not None:
            return self._groups.shuffled(rng)
        order = np.arange(self.num_links, dtype=np.min_scalar_type(self.num_links))
        if self.shuffle:
            rng.shuffle(order)
        return order

    def __len__(self) -> int:
        """Links of a whole epoch, wherever it begins: Lightning counts the batches with it."""
        return sum(stop - start for start, stop in self._batches())

    def _batches(self) -> Iterator[tuple[int, int]]:
        """The parts of the order that this process is handed."""
        step = self.num_replicas * self.batch_size
        if self.shuffle:
            end = self.num_links - self.num_links % self.num_replicas
            for start in range(0, end, step):
                yield start, min(start + step, end)
        else:
            for start in range(self.rank * self.batch_size, self.num_links, step):
                yield start, min(start + self.batch_size, self.num_links)


class _Groups:
    """Link numbers by group.

    Args:
        group: [num_links] int64.
        num_parts: parts of each group.
    """

    def __init__(self, group: NDArray[np.int64], num_parts: int) -> None:
        _, self._group, self._size = np.unique(group, return_inverse=True, return_counts=True)
        self._num_parts = num_parts

    def shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """All link numbers: of each part the groups in the same random order, each in ascending order."""
        place = np.empty_like(self._size)
        place[rng.permutation(len(place))] = np.arange(len(place))
        key = place[self._group]
        if self._num_parts > 1:
            key += len(place) * self._parts(rng)
        return key.argsort(kind="stable")

    def _parts(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """[num_links] the part of each link."""
        links = rng.permutation(len(self._group))
        links = links[self._group[links].argsort(kind="stable")]  # by group, in random order within each
        start = self._size.cumsum() - self._size
        place = np.arange(len(links)) - start.repeat(self._size)
        shift = rng.random(len(self._size)).repeat(self._size)  # a group of one link is in any part
        part = np.empty(len(links), np.int64)
        part[links] = np.minimum((place + shift) * self._num_parts / self._size.repeat(self._size), self._num_parts - 1)
        return part
