"""Fetch and verify the public MovieLens archives (https://grouplens.org/datasets/movielens)."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import BinaryIO

import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from lightning_lp.atomic import install
from lightning_lp.data.sources.archives import DATASETS, MAX_BYTES, Dataset, DownloadError, unpack
from lightning_lp.errors import UserError

BASE_URL = "https://files.grouplens.org/datasets/movielens"


def default_cache_dir() -> Path:
    """`$LIGHTNING_LP_CACHE`, else `$XDG_CACHE_HOME/lightning_lp`, else `~/.cache/lightning_lp`."""
    if chosen := os.environ.get("LIGHTNING_LP_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lightning_lp"


def fetch(
    name: str,
    cache_dir: Path,
    *,
    base_url: str = BASE_URL,
    timeout: float = 20.0,
    deadline: float | None = None,
) -> Path:
    """Return the folder of a public data set, from the cache or else from the network.

    The folder appears by one rename after every check, so one that is there is complete. An archive that the
    user put at `cache_dir/NAME.zip` is taken instead of a download. Processes that ask at once download once.

    Args:
        name: a key of `DATASETS`.
        cache_dir: where data sets are kept; made if missing.
        base_url: where `NAME.zip` and `NAME.zip.md5` are.
        timeout: the longest the connection may be silent, in seconds.
        deadline: the longest the whole download may take, in seconds, waiting for another process included;
            None for no limit.

    Returns:
        `cache_dir/NAME`, with the files of ratings and movies in it.

    Raises:
        UserError: there is no data set of that name.
        DownloadError: anything else; nothing but an empty lock file is left in the cache folder.
    """
    if name not in DATASETS:
        raise UserError(f"there is no data set {name!r} to download: choose one of {', '.join(DATASETS)}")
    dataset, target = DATASETS[name], cache_dir / name
    until = None if deadline is None else time.monotonic() + deadline
    try:
        if not target.is_dir():
            cache_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(cache_dir / f".{name}.lock", timeout=-1 if deadline is None else deadline):
                if not target.is_dir():
                    _install(dataset, target, partial(_download, dataset, base_url, timeout, until))
    except Timeout:
        problem = f"another process has held {cache_dir / f'.{name}.lock'} for {deadline:g} seconds"
    except DownloadError as error:
        problem = str(error)
    except OSError as error:
        raise DownloadError(
            f"cannot keep {name} in the cache folder {cache_dir}: {error}. Name a folder that you can write "
            "with LIGHTNING_LP_CACHE=DIR, or your own files with --data.root DIR"
        ) from error
    else:
        return target
    raise DownloadError(
        f"cannot get the data set {name}: {problem}. Try again, or put a whole {name}.zip (from {BASE_URL}) "
        f"into {cache_dir}, or name your own files with --data.root DIR"
    )


def _install(dataset: Dataset, target: Path, download: Callable[[Path], Path]) -> None:
    """Unpack the user's archive, or a downloaded one, beside the target and move it into place."""
    part = target.with_name(f".{dataset.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed: the lock is ours
    try:
        part.mkdir()
        by_hand = target.with_name(f"{dataset.name}.zip")
        folder = unpack(dataset, by_hand if by_hand.is_file() else download(part), part / "unpacked")
        install(folder, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(dataset: Dataset, base_url: str, timeout: float, until: float | None, folder: Path) -> Path:
    """Download the archive and its published .md5 into the folder; return the archive's path."""
    archive = folder / f"{dataset.name}.zip"
    digest = [f"{archive.name}.md5"] if dataset.md5 else []
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        for name in [*digest, archive.name]:
            url, task = f"{base_url}/{name}", progress.add_task(name, total=None)
            with (folder / name).open("wb") as file:
                advance = partial(progress.update, task)
                _bounded(partial(_transfer, url, file, timeout, advance), until, url)
    return archive


def _bounded(work: Callable[[threading.Event], None], until: float | None, url: str) -> None:
    """Run the work, but wait for it no longer than `until`.

    A name look-up, a trickled header or a trickled body has no time limit in `requests`: only a thread, told
    to stop and left behind, bounds them all.
    """
    stop, done = threading.Event(), Future[None]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name=f"download {url}", daemon=True).start()
    try:
        wait([done], timeout=None if until is None else max(0.0, until - time.monotonic()))
    finally:
        stop.set()
    if not done.done():
        raise DownloadError(f"{url} did not arrive within the time allowed for it")
    done.result()


def _transfer(url: str, file: BinaryIO, timeout: float, advance: Callable[..., None], stop: threading.Event) -> None:
    """Stream the URL into the open file, and check its status and length."""
    try:
        with requests.get(url, stream=True, timeout=timeout) as response:
            if response.status_code != requests.codes.ok:
                raise DownloadError(f"{url} answered {response.status_code} {response.reason}")
            length = response.headers.get("Content-Length", "")
            expected = int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None
            advance(total=expected)
            received = 0
            for chunk in response.iter_content(16 * 1024):
                if stop.is_set():
                    return
                received += file.write(chunk)
                advance(completed=received)
                if received > MAX_BYTES:
                    raise DownloadError(f"{url} is larger than {MAX_BYTES:,} bytes")
    except requests.RequestException as error:
        raise DownloadError(f"{url} could not be downloaded: {error}") from error
    if expected is not None and received != expected:
        raise DownloadError(f"{url} was cut off after {received:,} of {expected:,} bytes")
