"""How many requests a second a service answers, and how long they take, from another process on the same machine."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from lightning_lp.commands.benchmark.load import ask_all, request
from lightning_lp.commands.benchmark.workload import Figure, Workload, run_child, seconds
from lightning_lp.errors import UserError
from lightning_lp.recommend.recommender import Recommender

NUM_REQUESTS = 5000
_CONNECTIONS = 8
_FACTORS = 64
"""Of implicit's model: its default width here as among the baselines."""


def serve(workload: Workload) -> Iterator[Figure]:
    """Trains for an epoch with the settings, serves the run, and asks; beside it, implicit's own ``recommend``."""
    if find_spec("uvicorn") is None:
        raise UserError("--groups serve needs the extra: pip install 'lightning_lp[serve]'")
    with tempfile.TemporaryDirectory() as folder:
        where = [f"--data.root={workload.root}", f"--trainer.default_root_dir={folder}"]
        run_child(["-m", "lightning_lp", "fit", *workload.flags, *where, "--trainer.max_epochs=1"], workload.threads)
        run = Path(folder) / "lightning_logs" / "version_0"
        recommender = Recommender.load(run)
        users, movies = recommender.users.ids.tolist(), recommender.movies.ids.tolist()
        size = f"{len(users):,} users, {len(movies):,} movies"
        with _running(run, workload.threads) as server:
            yield Figure("serve", "start to ready", size, server.seconds, "s")
            known = [request("GET", f"/v1/recommendations?user={user}") for user in users]
            rated = [
                request("POST", "/v1/ratings", {"user": f"new {i % 500}", "movie": str(movies[i % len(movies)])})
                for i in range(NUM_REQUESTS // 5)
            ]
            new = [request("GET", f"/v1/recommendations?user=new%20{i}") for i in range(min(500, len(rated)))]
            yield from _figures(server.port, "each user for the first time", known)
            yield from _figures(server.port, "users again and again", _cycled(known, NUM_REQUESTS))
            yield from _figures(server.port, "ratings, each on the disk", rated)
            yield from _figures(server.port, "users for the first time after ratings", new)
            memory = psutil.Process(server.process.pid).memory_info().rss / 2**20
            yield Figure("serve", "memory of the service", size, memory, "MiB")
        yield _beside(recommender, size)


class _Server(NamedTuple):
    process: "subprocess.Popen[str]"
    port: int
    seconds: float


@contextmanager
def _running(run: Path, threads: int) -> Iterator[_Server]:
    """A service in a process of its own."""
    command = [sys.executable, "-m", "lightning_lp", "serve", "--port=0", "--run", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if (found := re.search(r" at http://127\.0\.0\.1:(\d+) ", line)) is None:
                raise UserError(f"the service did not start: {line.strip() or 'it said why above'}")
            yield _Server(process, int(found[1]), time.perf_counter() - start)
        finally:
            process.terminate()


def _figures(port: int, what: str, requests: Sequence[bytes]) -> Iterator[Figure]:
    took: list[float] = []
    whole = seconds(lambda: took.extend(asyncio.run(ask_all(port, requests, _CONNECTIONS))))
    setting = f"{len(requests):,} requests, {_CONNECTIONS} connections"
    yield Figure("serve", what, setting, len(requests) / whole, "/s")
    for name, share in (("half within", 0.5), ("99 % within", 0.99)):
        yield Figure("serve", f"{what}: {name}", setting, 1000 * float(np.quantile(took, share)), "ms")


def _cycled(requests: Sequence[bytes], count: int) -> list[bytes]:
    return [requests[i % len(requests)] for i in range(count)]


def _beside(recommender: Recommender, size: str) -> Figure:
    """What implicit answers a second in one process, one user after another, without HTTP, titles or JSON."""
    shape = (len(recommender.users), len(recommender.movies))
    ones = np.ones(len(recommender.seen_movies), np.float32)
    links = csr_matrix((ones, recommender.seen_movies, recommender.seen_indptr), shape)
    model = AlternatingLeastSquares(_FACTORS, iterations=1, random_state=0)
    with threadpool_limits(1, "blas"):
        model.fit(links, show_progress=False)
        whole = seconds(lambda: [model.recommend(user, links[user], N=10) for user in range(shape[0])])
    return Figure("serve", "implicit's recommend, without HTTP", f"{size}, {_FACTORS} factors", shape[0] / whole, "/s")
