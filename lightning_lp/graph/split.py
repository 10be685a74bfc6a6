"""Divide the links of a graph into training, validation and test, as a pure function.

The sizes, names and conventions are those of PyG's ``RandomLinkSplit``. Unlike it, the result depends on the
links, the settings and the seed alone (``RandomLinkSplit`` draws from the global random state), labels are
in random order (it puts positives first), and negatives are exact: distinct true non-links of the whole graph.
"""

import hashlib
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.rating_graph import add_links
from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
from lightning_lp.errors import UserError

Strategy = Literal["random", "temporal", "leave_last_out"]
Index = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
Part = NDArray[np.uint8]
"""For each link, in the graph's own order, which part it belongs to."""

_TRAIN, _VAL, _TEST = np.arange(3, dtype=np.uint8)


@dataclass(frozen=True)
class LinkSplit:
    """Three graphs over the same nodes, each with its message edges and the links to score.

    ``data[RATES].edge_index`` holds the messages (and ``data[REV_RATES]`` their reverse),
    ``data[RATES].edge_label_index`` [2, num_labels] the links to score, and ``data[RATES].edge_label``
    [num_labels] their labels, float32, 1 for a link and 0 for a non-link. Training holds links alone: its
    negatives are drawn anew for each batch, by the sampler. Graphs share what is the same in them.

    Attributes:
        train: messages and supervision links of training.
        val: messages are all training links; labels are held-out links and non-links, none where ``num_val`` is 0.
        test: messages are all training and validation links; no labels where ``num_test`` is 0.
        train_links: [2, num_train] every training link, as message or as supervision.
        fingerprint: hash of all of the above; equal fingerprints mean equal splits.
    """

    train: HeteroData
    val: HeteroData
    test: HeteroData
    train_links: Tensor
    fingerprint: str

    @property
    def held_out(self) -> dict[str, HeteroData]:
        """The parts that hold labels: ``val`` and ``test``, or one of them, or none."""
        parts = {"val": self.val, "test": self.test}
        return {name: graph for name, graph in parts.items() if graph[RATES].edge_label.numel()}

    def part(self, name: str) -> HeteroData:
        """A held-out part, ``val`` or ``test``.

        Raises:
            UserError: there is none.
        """
        if name not in self.held_out:
            raise UserError(f"--data.num_{name} 0 has held no links out to judge on: give a share, such as 0.1")
        return self.held_out[name]


def split_links(
    data: HeteroData,
    strategy: Strategy = "random",
    num_val: float = 0.1,
    num_test: float = 0.1,
    disjoint_train_ratio: float = 0.3,
    neg_sampling_ratio: float = 2.0,
    seed: int = 0,
) -> LinkSplit:
    """Splits the links ``("user", "rates", "movie")`` of ``data``.

    Args:
        data: the whole graph; ``data[RATES].time`` is read by the strategies that need it.
        strategy: ``random``: uniformly over all links. ``temporal``: the latest links of all are the test
            links, those before them the validation links. ``leave_last_out``: the last link of each user is a
            test link, the one before it a validation link; users with fewer than three stay in training.
        num_val: share of the links held out for validation; 0: there is no such part. To ``leave_last_out`` any other
            share means one link of each user.
        num_test: the same for test.
        disjoint_train_ratio: share of the training links that are scored and carry no messages. At 0 every
            training link does both, and the sampler has to leave a batch's own links out of its messages.
        neg_sampling_ratio: non-links per link among the validation and test labels.
        seed: seed of the draw.

    Raises:
        UserError: the graph is too small or too dense for these settings, or has no times.
    """
    links = data[RATES].edge_index
    rng = np.random.default_rng(seed)
    part = _PARTITIONS[strategy](data, num_val, num_test, rng)
    wanted = {"training": 1.0, "validation": num_val, "test": num_test}
    for (name, share), size in zip(wanted.items(), np.bincount(part, minlength=3), strict=True):
        if size == 0 < share:
            raise UserError(
                f"the {strategy} split of {links.size(1)} links leaves none for {name}: "
                "give more data, or other --data.num_val and --data.num_test (0: no such part)"
            )
    val, test = (links[:, torch.from_numpy(part == held_out)] for held_out in (_VAL, _TEST))
    history = _with_links(data, links, part == _TRAIN)
    train, supervision = _train_graph(history, disjoint_train_ratio, rng)

    num_neg = [int(neg_sampling_ratio * held_out.size(1)) for held_out in (val, test)]
    for held_out, num in zip((val, test), num_neg, strict=True):
        if num == 0 < held_out.size(1):
            raise UserError(
                f"--data.eval_neg_sampling_ratio {neg_sampling_ratio} of {held_out.size(1)} held-out links "
                "is no non-link, and links alone cannot be told apart: raise it, or give more data"
            )
    non_links = sample_non_links(links, data[USER].num_nodes, data[MOVIE].num_nodes, sum(num_neg), rng)
    val_neg, test_neg = non_links[:, : num_neg[0]], non_links[:, num_neg[0] :]

    graphs = (
        _with_labels(train, supervision, torch.ones(1).expand(supervision.size(1))),
        _with_labels(history, *_mixed(val, val_neg, rng)),
        _with_labels(_with_links(data, links, part != _TEST), *_mixed(test, test_neg, rng)),
    )
    return LinkSplit(*graphs, train_links=history[RATES].edge_index, fingerprint=_fingerprint(graphs))


