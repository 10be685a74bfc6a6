import io

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.data.delimited import read_delimited
from lightning_lp.data.ids import IdMap, read_ids
from lightning_lp.errors import UserError

ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.lists(st.integers()), st.lists(st.text(max_size=4))
)


@given(ids.flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))))
def test_laws(values_and_shuffled):
    values, shuffled = values_and_shuffled
    ids = IdMap.from_values(values)
    assert IdMap.from_values(shuffled) == ids
    assert len(ids) == len(set(values))
    assert list(ids.ids) == sorted(set(values)) or ids.ids.dtype == object
    np.testing.assert_array_equal(ids.index(ids.ids), np.arange(len(ids)))


@given(ids)
def test_checkpoint_round_trip(values):
    ids = IdMap.from_values(values)
    buffer = io.BytesIO()
    torch.save(ids.state(), buffer)
    buffer.seek(0)
    restored = IdMap.from_state(torch.load(buffer, weights_only=True))
    assert restored == ids
    assert restored.ids.dtype == ids.ids.dtype
    np.testing.assert_array_equal(restored.index(ids.ids), np.arange(len(ids)))


def test_order_is_that_of_numbers_or_of_text():
    assert IdMap.from_values([10, 9, 2**40, 10]).ids.tolist() == [9, 10, 2**40]
    assert IdMap.from_values(np.array([3.0, 1.0])).ids.tolist() == [1, 3]
    assert IdMap.from_values(pd.Series(["10", "9", "007"])).ids.tolist() == ["007", "10", "9"]
    assert IdMap.from_values([2**63, -1]).ids.tolist() == ["-1", str(2**63)]
    assert len(IdMap.from_values([])) == 0


def test_no_id_is_missing():
    for value in (None, float("nan")):
        with pytest.raises(ValueError, match="got"):
            IdMap.from_values([1, value])


def test_numbers_and_text_are_different_maps():
    assert IdMap.from_values([1, 2]) != IdMap.from_values(["1", "2"])


def test_index():
    ids = IdMap.from_values([5, 2**53, 2**53 + 1])
    assert ids.index([2**53 + 1, 6, 5, 5]).tolist() == [2, -1, 0, 0]
    assert ids.index(["5"]).tolist() == [-1]
    assert ids.index([]).dtype == np.int64
    assert IdMap.from_values(["a", "b"]).index(["b", "c"]).tolist() == [1, -1]


def test_index_of_text():
    numbers = IdMap.from_values([3, 1000, 2**60 + 1])
    typed = ["3", "3.0", " 3 ", "1e3", "3.5", "x", "", str(2**60 + 1), "3", "nan", "9" * 30]
    assert numbers.index_of_text(typed).tolist() == [0, 0, 0, 1, -1, -1, -1, 2, 0, -1, -1]
    texts = IdMap.from_values(["03", "3"])
    assert texts.index_of_text(["03", " 3", "3.0"]).tolist() == [0, 1, -1]
    assert texts.index_of_text([]).tolist() == []


def column_of(tmp_path, *columns):
    """Each column in a file of its own, with another column in front of it."""
    tables = []
    for number, cells in enumerate(columns):
        path = tmp_path / f"{number}.csv"
        path.write_text("movieId,x\n" + "".join(f"{cell},\n" for cell in cells))
        tables.append(read_delimited(path, {"movie": "movieId"}))
    return read_ids(tables, "movie")


@pytest.mark.parametrize(
    ("cells", "ids", "index"),
    [
        (["7", "", "5", "7"], [5, 7], [1, -1, 0, 1]),
        (["3.0", "3", "NA", " 1e3", "-2."], [-2, 3, 1000], [1, 1, -1, 2, 0]),
        (["36893488147419103232", "7.0", "7"], ["36893488147419103232", "7"], [0, 1, 1]),
        (["007", "b", "  ", " b "], ["007", "b"], [0, 1, -1, 1]),
        (["3.5", "b", "3"], ["3", "3.5", "b"], [1, 2, 0]),
        (["1e999999999", "2"], ["1e999999999", "2"], [0, 1]),
        (["", ""], [], [-1, -1]),
    ],
)
def test_what_counts_as_an_id(tmp_path, cells, ids, index):
    ((found, rows),) = column_of(tmp_path, cells)
    assert found.ids.tolist() == ids
    assert rows.tolist() == index


def test_fraction_is_never_cut(tmp_path):
    with pytest.raises(UserError, match=r"0\.csv line 4, column movieId: '2\.5' found, whole number wanted"):
        column_of(tmp_path, ["1", "2.0", "2.5", "2.5"])


def test_two_files_are_read_alike(tmp_path):
    numbers, mixed = column_of(tmp_path, ["007", "8"], ["tt1", "007"])
    assert numbers[0].ids.tolist() == ["007", "8"]
    assert mixed[0].ids.tolist() == ["007", "tt1"]
    whole, huge = column_of(tmp_path, ["3.0", "8"], [2**70, 3])
    assert whole[0].ids.tolist() == ["3", "8"]
    assert huge[0].ids.tolist() == [str(2**70), "3"]
