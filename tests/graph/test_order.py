from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.graph.order import LinkOrder

SIZES = st.integers(1, 60)


def batches(order: LinkOrder) -> list[list[int]]:
    visited = list(order)
    assert len(visited) == len(order)
    return [visited[i : i + order.batch_size] for i in range(0, len(visited), order.batch_size)]


@given(SIZES, SIZES, st.integers(1, 4))
def test_evaluation_visits_every_link_once_in_the_batches_of_one_process(num_links, batch_size, num_replicas):
    alone = batches(LinkOrder(num_links, batch_size, shuffle=False))
    assert sum(alone, []) == list(range(num_links))
    together = [
        batches(LinkOrder(num_links, batch_size, shuffle=False, num_replicas=num_replicas, rank=rank))
        for rank in range(num_replicas)
    ]
    assert sorted(sum(together, [])) == sorted(alone)


@given(SIZES, SIZES, st.integers(1, 4), st.integers(0, 5))
def test_every_process_is_handed_the_global_batches(num_links, batch_size, num_replicas, epoch):
    alone = LinkOrder(num_links, batch_size * num_replicas, shuffle=True, seed=7)
    alone.set_epoch(epoch)
    handed = []
    for rank in range(num_replicas):
        order = LinkOrder(num_links, batch_size, shuffle=True, seed=7, num_replicas=num_replicas, rank=rank)
        order.set_epoch(epoch)
        handed.append(list(order))
        assert len(order) == len(handed[-1])
    visited = handed[0]
    assert all(other == visited for other in handed)  # each takes its share of it
    left_out = num_links % (batch_size * num_replicas) % num_replicas
    whole = batches(alone)
    assert len(visited) % num_replicas == 0
    assert visited == sum(whole, [])[: num_links - left_out]


def test_each_epoch_has_its_own_order():
    order = LinkOrder(100, 10, shuffle=True, seed=1)
    first = list(order)
    assert sorted(first) == list(range(100))
    order.set_epoch(0)
    assert list(order) == first
    order.set_epoch(1)
    second = list(order)
    assert second != first
    # Where nobody tells it the epoch, each pass is the next one.
    plain = LinkOrder(100, 10, shuffle=True, seed=1)
    assert [list(plain), list(plain)] == [first, second]
    assert plain.epoch == 1
    assert list(LinkOrder(100, 10, shuffle=True, seed=2)) != first


@pytest.mark.parametrize("shuffle", [True, False])
def test_only_training_tells_the_sampler_the_epoch(shuffle):
    class Sampler:
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    sampler = Sampler()
    LinkOrder(10, 2, shuffle=shuffle, sampler=sampler).set_epoch(3)
    assert sampler.epoch == (3 if shuffle else 0)


@given(st.lists(st.integers(-3, 5), max_size=60), SIZES, st.integers(1, 3), st.integers(0, 5))
def test_links_of_a_group_stay_together_in_their_order(group, batch_size, num_replicas, epoch):
    handed = []
    for rank in range(num_replicas):
        chosen = {
            "seed": 7,
            "num_replicas": num_replicas,
            "rank": rank,
            "group": torch.tensor(group, dtype=torch.int64),
        }
        order = LinkOrder(len(group), batch_size, shuffle=True, **chosen)
        order.set_epoch(epoch)
        handed.append(list(order))
    visited = handed[0]
    assert all(other == visited for other in handed)
    assert len(visited) == len(set(visited)) == len(group) - len(group) % num_replicas
    runs = [[link for link in visited if group[link] == name] for name in dict.fromkeys(group[i] for i in visited)]
    assert sum(runs, []) == visited  # contiguous
    assert all(run == sorted(run) for run in runs)
    if num_replicas == 1:
        assert sorted(visited) == list(range(len(group)))


@given(st.lists(st.integers(-3, 5), max_size=60), st.integers(2, 5), st.integers(0, 5))
def test_parts_of_a_group_are_equal_and_come_one_in_each_round(group, num_parts, epoch):
    groups = torch.tensor(group, dtype=torch.int64)
    order = LinkOrder(len(group), 4, shuffle=True, group=groups, parts_per_group=num_parts)
    order.set_epoch(epoch)
    visited = list(order)
    assert sorted(visited) == list(range(len(group)))
    runs = [(name, [*links]) for name, links in groupby(visited, key=group.__getitem__)]  # contiguous
    for name, size in Counter(group).items():
        sizes = [len(links) for other, links in runs if other == name]
        assert sum(sizes) == size
        assert len(sizes) <= num_parts
        most = (
            2 if len(set(group)) > 1 else num_parts
        )  # parts of one run: two meet where one round ends and another begins
        assert max(sizes) <= most * -(-size // num_parts)
        if len(sizes) == num_parts:
            assert max(sizes) - min(sizes) <= 1


def test_parts_of_a_group_are_drawn_anew_in_each_epoch():
    group = torch.arange(1000) % 10
    order = LinkOrder(1000, 10, shuffle=True, group=group, parts_per_group=2)
    halves = [set(list(order)[:500]) for _ in range(3)]
    assert all(Counter(link % 10 for link in half) == dict.fromkeys(range(10), 50) for half in halves)
    for one, other in pairwise(halves):
        assert 200 < len(one & other) < 300, "250 if they are independent"


def test_a_single_link_is_in_any_of_the_parts():
    group = torch.cat([torch.arange(1000), torch.full((1000,), 1000)])
    first = list(LinkOrder(2000, 10, shuffle=True, group=group, parts_per_group=2))[:1000]
    assert 430 < sum(link < 1000 for link in first) < 570


def test_groups_are_in_another_order_in_each_epoch():
    group = torch.arange(300) % 100
    orders = [list(LinkOrder(300, 10, shuffle=True, seed=seed, group=group)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    order = LinkOrder(300, 10, shuffle=True, seed=1, group=group)
    first, second = list(order), list(order)
    assert (first, sorted(first)) == (orders[0], sorted(second))
    names = [[link % 100 for link in found[::3]] for found in (first, second)]
    assert names[0] != names[1]
    assert names[0] != sorted(names[0])
    assert np.abs(np.corrcoef(names[0], range(100))[0, 1]) < 0.4


def test_evaluation_knows_no_groups():
    assert list(LinkOrder(6, 2, shuffle=False, group=torch.tensor([1, 0, 1, 0, 1, 0]))) == list(range(6))


def test_a_group_for_each_link_is_wanted():
    with pytest.raises(ValueError, match="one number for each of 6 links wanted"):
        LinkOrder(6, 2, shuffle=True, group=torch.arange(5))
    with pytest.raises(ValueError, match="parts_per_group 0: 1 or more wanted"):
        LinkOrder(6, 2, shuffle=True, group=torch.arange(6), parts_per_group=0)