def without_messages(graph: HeteroData) -> HeteroData:
    """The same nodes and labels, and no edges: all that is read where nodes have been embedded before."""
    bare = copy(graph)
    for edge_type in (RATES, REV_RATES):
        bare[edge_type].edge_index = graph[edge_type].edge_index[:, :0]
    return bare


def sample_non_links(
    links: Tensor, num_users: int, num_movies: int, num_samples: int, rng: np.random.Generator
) -> Tensor:
    """Draws distinct (user, movie) pairs uniformly from those that are not linked.

    Non-links are numbered in row-major order; numbers are drawn without replacement and turned into pairs by
    counting the links before them, so that no draw is rejected however dense the graph is.

    Returns:
        [2, num_samples] int64, in random order.

    Raises:
        UserError: there are fewer non-links than samples.
    """
    keys = links[0].numpy() * num_movies + links[1].numpy()
    keys.sort()
    num_non_links = num_users * num_movies - len(keys)
    if num_samples > num_non_links:
        raise UserError(
            f"the split needs {num_samples} pairs of a user and a movie without a rating, but of "
            f"{num_users} x {num_movies} pairs only {num_non_links} have none: "
            "lower --data.eval_neg_sampling_ratio, --data.num_val or --data.num_test"
        )
    rank = rng.choice(num_non_links, size=num_samples, replace=False)
    keys -= np.arange(len(keys))  # how many non-links stand before each link
    ascending = np.argsort(rank)  # ten times as fast to search for as random order, of which each misses the cache
    rank[ascending] += np.searchsorted(keys, rank[ascending], side="right")
    return torch.from_numpy(np.stack(np.divmod(rank, num_movies)))


def _random(data: HeteroData, num_val: float, num_test: float, rng: np.random.Generator) -> Part:
    return _cut(_permutation(data[RATES].num_edges, rng), num_val, num_test)


def _temporal(data: HeteroData, num_val: float, num_test: float, rng: np.random.Generator) -> Part:
    # Ties in time are cut at random: in the order of the ids, the last users would be held out.
    return _cut(np.lexsort([_permutation(data[RATES].num_edges, rng), _time(data)]), num_val, num_test)


