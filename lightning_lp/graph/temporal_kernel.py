"""The inner loops of sampling by time, compiled by numba, with draws as in :mod:`lightning_lp.graph.kernel`.

Each link has a tree of its own: the nodes and messages that it is scored from.
"""

import numpy as np
from numpy.typing import NDArray

from lightning_lp.graph.kernel import below, find, jit, mix

Int = NDArray[np.int64]
_FEW = 64
_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)


@jit
def ranges_of(src: Int, dst: Int, colptr: Int, row: Int, time: Int, source_time: Int) -> Int:
    """Finds where the edges of pairs stand among edges whose order is by destination, time of the source and source.

    Args:
        src: [n] sources.
        dst: [n] destinations.
        colptr: [num_dst + 1] CSC pointers.
        row: [num_edges] sources of the edges.
        time: [num_edges] their times, or none.
        source_time: [num_src] times of the sources, or none.

    Returns:
        First positions and those after the last, [2, n]; equal where a pair is no edge.
    """
    out = np.empty((2, len(src)), np.int64)
    for i in range(len(src)):
        begin, end = colptr[dst[i]], colptr[dst[i] + 1]
        if len(time):
            begin = find(time, begin, end, source_time[src[i]])
            stop = begin
            while stop < end and time[stop] == source_time[src[i]]:
                stop += 1
            end = stop
        begin = find(row, begin, end, src[i])
        stop = begin
        while stop < end and row[stop] == src[i]:
            stop += 1
        out[0, i], out[1, i] = begin, stop
    return out


@jit
def hash_pairs(left: Int, right: Int) -> Int:
    """A hash of each pair (``left[i]``, ``right[i]``), [n]."""
    out = np.empty(len(left), np.int64)
    for i in range(len(left)):
        out[i] = np.int64(mix(mix(np.uint64(0), left[i]), right[i]) >> np.uint64(2))
    return out


@jit
def hidden_in(hidden: Int, tree: int, begin: int, stop: int) -> tuple[int, int]:
    """The one of a tree's ``hidden`` ranges that lies in ``begin`` to ``stop``; an empty one if none does."""
    for i in range(len(hidden)):
        if begin <= hidden[i, 0, tree] < min(stop, hidden[i, 1, tree]):
            return hidden[i, 0, tree], hidden[i, 1, tree]
    return stop, stop


@jit
def sort_few(values: Int) -> None:
    """Sorts by insertion: of few numbers faster than ``sort``."""
    for k in range(1, len(values)):
        value, place = values[k], k
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@jit
def draw_ascending(state: np.uint64, available: int, out: Int, order: Int, swapped: Int) -> None:
    """Fills ``out`` with numbers below ``available``, uniform and without replacement, in ascending order.

    ``order`` [>= available] is 0, 1, 2, ... and left as it was; ``swapped`` [>= len(out)] is scratch.
    """
    num = len(out)
    for k in range(num):  # the first steps of a Fisher-Yates shuffle
        other = k + below(mix(state, k), available - k)
        order[k], order[other] = order[other], order[k]
        swapped[k] = other
        out[k] = order[k]
    for k in range(num - 1, -1, -1):
        other = swapped[k]
        order[k], order[other] = order[other], order[k]
    if num > _FEW:
        out.sort()
    else:
        sort_few(out)


