"""Non-links that stand beside links: of the same source, to another destination that exists by the link's time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Int = NDArray[np.int64]


def sample_non_links_of_source(
    links: Tensor,
    num_dst: int,
    beside: Int,
    quota: Int,
    rng: np.random.Generator,
    *,
    time: NDArray[Any] | None = None,
    has_one_node_type: bool = False,
    is_undirected: bool = False,
) -> tuple[Tensor, Int]:
    """Draws non-links of the sources of some links, uniformly from the destinations that exist by the link's time.

    A destination exists as soon as some link of any source reaches it. The non-links of one link are distinct, and so
    are those of one source where that many exist by then. Where a link's quota is not to be had, its source is paired
    with destinations that come to exist later, and where there are none left, the link gets fewer.

    Args:
        links: [2, num_links] int64, each once (of an undirected graph one direction).
        num_dst: number of destinations.
        beside: [num] the links that non-links stand beside.
        quota: [num] how many for each.
        rng: where the draws come from.
        time: [num_links] the time of each link. None: every destination exists from the beginning.
        has_one_node_type: sources and destinations are the same nodes, which are not paired with themselves.
        is_undirected: (a, b) and (b, a) are one pair; the source of a link is the end that stands first.

    Returns:
        [2, num_samples] int64 pairs, and [num_samples] the place in ``beside`` of the link that each stands beside.
    """
    known = _Known.of(links, num_dst, time, has_one_node_type, is_undirected)
    src = links[0].numpy()[beside].astype(np.int64)
    limit = np.full(len(beside), len(known.order))
    if known.begin is not None and time is not None:
        limit = np.searchsorted(known.begin, time[beside], side="right")
    # Where a source has links or non-links to half of what exists, draws would be rejected too often.
    sources, of = np.unique(src, return_inverse=True)
    least = np.full(len(sources), len(known.order))
    np.minimum.at(least, of, limit)
    num_taken = known.num_links(sources) + np.bincount(of, quota, len(sources)).astype(np.int64)
    is_tight = (2 * num_taken > least)[of]
    loose = np.repeat(np.flatnonzero(~is_tight), quota[~is_tight])
    dst, place = [_by_rejection(known, src[loose], limit[loose], rng)], [loose]
    tight = np.flatnonzero(is_tight)
    tight = tight[np.argsort(src[tight], kind="stable")]
    for group in np.split(tight, np.flatnonzero(np.diff(src[tight])) + 1) if len(tight) else ():
        chosen = _by_listing(known, int(src[group[0]]), limit[group], quota[group], rng)
        dst += chosen
        place += [np.full(len(drawn), link) for drawn, link in zip(chosen, group, strict=True)]
    where = np.concatenate(place)
    return torch.from_numpy(np.stack([src[where], np.concatenate(dst)])), where


@dataclass(frozen=True)
class _Known:
    """What is linked, and what exists when.

    Attributes:
        keys: [num_keys] source * num_dst + destination of all pairs that are no non-links, ascending.
        order: [num_existing] the destinations in the order in which they come to exist.
        begin: [num_existing] when; None: from the beginning.
        num_dst: number of destinations.
    """

    keys: Int
    order: Int
    begin: NDArray[Any] | None
    num_dst: int

    @classmethod
    def of(
        cls, links: Tensor, num_dst: int, time: NDArray[Any] | None, has_one_node_type: bool, is_undirected: bool
    ) -> "_Known":
        src, dst = links.numpy().astype(np.int64, copy=False)
        if is_undirected:
            src, dst = np.concatenate([src, dst]), np.concatenate([dst, src])
            time = None if time is None else np.concatenate([time, time])
        keys = src * num_dst + dst
        if has_one_node_type:
            keys = np.concatenate([keys, np.arange(num_dst) * (num_dst + 1)])
        if (keys[1:] < keys[:-1]).any():
            keys = np.sort(keys)
        if time is None:
            return cls(keys, np.arange(num_dst), None, num_dst)
        begin = np.full(num_dst, time.max())
        np.minimum.at(begin, dst, time)
        exists = np.flatnonzero(np.bincount(dst, minlength=num_dst))
        order = exists[np.argsort(begin[exists], kind="stable")]
        return cls(keys, order, begin[order], num_dst)

    def num_links(self, src: Int) -> Int:
        """How many pairs of each of some sources are no non-links."""
        first, last = (np.searchsorted(self.keys, (src + more) * self.num_dst) for more in (0, 1))
        return last - first

    def linked(self, src: int) -> Int:
        """The destinations to which a source has no non-link."""
        first, last = np.searchsorted(self.keys, [src * self.num_dst, (src + 1) * self.num_dst])
        return self.keys[first:last] - src * self.num_dst


def _by_rejection(known: _Known, src: Int, limit: Int, rng: np.random.Generator) -> Int:
    """A destination for each of [num] sources, among the first ``limit`` of those that exist; no pair twice.

    At least half of those must be free: each round then settles half of what the one before it has left.
    """
    dst, taken = np.empty(len(src), np.int64), np.empty(0, np.int64)
    unsettled = np.arange(len(src))
    while len(unsettled):
        drawn = known.order[rng.integers(limit[unsettled])]
        key = src[unsettled] * known.num_dst + drawn
        is_free = ~(_contains(known.keys, key) | _contains(taken, key))
        is_first = np.zeros(len(key), bool)
        is_first[np.unique(key, return_index=True)[1]] = True
        settled = is_free & is_first
        dst[unsettled[settled]] = drawn[settled]
        taken = np.sort(np.concatenate([taken, key[settled]]))
        unsettled = unsettled[~settled]
    return dst


def _by_listing(known: _Known, src: int, limit: Int, quota: Int, rng: np.random.Generator) -> list[Int]:
    """The same for all links of one source, exactly: as many as there are, the earliest links first.

    What exists for one link exists for all later ones, so that this order leaves each as much as can be.
    """
    is_linked = np.zeros(known.num_dst, bool)
    is_linked[known.linked(src)] = True
    is_free = ~is_linked[known.order]
    is_unused = is_free.copy()
    found = [np.empty(0, np.int64)] * len(limit)
    ascending = np.argsort(limit, kind="stable")
    for alike in np.split(ascending, np.flatnonzero(np.diff(limit[ascending])) + 1):
        left, num = np.flatnonzero(is_unused[: limit[alike[0]]]), quota[alike].sum()
        if num <= len(left):  # enough for all for which the same exists: at once, as there may be thousands
            drawn = rng.choice(left, num, replace=False)
            is_unused[drawn] = False
            for link, chosen in zip(alike, np.split(drawn, quota[alike].cumsum()[:-1]), strict=True):
                found[link] = known.order[chosen]
            continue
        for link in alike:
            chosen = _for_one(is_unused, is_free, int(limit[link]), int(quota[link]), rng)
            is_unused[chosen[chosen < limit[link]]] = False  # for a later link the others are as good as any
            found[link] = known.order[chosen]
    return found


def _for_one(
    is_unused: NDArray[np.bool_], is_free: NDArray[np.bool_], limit: int, quota: int, rng: np.random.Generator
) -> Int:
    """Places for one link: unused ones that exist, then used ones, then those that come to exist later."""
    chosen = np.empty(0, np.int64)
    for usable, end in ((is_unused, limit), (is_free, limit), (is_unused, None), (is_free, None)):
        if len(chosen) == quota:
            break
        left = np.setdiff1d(np.flatnonzero(usable[:end]), chosen, assume_unique=True)
        chosen = np.append(chosen, rng.choice(left, min(quota - len(chosen), len(left)), replace=False))
    return chosen


def _contains(ascending: Int, keys: Int) -> NDArray[np.bool_]:
    """Which of ``keys`` are there."""
    if not len(ascending):
        return np.zeros(len(keys), bool)
    place = np.searchsorted(ascending, keys)
    place[place == len(ascending)] = 0
    is_there: NDArray[np.bool_] = ascending[place] == keys
    return is_there
