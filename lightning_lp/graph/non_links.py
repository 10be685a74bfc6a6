"""Pairs of nodes that are no links, drawn exactly: none twice, none rejected, each as likely as any other."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.errors import UserError

Int = NDArray[np.int64]


def sample_non_links(
    links: Tensor,
    num_src: int,
    num_dst: int,
    num_samples: int,
    rng: np.random.Generator,
    *,
    has_one_node_type: bool = False,
    is_undirected: bool = False,
    ends: str = "nodes",
) -> Tensor:
    """Draws distinct (source, destination) pairs uniformly from those that are not linked.

    Non-links are numbered in row-major order; numbers are drawn without replacement and turned into pairs by
    counting the links before them, so that no draw is rejected however dense the graph is.

    Args:
        links: [2, num_links] int64, each once (of an undirected graph one direction).
        num_src: number of sources.
        num_dst: number of destinations.
        num_samples: how many pairs to draw.
        rng: where the draws come from.
        has_one_node_type: sources and destinations are the same nodes, which are not paired with themselves, as in
            PyG's ``negative_sampling``.
        is_undirected: (a, b) and (b, a) are one pair, which is given in a random direction.
        ends: what a pair is made of, in words.

    Returns:
        [2, num_samples] int64, in random order.

    Raises:
        UserError: there are fewer non-links than samples.
    """
    # Of an undirected graph the pairs with src < dst are numbered; those of source u begin at start[u].
    start = _starts(num_src) if is_undirected else None
    src, dst = links.numpy()
    keys = src * num_dst + dst if start is None else _triangular(src, dst, start)
    if has_one_node_type and start is None:
        keys = np.union1d(keys, np.arange(num_src) * (num_dst + 1))
    if (keys[1:] < keys[:-1]).any():
        keys.sort()
    num_pairs = num_src * num_dst if start is None else num_src * (num_src - 1) // 2
    num_non_links = num_pairs - len(keys)
    if num_samples > num_non_links:
        raise UserError(
            f"the split needs {num_samples} pairs of {ends} without a `link`, but of "
            f"{num_src} x {num_dst} pairs only {num_non_links} have none: "
            "lower `neg_sampling_ratio`, `num_val` or `num_test`"
        )
    rank = rng.choice(num_non_links, size=num_samples, replace=False)
    keys -= np.arange(len(keys))  # how many non-links stand before each link
    ascending = np.argsort(rank)  # ten times as fast to search for as random order, of which each misses the cache
    rank[ascending] += np.searchsorted(keys, rank[ascending], side="right")
    if start is None:
        return torch.from_numpy(np.stack(np.divmod(rank, num_dst)))
    low = np.searchsorted(start, rank, side="right") - 1
    return in_random_direction(torch.from_numpy(np.stack([low, rank - start[low] + low + 1])), rng)


def in_random_direction(pairs: Tensor, rng: np.random.Generator) -> Tensor:
    """Each of [2, num_pairs] as it is or turned round: else their direction would tell links from non-links."""
    is_turned = torch.from_numpy(rng.random(pairs.size(1)) < 0.5)
    return torch.where(is_turned, pairs.flip(0), pairs)


def _starts(num_nodes: int) -> Int:
    """[num_nodes] number of the pair (u, u + 1), where pairs (u, v) with u < v are numbered row by row."""
    u = np.arange(num_nodes, dtype=np.int64)
    starts: Int = u * (2 * num_nodes - u - 1) // 2
    return starts


def _triangular(src: Int, dst: Int, start: Int) -> Int:
    """Numbers of undirected pairs; those of a node with itself have none."""
    low, high = np.minimum(src, dst), np.maximum(src, dst)
    low, high = low[low < high], high[low < high]
    number: Int = start[low] + high - low - 1
    return number
