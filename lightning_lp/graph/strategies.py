"""Which links are held out: an array that tells for each link its part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.errors import UserError

Strategy = Literal["random", "temporal", "leave_last_out"]
Index = NDArray[np.integer[Any]]
Assignment = NDArray[np.uint8]
"""For each link, in the graph's own order, which part it belongs to."""

TRAIN, VAL, TEST = np.arange(3, dtype=np.uint8)


@dataclass(frozen=True)
class Times:
    """The links to divide, and when they were made.

    Attributes:
        links: [2, num_links] int64.
        time: [num_links] any numbers that can be ordered; None: unknown.
        time_attr: what they are called.
        is_undirected: whether a link has no source.
    """

    links: Tensor
    time: NDArray[Any] | None
    time_attr: str
    is_undirected: bool

    def needed(self) -> NDArray[Any]:
        """The times.

        Raises:
            UserError: there are none.
        """
        if self.time is None:
            raise UserError(
                f"this split needs the time of each link, and the links have no attribute {self.time_attr}: "
                "use another `strategy`, or name it with `time_attr`"
            )
        return self.time


def partition(
    times: Times, strategy: Strategy, num_val: float, num_test: float, rng: np.random.Generator
) -> Assignment:
    """Divides links.

    Args:
        times: the links.
        strategy: see ``split_links``.
        num_val: share of the links held out for validation.
        num_test: the same for test.
        rng: where the draws come from.

    Raises:
        UserError: the links have no times, or a part would have no links.
    """
    if strategy not in _STRATEGIES:
        raise UserError(f"`strategy` {strategy}: one of {list(_STRATEGIES)} wanted")
    part = _STRATEGIES[strategy](times, num_val, num_test, rng)
    wanted = {"training": 1.0, "validation": num_val, "test": num_test}
    for (name, share), size in zip(wanted.items(), np.bincount(part, minlength=3), strict=True):
        if size == 0 < share:
            raise UserError(
                f"the {strategy} split of {len(part)} links leaves none for {name}: "
                "give more data, or other `num_val` and `num_test` (0: no such part)"
            )
    return part


def permutation(num: int, rng: np.random.Generator) -> Index:
    """``rng.permutation(num)`` in the smallest integers, with the same draws."""
    return rng.permutation(np.arange(num, dtype=np.min_scalar_type(num)))


def _random(times: Times, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    return _cut(permutation(times.links.size(1), rng), num_val, num_test)


def _temporal(times: Times, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    # Ties in time are cut at random: in the order of the edges, the last sources would be held out.
    return _cut(np.lexsort([permutation(times.links.size(1), rng), times.needed()]), num_val, num_test)


def _leave_last_out(times: Times, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    if times.is_undirected:
        raise UserError("`strategy` leave_last_out: another wanted, as undirected links have no source")
    held_out = [part for part, share in ((TEST, num_test), (VAL, num_val)) if share > 0]
    src = times.links[0].numpy()
    order = np.lexsort([permutation(len(src), rng), times.needed(), src])
    last = np.append(src[order][1:] != src[order][:-1], True)
    num_links = np.bincount(src)
    is_next = last & (num_links[src[order]] > len(held_out))
    part = np.full(len(src), TRAIN)
    for name in held_out:
        part[order[is_next]] = name
        is_next = np.append(is_next[1:], False)
    return part


_STRATEGIES: dict[str, Callable[[Times, float, float, np.random.Generator], Assignment]] = {
    "random": _random,
    "temporal": _temporal,
    "leave_last_out": _leave_last_out,
}
assert tuple(_STRATEGIES) == get_args(Strategy)


def _cut(order: Index, num_val: float, num_test: float) -> Assignment:
    """The first of ``order`` for training, the last for test."""
    held_out = [int(num_val * len(order)), int(num_test * len(order))]
    first_val = len(order) - sum(held_out)
    if min(held_out) < 0 or first_val < 0:
        raise UserError(
            f"`num_val` {num_val} and `num_test` {num_test}: give shares of at least 0 "
            "that leave some links for training"
        )
    part = np.full(len(order), TRAIN)
    part[order[first_val:]] = VAL
    part[order[first_val + held_out[0] :]] = TEST
    return part
