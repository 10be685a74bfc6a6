import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.graph.sequences import sequences


@st.composite
def timed_links(draw):
    """Links in any order, with repeats and ties in time; some sources have none."""
    num_sources, num = draw(st.integers(1, 6)), draw(st.integers(0, 30))
    column = st.tuples(st.integers(0, num_sources - 1), st.integers(0, 8), st.integers(-3, 3))
    columns = draw(st.lists(column, min_size=num, max_size=num))
    links = torch.tensor(columns, dtype=torch.int64).reshape(num, 3).t()
    return num_sources, links[:2], links[2]


@given(timed_links(), st.booleans())
def test_links_are_in_order_of_source_time_and_as_given(drawn, has_times):
    num_sources, edge_index, time = drawn
    found = sequences(edge_index, time if has_times else None, num_sources)
    expected = sorted(range(len(time)), key=lambda i: (edge_index[0, i], time[i] if has_times else 0, i))
    assert found.edge.tolist() == expected
    assert torch.equal(found.node, edge_index[1, found.edge])
    assert torch.equal(found.source, edge_index[0, found.edge])
    assert found.num_sources == num_sources
    assert found.length.tolist() == [(edge_index[0] == source).sum().item() for source in range(num_sources)]
    assert found.indptr[0] == 0
    assert torch.equal(found.indptr.diff(), found.length)
    if has_times:
        assert torch.equal(found.time, time[found.edge])
    else:
        assert found.time is None


@given(timed_links())
def test_places_count_from_the_end(drawn):
    num_sources, edge_index, time = drawn
    found = sequences(edge_index, time, num_sources)
    for source in range(num_sources):
        places = found.place[found.indptr[source] : found.indptr[source + 1]]
        assert places.tolist() == list(range(len(places), 0, -1))


@given(timed_links(), st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_a_history_ends_before_the_time_of_its_question(drawn, times):
    num_sources, edge_index, time = drawn
    found = sequences(edge_index, time, num_sources)
    questions = torch.cartesian_prod(torch.arange(num_sources), torch.tensor(times)).t()
    for (source, asked), end in zip(questions.t().tolist(), found.end_before(*questions).tolist(), strict=True):
        earlier = [i for i in range(len(time)) if edge_index[0, i] == source and time[i] < asked]
        assert sorted(found.edge[found.indptr[source] : end].tolist()) == earlier


def test_without_times_nothing_is_earlier():
    found = sequences(torch.tensor([[0, 0], [1, 2]]), None, 1)
    with pytest.raises(ValueError, match="no times"):
        found.end_before(torch.tensor([0]), torch.tensor([5]))