@jit
def sample_earlier(
    key: np.int64,
    frontier: Int,
    tree: Int,
    fan_out: int,
    is_last: bool,
    before: Int,
    tree_key: Int,
    colptr: Int,
    time: Int,
    hidden: Int,
    order: Int,
) -> tuple[Int, Int]:
    """Samples in-neighbours of each node of ``frontier`` from the messages before the time of the node's tree.

    Args:
        key: the draws for a node are a hash of the key, the key of its tree and the node.
        frontier: [n] global indices of destination nodes.
        tree: [n] the tree of each.
        fan_out: at most so many neighbours a node; -1 takes all.
        is_last: take the latest of them, instead of any.
        before: [num_trees] time of each tree; messages at that time or later are not sampled.
        tree_key: [num_trees] what the draws of a tree depend on.
        colptr: [num_dst + 1] CSC pointers of the graph.
        time: [num_edges] times, ascending for each destination; empty: there are none, and all messages are sampled.
        hidden: [num_ranges, 2, num_trees] ranges of positions that a tree does not sample.
        order: [max degree] scratch: 0, 1, 2, ...; left as it was.

    Returns:
        Positions of the sampled edges in the CSC graph, ascending for each node, and the place of each edge's
        destination in ``frontier``, ascending; [num_sampled] each.
    """
    stop, num, total = np.empty(len(frontier), np.int64), np.empty(len(frontier), np.int64), 0
    for i in range(len(frontier)):
        begin, end = colptr[frontier[i]], colptr[frontier[i] + 1]
        stop[i] = find(time, begin, end, before[tree[i]]) if len(time) else end
        first_hidden, last_hidden = hidden_in(hidden, tree[i], begin, stop[i])
        num[i] = stop[i] - begin - (last_hidden - first_hidden)
        total += num[i] if fan_out < 0 else min(num[i], fan_out)
    edge, col = np.empty(total, np.int64), np.empty(total, np.int64)
    swapped = np.empty(max(min(fan_out, len(order)), 0), np.int64)
    n = 0
    for i in range(len(frontier)):
        begin = colptr[frontier[i]]
        first_hidden, last_hidden = hidden_in(hidden, tree[i], begin, stop[i])
        last = n + (num[i] if fan_out < 0 else min(num[i], fan_out))
        if is_last or last - n == num[i]:
            for k in range(n, last):
                edge[k] = num[i] - last + k
        else:
            state = mix(mix(np.uint64(key), tree_key[tree[i]]), frontier[i])
            draw_ascending(state, num[i], edge[n:last], order, swapped)
        for k in range(n, last):
            position = begin + edge[k]
            edge[k] = position if position < first_hidden else position + last_hidden - first_hidden
        col[n:last] = i
        n = last
    return edge, col


@jit
def number_in_trees(
    node: Int, tree: Int, num_nodes: int, slots: NDArray[np.int32], nodes: Int, trees: Int, count: int
) -> tuple[Int, int]:
    """Numbers nodes in the order of their first appearance, those of each tree by themselves.

    Args:
        node: [n] global node indices.
        tree: [n] the tree of each.
        num_nodes: how many nodes there are.
        slots: [a power of two, > count + n] a hash table: the number of the node whose slot it is, or -1. Written.
        nodes: [>= count + n] the global indices of numbered nodes. Written.
        trees: [>= count + n] their trees. Written.
        count: how many nodes have a number already.

    Returns:
        The number of each node, [n], and the new count of numbered nodes.
    """
    out = np.empty(len(node), np.int64)
    bits, mask = 1, len(slots) - 1
    while 1 << bits < len(slots):
        bits += 1
    shift = np.uint64(64 - bits)
    for i in range(len(node)):
        slot = np.int64((np.uint64(tree[i] * num_nodes + node[i]) * _FIBONACCI) >> shift)
        while slots[slot] >= 0 and (nodes[slots[slot]] != node[i] or trees[slots[slot]] != tree[i]):
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = count
            nodes[count], trees[count] = node[i], tree[i]
            count += 1
        out[i] = slots[slot]
    return out, count


@jit
def draw_destinations(key: np.int64, link_id: Int, src: Int, num_neg: int, num_dst: int, indptr: Int, dst: Int) -> Int:
    """Draws destinations uniformly from those that are not among ``dst`` for the source.

    The negative at position i belongs to link ``link_id[i % len(link_id)]``, has its source and depends on it alone.

    Args:
        key: key of the draws.
        link_id: [num_links] numbers of the links.
        src: [num_links] their sources.
        num_neg: how many negatives to draw.
        num_dst: how many destinations there are.
        indptr: [num_src + 1] where in ``dst`` those of a source begin.
        dst: [num_pairs] what is not drawn: ascending for each source, each once.

    Returns:
        Destinations [num_neg]; -1 where none is left.
    """
    out = np.empty(num_neg, np.int64)
    for i in range(num_neg):
        link = i % len(link_id)
        begin, end = indptr[src[link]], indptr[src[link] + 1]
        if end - begin >= num_dst:
            out[i] = -1
            continue
        state = mix(mix(np.uint64(key), link_id[link]), i // len(link_id))
        rank = below(state, num_dst - (end - begin))  # among those that are left; count on past the others
        low, high = begin, end
        while low < high:
            middle = (low + high) // 2
            if dst[middle] - (middle - begin) <= rank:
                low = middle + 1
            else:
                high = middle
        out[i] = rank + (low - begin)
    return out
