import pytest
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
