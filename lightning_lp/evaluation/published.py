"""Published figures on files that are fixed, to measure on the very same files beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

_BARS = "Zhu et al., BARS, SIGIR 2022"
_ULTRAGCN = "Mao et al., UltraGCN, CIKM 2021"


@dataclass(frozen=True)
class Published:
    """A row of a published table.

    Attributes:
        model: name of the model.
        recall: Recall@20, mean over the users with links in the test file.
        ndcg: NDCG@20, likewise.
        source: the paper that gives the figures; where it is not that of the model, it measured the model anew.
    """

    model: str
    recall: float
    ndcg: float
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A data set whose training and test files are fixed, without a file for validation.

    Attributes:
        title: its name in publications.
        counts: ``users``, ``movies``, ``train_links`` and ``test_links`` as published.
        ease_l2: penalty that EASE is measured with: the published one, or else the best on a tenth of the training
            links, drawn at random.
        rows: what is published, in order of time.
    """

    title: str
    counts: Mapping[str, int]
    ease_l2: float
    rows: tuple[Published, ...]


BENCHMARKS: Mapping[str, Benchmark] = {
    "ml-1m-m2": Benchmark(
        "MovieLens1M_m2",
        {"users": 6_022, "movies": 3_043, "train_links": 796_244, "test_links": 99_455},
        ease_l2=1000.0,
        rows=(
            Published("LightGCN", 0.2576, 0.2427, _ULTRAGCN),
            Published("UltraGCN", 0.2787, 0.2642, _ULTRAGCN),
        ),
    ),
    "gowalla": Benchmark(
        "Gowalla",
        {"users": 29_858, "movies": 40_981, "train_links": 810_128, "test_links": 217_242},
        ease_l2=80.0,
        rows=(
            Published("popularity", 0.0416, 0.0317, _BARS),
            Published("EASE", 0.1765, 0.1467, _BARS),
            Published("LightGCN", 0.1820, 0.1547, _BARS),
            Published("GF-CF", 0.1849, 0.1518, "Shen et al., CIKM 2021"),
            Published("UltraGCN", 0.1862, 0.1580, _ULTRAGCN),
            Published("SimpleX", 0.1872, 0.1557, "Mao et al., SimpleX, CIKM 2021"),
        ),
    ),
}
"""By the name that the command ``reproduce`` takes."""
