"""What a movie's title tells: its words, which sequels share, and the year of release."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_YEAR = re.compile(r"\((\d{4})[^()]*\)\s*$")
_WORD = re.compile(r"[^\W_]+")
_MAX_SHARE = 0.02
"""Words of more titles than this say nothing ("the", "of")."""


def title_terms(titles: Sequence[str]) -> tuple[list[str], Tensor]:
    """The terms of all titles: words that at least two of them share, and five-year periods of release.

    Args:
        titles: ``"Toy Story (1995)"``; the year may be missing.

    Returns:
        The vocabulary, sorted, and [num_movies, max_terms] int64: the numbers of each title's terms, counted from 1,
        sorted and filled up with 0; at least one column.

    Examples:
        >>> from lightning_lp.data.titles import title_terms
        >>> vocabulary, terms = title_terms(["Toy Story (1995)", "Toy Story 2 (1999)", "Heat (1995)"])
        >>> vocabulary
        ['1995-1999', 'story', 'toy']
        >>> terms
        tensor([[1, 2, 3],
                [1, 2, 3],
                [1, 0, 0]])
    """
    terms = [_terms(title) for title in titles]
    counts = Counter(term for of_title in terms for term in of_title)
    most = max(2, int(_MAX_SHARE * len(titles)))
    vocabulary = sorted(term for term, n in counts.items() if n >= 2 and (n <= most or "-" in term))
    number = {term: i for i, term in enumerate(vocabulary, start=1)}
    rows = [sorted(number[term] for term in of_title if term in number) for of_title in terms]
    num_terms = np.array([len(row) for row in rows], dtype=np.int64)
    index = np.zeros((len(titles), max(1, num_terms.max(initial=0))), dtype=np.int64)
    index[np.arange(index.shape[1]) < num_terms[:, None]] = [number for row in rows for number in row]
    return vocabulary, torch.from_numpy(index)


def title_year(title: str) -> int | None:
    """The year of release that a title ends with; None where it has none.

    Examples:
        >>> from lightning_lp.data.titles import title_year
        >>> title_year("Heat (1995)"), title_year("Heat"), title_year("Cosmos (1980-1981)")
        (1995, None, 1980)
    """
    year = _YEAR.search(title)
    return int(year[1]) if year else None


def _terms(title: str) -> set[str]:
    """Words hold no hyphen, periods do: the two cannot be taken for one another."""
    year = _YEAR.search(title)
    words = set(_WORD.findall((title[: year.start()] if year else title).casefold()))
    if year:
        first = int(year[1]) // 5 * 5
        words.add(f"{first}-{first + 4}")
    return words
