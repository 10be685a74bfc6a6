import io

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_lp.data.files.formats import read_columns
from lightning_lp.data.ids import IdMap, id_notes, read_ids
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
    typed = ["3", "3.0", " 3 ", "1000", "3.5", "x", "", str(2**60 + 1), "3", "nan", "9" * 30]
    assert numbers.index_of_text(typed).tolist() == [0, 0, 0, 1, -1, -1, -1, 2, 0, -1, -1]
    assert numbers.index_of_text(["03", "+3", "1e3", "3.", "3.00", "\u0663"]).tolist() == [-1] * 6
    texts = IdMap.from_values(["03", "3"])
    assert texts.index_of_text(["03", " 3", "3.0"]).tolist() == [0, 1, -1]
    assert texts.index_of_text([]).tolist() == []


def column_of(tmp_path, *columns, **options):
    """Each column in a file of its own, with another column in front of it."""
    tables = []
    for number, cells in enumerate(columns):
        path = tmp_path / f"{number}.csv"
        path.write_text("movieId,x\n" + "".join(f"{cell},\n" for cell in cells))
        tables.append(read_columns(path, {"movie": "movieId"}))
    return read_ids(tables, "movie", **options)


@pytest.mark.parametrize(
    ("cells", "ids", "index"),
    [
        (["7", "", "5", "7"], [5, 7], [1, -1, 0, 1]),
        (["3.0", "3", "NA", " -2", "-2.0", "None"], [-2, 3], [1, 1, -1, 0, 0, -1]),
        ([str(2**63 - 1), "1"], [1, 2**63 - 1], [1, 0]),
        ([str(2**63), "7.0", "7"], ["7", "7.0", str(2**63)], [2, 1, 0]),
        (["007", "7", "NA", "007"], ["007", "7"], [0, 1, -1, 0]),
        (["+4917", "1e3", "1.10", "-0", "2."], ["+4917", "-0", "1.10", "1e3", "2."], [0, 3, 2, 1, 4]),
        (["3.50", "4.00", "4"], ["3.50", "4", "4.00"], [0, 2, 1]),
        (["007", "b", "  ", " b ", "\\N", "#N/A", "<NA>"], ["007", "b"], [0, 1, -1, 1, -1, -1, -1]),
        (["DE", "NA", "null", "n/a"], ["DE", "NA", "n/a", "null"], [0, 1, 3, 2]),
        (["3.5", "b", "3"], ["3", "3.5", "b"], [1, 2, 0]),
        (["1e999999999", "2"], ["1e999999999", "2"], [0, 1]),
        (["", "\\N", "NA"], [], [-1, -1, -1]),
    ],
)
def test_what_counts_as_an_id(tmp_path, cells, ids, index):
    ((found, rows),) = column_of(tmp_path, cells)
    assert found.ids.tolist() == ids
    assert rows.tolist() == index


def test_all_ids_as_text(tmp_path):
    ((found, rows),) = column_of(tmp_path, ["3", "3.0", "NA", "20"], as_text=True)
    assert found.ids.tolist() == ["20", "3", "3.0"]
    assert rows.tolist() == [1, 2, -1, 0]


def test_a_few_fractions_among_whole_numbers_are_slips_and_never_cut(tmp_path):
    whole = [str(number) for number in range(1, 20)]
    with pytest.raises(UserError) as error:
        column_of(tmp_path, whole, [*whole, "2.5", "2.5"])
    assert "1.csv line 21, column movieId: '2.5' found, whole number wanted" in str(error.value)
    assert "--data.text_ids true" in str(error.value)
    ((found, _),) = column_of(tmp_path, [*whole, "2.5"], as_text=True)
    assert {"2", "2.5"} <= set(found.ids)
    ((found, _),) = column_of(tmp_path, [*whole, "2.5", "007"])
    assert {"2", "2.5", "007"} <= set(found.ids)
    ((found, _),) = column_of(tmp_path, ["1", "2", *(f"{number}.5" for number in range(9))])
    assert {"1", "0.5"} <= set(found.ids)


def test_two_files_are_read_alike(tmp_path):
    numbers, mixed = column_of(tmp_path, ["7", "8"], ["tt1", "7"])
    assert numbers[0].ids.tolist() == ["7", "8"]
    assert mixed[0].ids.tolist() == ["7", "tt1"]
    whole, huge = column_of(tmp_path, ["3", "8"], [2**70, 3])
    assert whole[0].ids.tolist() == ["3", "8"]
    assert huge[0].ids.tolist() == [str(2**70), "3"]
    floats, whole = column_of(tmp_path, ["3.0", "8.0"], ["", "3"])
    assert (floats[0].ids.tolist(), whole[0].ids.tolist(), whole[1].tolist()) == ([3, 8], [3], [-1, 0])


whole = st.integers(-(2**63), 2**63 - 1).map(str)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(whole | st.from_regex(r"[+0-9a-z.-]{1,4}", fullmatch=True), min_size=1))
def test_ids_come_out_as_they_went_in(tmp_path, cells):
    try:
        ((ids, rows),) = column_of(tmp_path, cells)
    except UserError:
        return
    come_out = [str(ids.ids[index]) if index >= 0 else None for index in rows]
    if ids.ids.dtype == np.int64:
        cells = [cell.removesuffix(".0") for cell in cells]
    assert [out for out in come_out if out is not None] == [
        cell for cell, out in zip(cells, come_out, strict=True) if out is not None
    ]
    np.testing.assert_array_equal(ids.index_of_text([out for out in come_out if out]), rows[rows >= 0])


def test_notes_of_ids():
    assert id_notes("user", IdMap.from_values([1, 2])) == []
    assert id_notes("user", IdMap.from_values(["a", "007"])) == []
    (note,) = id_notes("user", IdMap.from_values(["NA", "DE", "null"]))
    assert "column user" in note
    assert "'NA' and 'null'" in note
    (note,) = id_notes("user", IdMap.from_values(["7", "007", "x"]))
    assert "'007' and '7' are two ids" in note
