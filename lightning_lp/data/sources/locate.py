"""Which folder the data comes from: the user's own, a public archive, or the embedded sample."""

import logging
from pathlib import Path

from lightning_lp.data.sources.archives import DATASETS, DownloadError
from lightning_lp.data.sources.download import default_cache_dir, fetch
from lightning_lp.data.sources.synthetic import write_sample
from lightning_lp.errors import UserError

log = logging.getLogger("lightning_lp")

DEFAULT_DATASET = "ml-latest-small"
_PATIENCE = 8.0  # seconds for the default data set, which nobody asked for by name


def locate(root: str | None = None, dataset: str | None = None, cache_dir: str | None = None) -> Path:
    """Finds the folder with the CSV files, fetching or writing it where need be.

    Args:
        root: a folder of the user's.
        dataset: name of a public archive, taken from the cache or downloaded.
        cache_dir: where archives and the sample are kept. Default: ``default_cache_dir()``.

    Returns:
        ``root``; or the folder of ``dataset``. With neither given, that of ml-latest-small or, if it can be
        neither found nor downloaded within seconds, that of the synthetic sample, with a warning.

    Raises:
        UserError: both are given, or the data set asked for is not to be had.
    """
    if root is not None and dataset is not None:
        raise UserError(f"--data.root {root} and --data.dataset {dataset}: give one of them")
    if root is not None:
        return Path(root).expanduser()
    cache = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    if dataset is not None:
        if dataset not in DATASETS:
            raise UserError(f"--data.dataset {dataset}: known data sets are {', '.join(DATASETS)}")
        return fetch(dataset, cache)
    try:
        return fetch(DEFAULT_DATASET, cache, timeout=_PATIENCE / 2, deadline=_PATIENCE)
    except DownloadError as error:
        log.warning(
            "NOT MovieLens: training on a synthetic sample, whose figures say nothing about real data.\n"
            "Give your own CSV files with --data.root DIR. The download was tried: %s",
            error,
        )
        return write_sample(cache)
