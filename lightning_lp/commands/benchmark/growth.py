"""How time and memory grow with the data: each size in a process of its own, from CSV files to lists."""

from collections.abc import Iterator
from pathlib import Path

from lightning_lp.commands.benchmark.workload import Figure, Workload, run_module
from lightning_lp.data.sources.synthetic import write_movielens

SIZES = {
    100_000: (610, 9_700),
    1_000_000: (6_000, 4_000),
    5_000_000: (32_000, 16_000),
    25_000_000: (162_000, 62_000),
}
"""Numbers of links -> of users and movies, about those of the public MovieLens archives."""


def growth(workload: Workload) -> Iterator[Figure]:
    """Every figure of every size."""
    for num_links in workload.sizes:
        root = synthetic(workload.cache, num_links)
        settings = {**workload.settings, "data": {**workload.settings["data"], "root": str(root), "dataset": None}}
        found, _ = run_module("size", {"settings": settings, "steps": workload.steps}, workload.threads)
        for what, (value, unit) in found.items():
            yield Figure("growth", what, f"{num_links:,} links", value, unit)


def synthetic(cache: Path, num_links: int) -> Path:
    """The folder of a synthetic data set, written if the cache lacks it."""
    root = cache / f"synthetic-{num_links}"
    if not root.is_dir():
        num_users, num_movies = SIZES[num_links]
        write_movielens(root, num_users, num_movies, num_links)
    return root
