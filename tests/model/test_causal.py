"""Causal attention against a loop over places, and the windows that it reads."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.model.encoders.causal import CausalAttention, _looked_up, rating_buckets
from lightning_lp.model.encoders.windows import windows


def made(length=4, num_layers=2, dropout=0.0):
    torch.manual_seed(0)
    attention = CausalAttention(6, 2, num_layers, length, dropout)
    for parameter in attention.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return attention


def inputs(num_rows=2, width=9):
    h, rating = torch.randn(num_rows, width, 6), torch.randint(10, (num_rows, width))
    return h, rating, (10 ** (12 * torch.rand(num_rows, width))).long().sort(dim=1).values


@pytest.mark.parametrize("has_time", [True, False])
def test_a_layer_against_a_loop(has_time):
    attention = made(num_layers=1)
    h, rating, time = inputs()
    found = attention(h, rating, time if has_time else None)
    layer, x = attention.layers[0], h + attention.rating.weight[rating]
    for row in range(2):
        for place in range(9):
            seen = list(range(max(0, place - 3), place + 1))
            query, key, value = layer.qkv(layer.norm(x[row])).chunk(3, dim=1)
            read = []
            for head, part in enumerate((slice(0, 3), slice(3, 6))):
                logits = key[seen, part] @ query[place, part] / 3**0.5
                logits = logits + torch.stack([layer.distance[place - other, head] for other in seen])
                if has_time:
                    gaps = [int(time[row, place] - time[row, other]) for other in seen]
                    bucket = [min(31, (1 + gap).bit_length() - 1) for gap in gaps]
                    logits = logits + layer.gap[bucket, head]
                read.append(logits.softmax(dim=0) @ value[seen, part])
            z = x[row, place] + layer.value(torch.cat(read))
            z = z + layer.out(F.gelu(layer.hidden(layer.hidden_norm(z))))
            torch.testing.assert_close(found[row, place], attention.out(attention.norm(z)), rtol=1e-4, atol=1e-5)


def test_what_is_looked_up_has_the_gradient_of_an_embedding():
    table, bucket = torch.randn(7, 2, requires_grad=True), torch.randint(5, (3, 4, 4))
    weight = torch.randn(3, 2, 4, 4)
    expected = F.embedding(bucket, table).permute(0, 3, 1, 2)
    found = _looked_up(table, bucket.int())
    assert torch.equal(found, expected)
    grads = [torch.autograd.grad((weight * value).sum(), table)[0] for value in (found, expected)]
    torch.testing.assert_close(*grads)


def test_a_place_sees_what_is_before_it_and_no_further_than_its_layers_reach():
    attention = made()
    h, rating, time = inputs(1, 12)
    before = attention(h, rating, time)
    for place in range(12):
        changed = h.clone()
        changed[0, place] += 1
        other = (rating[0] + 3 * (torch.arange(12) == place)) % 10
        differs = (attention(changed, other[None], time) - before).abs().amax(dim=2)[0] > 1e-5
        assert differs.nonzero().flatten().tolist() == list(range(place, min(12, place + 7)))


def test_padding_changes_nothing():
    attention = made()
    h, rating, time = inputs()
    wide = [torch.cat([value, value[:, -1:].expand_as(value)], dim=1) for value in (h, rating, time)]
    torch.testing.assert_close(attention(*wide)[:, :9], attention(h, rating, time))


def test_dropout_is_for_training():
    attention, values = made(dropout=0.5), inputs()
    assert not torch.equal(attention(*values), attention(*values))
    attention.eval()
    assert torch.equal(attention(*values), attention(*values))


def test_it_runs_in_half_precision():
    attention, values = made(), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(*values)
    torch.testing.assert_close(found.float(), attention(*values), atol=0.1, rtol=0.1)
    found.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in attention.parameters())


def test_ratings_are_told_by_half_deviations():
    rating = torch.tensor([1.0, 2.0, 3.0, 3.4, 4.0, 5.0, 99.0])
    assert rating_buckets(rating, torch.tensor(3.0), torch.tensor(1.0)).tolist() == [1, 3, 5, 6, 7, 9, 9]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30), st.integers(1, 5), st.integers(1, 4))
def test_windows_against_a_loop(asked, length, rows):
    """Of sequences of 12 links each: source and length of each history."""
    first = torch.tensor([12 * source for source, _ in asked], dtype=torch.int64)
    end = torch.tensor([12 * source + number for source, number in asked], dtype=torch.int64)
    parts, where = windows(first, end, length, rows)
    ended = [place.flatten()[at] for place, last in parts for at in last]
    assert len(ended) == sum(number > 0 for _, number in asked)
    read = {}
    for (source, number), at in zip(asked, where.tolist(), strict=True):
        assert (at < 0) is (number == 0)
        if number:
            assert int(ended[at]) == 12 * source + number - 1
            k = (number - 1) // length
            key = source, k
            read[key] = max(read.get(key, 0), number)
    wanted = [list(range(12 * s + max(0, (k - 1) * length), 12 * s + number)) for (s, k), number in read.items()]
    found = []
    for place, last in parts:
        assert 1 <= len(place) <= rows
        for row in place.tolist():
            found.append(list(range(row[0], row[-1] + 1)))
            assert row == found[-1] + [row[-1]] * (len(row) - len(found[-1]))
        columns = last % place.size(1)
        assert (place[last // place.size(1), columns] == place.flatten()[last]).all()
    assert sorted(found) == sorted(wanted)
    widths = [len(one) for one in found]
    assert widths == sorted(widths)
