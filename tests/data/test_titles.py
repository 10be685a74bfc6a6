import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.data.titles import _terms, title_terms

TITLES = ["Star Wars: Episode IV (1977)", "Star Wars: Episode V (1980)", "Blame (2017)", "BLAME!", "Zoo (1977-1979)"]


def terms_of(titles):
    vocabulary, index = title_terms(titles)
    return [{vocabulary[i - 1] for i in row[row > 0].tolist()} for row in index]


def test_sequels_share_words_and_periods_count():
    found = terms_of(TITLES)
    assert found[0] == {"star", "wars", "episode", "1975-1979"} - {"episode"} | ({"episode"} & found[1])
    assert {"star", "wars"} <= found[1]
    assert "blame" in found[2]
    assert found[3] == {"blame"}
    assert found[4] == {"1975-1979"}


def test_words_of_one_title_alone_and_of_most_are_left_out():
    titles = [f"The Film {i}" for i in range(200)]
    assert terms_of(titles) == [set()] * 200


@given(st.lists(st.text(max_size=30), min_size=1, max_size=12))
def test_any_text_is_read(titles):
    vocabulary, index = title_terms(titles)
    assert vocabulary == sorted(set(vocabulary))
    assert index.shape[0] == len(titles)
    assert index.dtype == torch.int64
    assert 0 <= int(index.min()) <= int(index.max()) <= len(vocabulary)
    for row in index:
        filled = row[row > 0]
        assert filled.tolist() == sorted(set(filled.tolist()))
        assert (row[len(filled) :] == 0).all()


@pytest.mark.parametrize("title", ["", "(1999)", "1999", "Heat (95)", "M (1931) (restored)"])
def test_odd_titles(title):
    assert len(title_terms([title, title])[1]) == 2


def test_numbers_of_many_titles_row_by_row(sized):
    titles = pd.read_csv(sized / "movies.csv").title.tolist()
    vocabulary, index = title_terms(titles)
    number = {term: i for i, term in enumerate(vocabulary, start=1)}
    for title, row in zip(titles, index.tolist(), strict=True):
        numbers = sorted(number[term] for term in _terms(title) & number.keys())
        assert row == numbers + [0] * (index.size(1) - len(numbers))
    assert index[:, -1].any()