def _leave_last_out(data: HeteroData, num_val: float, num_test: float, rng: np.random.Generator) -> Part:
    held_out = [part for part, share in ((_TEST, num_test), (_VAL, num_val)) if share > 0]
    user = data[RATES].edge_index[0].numpy()
    order = np.lexsort([_permutation(len(user), rng), _time(data), user])
    last = np.append(user[order][1:] != user[order][:-1], True)
    num_links = np.bincount(user, minlength=data[USER].num_nodes)
    is_next = last & (num_links[user[order]] > len(held_out))
    part = np.full(len(user), _TRAIN)
    for name in held_out:
        part[order[is_next]] = name
        is_next = np.append(is_next[1:], False)
    return part


_PARTITIONS = {"random": _random, "temporal": _temporal, "leave_last_out": _leave_last_out}
assert tuple(_PARTITIONS) == get_args(Strategy)


def _cut(order: Index, num_val: float, num_test: float) -> Part:
    """The first of ``order`` for training, the last for test."""
    held_out = [int(num_val * len(order)), int(num_test * len(order))]
    first_val = len(order) - sum(held_out)
    if min(held_out) < 0 or first_val < 0:
        raise UserError(
            f"--data.num_val {num_val} and --data.num_test {num_test}: give shares of at least 0 "
            "that leave some links for training"
        )
    part = np.full(len(order), _TRAIN)
    part[order[first_val:]] = _VAL
    part[order[first_val + held_out[0] :]] = _TEST
    return part


def _permutation(num: int, rng: np.random.Generator) -> Index:
    """``rng.permutation(num)`` in the smallest integers, with the same draws."""
    return rng.permutation(np.arange(num, dtype=np.min_scalar_type(num)))


def _time(data: HeteroData) -> Index:
    if "time" not in data[RATES]:
        raise UserError("this split needs the time of each rating, and the ratings have none: use another one")
    time: Index = data[RATES].time.numpy()
    return time


def _train_graph(
    history: HeteroData, disjoint_train_ratio: float, rng: np.random.Generator
) -> tuple[HeteroData, Tensor]:
    """The messages of training, and the links to score: both are all training links, unless they are to be disjoint."""
    links = history[RATES].edge_index
    num_supervision = int(disjoint_train_ratio * links.size(1))
    if disjoint_train_ratio > 0 and not 0 < num_supervision < links.size(1):
        raise UserError(
            f"--data.disjoint_train_ratio {disjoint_train_ratio} of {links.size(1)} training links leaves none "
            f"{'to score' if num_supervision == 0 else 'to carry messages'}: give another ratio, or more data"
        )
    # Drawn in any case: the ratio does not change what is drawn after it.
    supervision = _permutation(links.size(1), rng)[:num_supervision].astype(np.int64)
    if num_supervision == 0:
        return history, links
    is_message = np.ones(links.size(1), dtype=bool)
    is_message[supervision] = False
    return _with_links(history, links, is_message), links[:, torch.from_numpy(supervision)]


def _mixed(links: Tensor, non_links: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Links and non-links in one random order, so that any batch of them holds both; and their labels."""
    order = torch.from_numpy(rng.permutation(links.size(1) + non_links.size(1)))
    label = torch.cat([torch.ones(links.size(1)), torch.zeros(non_links.size(1))])
    return torch.cat([links, non_links], dim=1)[:, order], label[order]


def _with_links(data: HeteroData, links: Tensor, kept: Mask) -> HeteroData:
    """The nodes of ``data``, and those of the links that are kept."""
    graph = HeteroData()
    for node_type in data.node_types:
        for key, value in data[node_type].items():
            graph[node_type][key] = value
    add_links(graph, *(end[kept] for end in links.numpy()))
    return graph


def _with_labels(graph: HeteroData, edge_label_index: Tensor, edge_label: Tensor) -> HeteroData:
    graph = copy(graph)
    graph[RATES].edge_label_index = edge_label_index
    graph[RATES].edge_label = edge_label
    return graph


def _fingerprint(graphs: tuple[HeteroData, ...]) -> str:
    digest = hashlib.sha256()
    for graph in graphs:
        store = graph[RATES]
        for tensor in (store.edge_index, store.edge_label_index, store.edge_label):
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:16]
