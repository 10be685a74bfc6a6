"""The loader of mini-batches, which can continue in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader


class LinkLoader(LinkNeighborLoader):  # type: ignore[misc]
    """A ``LinkNeighborLoader`` over a ``LinkOrder`` that knows where it is.

    Lightning saves its state in each checkpoint and hands it back before the first batch. As a batch depends on
    nothing but the seed, the epoch and its number, that place is all it takes to go on with the very next batch.
    Batches that workers have sampled ahead of the model do not count.
    """

    _epoch, _batch = 0, 0
    _start: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[HeteroData]:
        order, start, self._start = self.sampler, self._start, None
        self._epoch = getattr(order, "epoch", 0)  # Lightning puts another sampler there for --trainer.overfit_batches
        self._batch = start[1] if start is not None and start[0] == self._epoch else 0
        order.first_batch = self._batch
        for batch in super().__iter__():
            yield batch
            self._batch += 1

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the number in it of the batch that was handed out last."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the epoch of that state, if it comes next, begin with that batch."""
        self._start = state_dict["epoch"], state_dict["batch"]
