"""A split that goes on from an earlier one: what was trained on is held out by none after it."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.schema import RATES
from lightning_lp.errors import UserError
from lightning_lp.graph.split import LinkSplit
from lightning_lp.graph.strategies import NEW, Undivided, partition, partition_on
from tests.graphs import graphs, make_graph, random_links
from tests.graphs import split as split_links

SETTINGS = {"num_val": 0.2, "num_test": 0.1, "neg_sampling_ratio": 0.5, "non_links": "any"}
STRATEGIES = st.sampled_from(["random", "temporal", "leave_last_out"])


def parts_of(data: HeteroData, split: LinkSplit) -> Tensor:
    """[num_links] the part of each link."""
    part = torch.zeros(data[RATES].num_edges, dtype=torch.uint8)
    for number, graph in enumerate((split.val, split.test), start=1):
        part[graph[RATES].edge_label_id[graph[RATES].edge_label > 0].long()] = number
    return part


def grown(data: HeteroData, before: Tensor, share: float, seed: int) -> Tensor:
    """The parts of before, where a share of the links was not yet there."""
    is_new = torch.from_numpy(np.random.default_rng(seed).random(len(before)) < share)
    return torch.where(is_new, int(NEW), before.long())


def earlier_than_training(data: HeteroData, part: Tensor, strategy: str) -> Tensor:
    """[num_links] whether a training link is later; to ``leave_last_out`` one of the same source."""
    source, time = data[RATES].edge_index[0], data[RATES].time
    is_later = (time[:, None] < time) & (part == 0)
    if strategy == "leave_last_out":
        is_later &= source[:, None] == source
    return is_later.any(dim=1)


@given(graphs(min_links=16), STRATEGIES, STRATEGIES, st.sampled_from([0.0, 0.3, 0.7]), st.integers(0, 9))
def test_what_was_trained_on_is_held_out_by_no_later_split(data, first, strategy, share, seed):
    try:
        earlier = split_links(data, first, **SETTINGS, seed=seed)
        before = grown(data, parts_of(data, earlier), share, seed)
        split = split_links(data, strategy, **SETTINGS, seed=seed + 1, before=before)
    except UserError:
        assume(False)
    part = parts_of(data, split)
    assert (part[before == 0] == 0).all()
    if strategy == "random":  # each stays where it was, and what is new is divided by the same shares
        assert torch.equal(part[before != NEW].long(), before[before != NEW])
        num_new = int((before == NEW).sum())
        new = torch.bincount(part[before == NEW].long(), minlength=3).tolist()
        assert new[1:] == [int(0.2 * num_new), int(0.1 * num_new)]
        assert split.num_kept == 0
    else:
        anew = split_links(data, strategy, **SETTINGS, seed=seed + 1, before=torch.full_like(before, int(NEW)))
        differs = parts_of(data, anew) != part
        assert (part[differs] == 0).all()
        assert split.num_kept == int(differs.sum())
        assert not (earlier_than_training(data, part, strategy) & (part > 0)).any()
        is_in_the_way = earlier_than_training(data, torch.where(before == 0, 0, 3), strategy)
        assert (is_in_the_way | (before == 0))[differs].all()  # and no other
    # The same again: a checkpoint of the later run tells what that of the earlier one did.
    again = split_links(data, strategy, **SETTINGS, seed=seed + 1, before=part)
    assert again.fingerprint == split.fingerprint


@pytest.mark.parametrize(("shares", "parts"), [((0.0, 0.1), {0, 2}), ((0.1, 0.0), {0, 1}), ((0.0, 0.0), {0})])
def test_a_part_that_is_no_longer_wanted_goes_to_training(shares, parts):
    data = make_graph(random_links(9, 9, 40, seed=0), 9, 9)
    before = parts_of(data, split_links(data, "random", **SETTINGS))
    split = split_links(
        data, "random", **SETTINGS | dict(zip(("num_val", "num_test"), shares, strict=True)), before=before
    )
    assert set(parts_of(data, split).tolist()) == parts


def test_a_split_that_leaves_nothing_to_judge_on_is_refused():
    links = Undivided(torch.zeros(2, 10, dtype=torch.int64), np.arange(10), "time", is_undirected=False)
    with pytest.raises(UserError, match="leaves none for validation, for 4 were trained on before"):
        partition_on(links, np.zeros(10, np.uint8), "temporal", 0.2, 0.2, np.random.default_rng(0))
    assert partition(links, "temporal", 0.2, 0.2, np.random.default_rng(0)).max() == 2


def test_what_is_earlier_than_a_training_link_is_not_held_out():
    """It would be judged by a history, or a model, that knows what came after it."""
    links, time = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]] * 2), np.array([1, 2, 3, 4, 2, 3, 4, 5])
    undivided = Undivided(links, time, "time", is_undirected=False)
    before = np.array([0, 3, 3, 0, 0, 0, 3, 3], np.uint8)  # the first source's last one was trained on
    parts = {
        strategy: partition_on(undivided, before, strategy, 0.4, 0.25, np.random.default_rng(0))
        for strategy in ("leave_last_out", "temporal")
    }
    part, num_kept = parts["leave_last_out"]
    assert (part.tolist(), num_kept) == ([0, 0, 0, 0, 0, 0, 1, 2], 2)
    part, num_kept = parts["temporal"]
    assert (part[:6].tolist(), num_kept, (part[6:] > 0).all()) == ([0] * 6, 3, True)


@pytest.mark.parametrize("before", [torch.zeros(39), torch.full((40,), 4)])
def test_parts_that_are_none_are_refused(before):
    with pytest.raises(ValueError, match=r"`before` .* 0, 1, 2 or 3 for each of 40 edges"):
        split_links(make_graph(random_links(9, 9, 40, seed=0), 9, 9), "random", before=before)
