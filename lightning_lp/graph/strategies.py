"""Which links are held out: an array that tells for each link its part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.errors import UserError

Strategy = Literal["random", "temporal", "leave_last_out", "given"]
Index = NDArray[np.integer[Any]]
Assignment = NDArray[np.uint8]
"""For each link, in the graph's own order, which part it belongs to."""

TRAIN, VAL, TEST, NEW = np.arange(4, dtype=np.uint8)
"""The parts; ``NEW`` is that of a link which an earlier split did not have."""


@dataclass(frozen=True)
class Undivided:
    """The links to divide, and what is known of them.

    Attributes:
        links: [2, num_links] int64.
        time: [num_links] any numbers that can be ordered; None: unknown.
        time_attr: what the times are called.
        is_undirected: whether a link has no source.
        part: [num_links] the part of each, where that is given.
    """

    links: Tensor
    time: NDArray[Any] | None
    time_attr: str
    is_undirected: bool
    part: Assignment | None = None

    def needed_time(self) -> NDArray[Any]:
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


def is_by_time(strategy: Strategy, has_times: bool) -> bool:
    """Whether a split says which link is earlier: what is scored then has a time, and an earlier history.

    Args:
        strategy: see ``split_links``.
        has_times: whether the links have times, as all strategies but ``random`` and ``given`` need them.
    """
    return has_times and strategy != "random"


def partition(
    links: Undivided, strategy: Strategy, num_val: float, num_test: float, rng: np.random.Generator
) -> Assignment:
    """Divides links.

    Args:
        links: the links.
        strategy: see ``split_links``.
        num_val: share of the links held out for validation.
        num_test: the same for test.
        rng: where the draws come from.

    Raises:
        UserError: the links have no times, or a part would have no links.
        ValueError: a part is given and not asked for, or asked for and not given.
    """
    if strategy not in _STRATEGIES:
        raise UserError(f"`strategy` {strategy}: one of {list(_STRATEGIES)} wanted")
    if (strategy == "given") != (links.part is not None):
        raise ValueError(f"`strategy` {strategy}: `part` wanted with the strategy given, and with no other")
    return _checked(_STRATEGIES[strategy](links, num_val, num_test, rng), strategy, num_val, num_test)


def partition_on(
    links: Undivided, before: Assignment, strategy: Strategy, num_val: float, num_test: float, rng: np.random.Generator
) -> tuple[Assignment, int]:
    """Divides links of which an earlier split has divided some: what it trained on is held out by none after it.

    At random each link stays in its part, and those that are new are divided by the same shares. By time and by given
    parts all links are divided anew, and then those that were trained on go to training; by time so do those that are
    earlier than such a one (to ``leave_last_out`` one of their source), for it would tell of their future.

    Args:
        links: the links.
        before: [num_links] the part of each in the earlier split, or ``NEW``.
        strategy: see ``split_links``.
        num_val: share of the links held out for validation; 0: what was held out for it goes to training.
        num_test: the same for test.
        rng: where the draws come from. The same links, divided before as they come out of here, come out the same.

    Returns:
        The parts, and how many links were held out anew and go to training.

    Raises:
        UserError: as of :func:`partition`.
    """
    if strategy == "random":
        held_out = [part for part, share in ((VAL, num_val), (TEST, num_test)) if share > 0]
        part = np.where(np.isin(before, held_out), before, TRAIN)
        part[before == NEW] = _cut(permutation(int((before == NEW).sum()), rng), num_val, num_test)
        return _checked(part, strategy, num_val, num_test), 0
    part = partition(links, strategy, num_val, num_test, rng)
    is_kept = (before == TRAIN) & (part != TRAIN)
    is_kept |= (part != TRAIN) & _is_earlier(links, is_kept, strategy)
    part[is_kept] = TRAIN
    num_kept = int(is_kept.sum())
    return _checked(part, strategy, num_val, num_test, num_kept), num_kept


def _is_earlier(links: Undivided, than: NDArray[np.bool_], strategy: Strategy) -> NDArray[np.bool_]:
    """[num_links] whether each link is earlier than some of the chosen ones, to ``leave_last_out`` of its source."""
    if strategy == "given":
        return np.zeros_like(than)
    rank = np.unique(links.needed_time(), return_inverse=True)[1]
    group = links.links[0].numpy() if strategy == "leave_last_out" else np.zeros_like(rank)
    latest = np.full(group.max(initial=0) + 1, -1)
    np.maximum.at(latest, group[than], rank[than])
    is_earlier: NDArray[np.bool_] = rank < latest[group]
    return is_earlier


def _checked(part: Assignment, strategy: Strategy, num_val: float, num_test: float, num_kept: int = 0) -> Assignment:
    """The parts, none of which is empty that was wanted; ``num_kept`` links could not be held out."""
    why = f", for {num_kept} were trained on before, or came before such" if num_kept else ""
    shares = (0.0, 0.0) if strategy == "given" else (num_val, num_test)
    wanted = dict(zip(("training", "validation", "test"), (1.0, *shares), strict=True))
    for (name, share), size in zip(wanted.items(), np.bincount(part, minlength=3), strict=True):
        if size == 0 < share:
            raise UserError(
                f"the {strategy} split of {len(part)} links leaves none for {name}{why}: "
                "give more data, or other `num_val` and `num_test` (0: no such part)"
            )
    return part


def permutation(num: int, rng: np.random.Generator) -> Index:
    """``rng.permutation(num)`` in the smallest integers, with the same draws."""
    return rng.permutation(np.arange(num, dtype=np.min_scalar_type(num)))


def _random(links: Undivided, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    return _cut(permutation(links.links.size(1), rng), num_val, num_test)


def _temporal(links: Undivided, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    # Ties in time are cut at random: in the order of the edges, the last sources would be held out.
    return _cut(np.lexsort([permutation(links.links.size(1), rng), links.needed_time()]), num_val, num_test)


def _leave_last_out(links: Undivided, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    if links.is_undirected:
        raise UserError("`strategy` leave_last_out: another wanted, as undirected links have no source")
    held_out = [part for part, share in ((TEST, num_test), (VAL, num_val)) if share > 0]
    src = links.links[0].numpy()
    order = np.lexsort([permutation(len(src), rng), links.needed_time(), src])
    last = np.append(src[order][1:] != src[order][:-1], True)
    num_links = np.bincount(src)
    is_next = last & (num_links[src[order]] > len(held_out))
    part = np.full(len(src), TRAIN)
    for name in held_out:
        part[order[is_next]] = name
        is_next = np.append(is_next[1:], False)
    return part


def _given(links: Undivided, num_val: float, num_test: float, rng: np.random.Generator) -> Assignment:
    part = TRAIN if links.part is None else links.part
    held_out = [name for name, share in ((VAL, num_val), (TEST, num_test)) if share > 0]
    return np.where(np.isin(part, held_out), part, TRAIN).astype(np.uint8)


_STRATEGIES: dict[str, Callable[[Undivided, float, float, np.random.Generator], Assignment]] = {
    "random": _random,
    "temporal": _temporal,
    "leave_last_out": _leave_last_out,
    "given": _given,
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
