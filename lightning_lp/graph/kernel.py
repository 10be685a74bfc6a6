"""The sampler's inner loops, compiled by numba. They release the GIL and draw no global random numbers.

Every draw is a hash of what it is for (a key and counters), so a result depends neither on the order of the
draws nor on the process that makes them. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16).
"""

import numba
import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
GAMMA = np.uint64(0x9E3779B97F4A7C15)
M1, M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)

jit = numba.njit(cache=True, nogil=True)


@jit
def mix(key: np.uint64, value: int) -> np.uint64:
    """A hash of ``key`` and ``value``: 64 bits, each of which depends on all bits of both."""
    z = key ^ ((np.uint64(value) + np.uint64(1)) * GAMMA)
    z = (z ^ (z >> S30)) * M1
    z = (z ^ (z >> S27)) * M2
    return z ^ (z >> S31)


@jit
def below(bits: np.uint64, n: int) -> int:
    """Turns 64 random bits into an integer from 0 to n - 1, n < 2^32 (no outcome is off by over n / 2^32)."""
    return int(((bits >> S32) * np.uint64(n)) >> S32)


@jit
def hash_array(values: Int) -> np.int64:
    """A hash of all of ``values``, in their order: 62 bits, so that Python passes it back as it came."""
    key = np.uint64(0)
    for value in values:
        key = mix(key, value)
    return np.int64(key >> np.uint64(2))


@jit
def find(row: Int, begin: int, end: int, value: int) -> int:
    """The first position in ``row[begin:end]``, which is ascending, whose entry is not below ``value``."""
    while begin < end:
        middle = (begin + end) // 2
        if row[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@jit
def rows_ascend(colptr: Int, row: Int) -> bool:
    """Whether the entries of each column are in ascending order."""
    for col in range(len(colptr) - 1):
        for i in range(colptr[col] + 1, colptr[col + 1]):
            if row[i] < row[i - 1]:
                return False
    return True


@jit
def draw_negatives(key: np.int64, link_id: Int, num_neg: int, num_src: int, colptr: Int, row: Int) -> tuple[Int, Int]:
    """Draws pairs (source, destination) uniformly from those that are no link of the CSC graph.

    The negative at position i belongs to link ``link_id[i % len(link_id)]`` and depends on it alone.

    Returns:
        Sources and destinations, [num_neg] each.
    """
    num_dst = len(colptr) - 1
    src, dst = np.empty(num_neg, np.int64), np.empty(num_neg, np.int64)
    for i in range(num_neg):
        state = mix(mix(np.uint64(key), link_id[i % len(link_id)]), i // len(link_id))
        tries = 0
        while True:
            u, v = below(mix(state, 2 * tries), num_src), below(mix(state, 2 * tries + 1), num_dst)
            position = find(row, colptr[v], colptr[v + 1], u)
            if position == colptr[v + 1] or row[position] != u:
                break
            tries += 1
        src[i], dst[i] = u, v
    return src, dst


@jit
def relabel(values: Int, local: Int, nodes: Int, num_nodes: int) -> tuple[Int, int]:
    """Numbers nodes in the order of their first appearance.

    Args:
        values: [n] global node indices.
        local: [total] scratch: a node's local index, or -1 where it has none yet. Written.
        nodes: [>= num_nodes + n] the global indices of numbered nodes. Written.
        num_nodes: how many nodes have a number already.

    Returns:
        The local index of each value, [n], and the new count of numbered nodes.
    """
    out = np.empty(len(values), np.int64)
    for i in range(len(values)):
        node = values[i]
        if local[node] < 0:
            local[node] = num_nodes
            nodes[num_nodes] = node
            num_nodes += 1
        out[i] = local[node]
    return out, num_nodes


@jit
def positions_of(src: Int, dst: Int, colptr: Int, row: Int) -> Int:
    """Finds where the links (``src[i]``, ``dst[i]``) stand in a CSC graph.

    Returns:
        Their positions in ``row``, in the order of the links. Pairs that are no links have none.
    """
    found = []
    for i in range(len(src)):
        end = colptr[dst[i] + 1]
        position = find(row, colptr[dst[i]], end, src[i])
        while position < end and row[position] == src[i]:
            found.append(position)
            position += 1
    return np.array(found, np.int64)


@jit
def sample_hop(
    key: np.int64,
    frontier: Int,
    first_col: int,
    fan_out: int,
    colptr: Int,
    excluded: Int,
    order: Int,
) -> tuple[Int, Int]:
    """Samples in-neighbours of each node of ``frontier``, uniformly and without replacement.

    Args:
        key: the draws for a node are a hash of the key and the node.
        frontier: [n] global indices of destination nodes; node i has local index ``first_col + i``.
        first_col: local index of the first of them.
        fan_out: at most so many neighbours a node; -1 takes all.
        colptr: [num_dst + 1] CSC pointers of the graph.
        excluded: positions in the CSC graph's ``row`` that are not to be sampled, ascending, each once.
        order: [max degree] scratch: 0, 1, 2, ...; left as it was.

    Returns:
        Positions of the sampled edges in ``row``, and their local destinations, ascending; [num_sampled] each.
    """
    capacity = 0
    for node in frontier:
        degree = colptr[node + 1] - colptr[node]
        capacity += degree if fan_out < 0 else min(degree, fan_out)
    edge, col = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    fan_out = min(fan_out, len(order))  # no node has more neighbours
    moved = np.empty(max(fan_out, 0), np.int64)
    n = 0
    for i in range(len(frontier)):
        node = frontier[i]
        begin, end = colptr[node], colptr[node + 1]
        skip = find(excluded, 0, len(excluded), begin)
        last_skip = skip
        while last_skip < len(excluded) and excluded[last_skip] < end:
            last_skip += 1
        available = end - begin - (last_skip - skip)
        first = n
        if fan_out < 0 or available <= fan_out:
            for position in range(begin, end):
                if skip < last_skip and excluded[skip] == position:
                    skip += 1
                else:
                    edge[n] = position
                    n += 1
        else:
            state = mix(np.uint64(key), node)
            for k in range(fan_out):  # the first steps of a Fisher-Yates shuffle of 0 ... available - 1
                other = k + below(mix(state, k), available - k)
                position = begin + order[np.uint64(other)]  # unsigned: no place is counted from the end
                order[np.uint64(other)] = order[np.uint64(k)]  # place k is not looked at again
                moved[np.uint64(k)] = other
                for s in range(skip, last_skip):  # count on past the excluded ones
                    if excluded[np.uint64(s)] > position:
                        break
                    position += 1
                edge[np.uint64(n)] = position
                n += 1
            for k in range(fan_out):
                order[np.uint64(moved[np.uint64(k)])] = moved[np.uint64(k)]
        for j in range(first, n):
            col[np.uint64(j)] = first_col + i
    return edge[:n], col[:n]
