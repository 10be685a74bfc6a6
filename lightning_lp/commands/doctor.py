"""``lightning-lp doctor``: whether this machine can train, and what to do where it cannot.

Needs the standard library alone to start: each check imports what it examines, and a failing import is a finding.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lightning_lp.escape import visible

_LEAST_FREE = 2**30  # bytes: the largest archive that is fetched by default, unpacked, and some checkpoints


class Finding(NamedTuple):
    """One line: what was looked at, what was found and, if it must be fixed, how."""

    what: str
    found: str
    remedy: str = ""


def doctor(args: Sequence[str] | None = None) -> None:
    """Prints one line for each finding.

    Raises:
        SystemExit: with status 1 if something must be fixed.
    """
    parser = argparse.ArgumentParser(
        prog="lightning-lp doctor",
        description="Says whether this machine can train: versions, devices, threads, sampler, disk and folders.",
    )
    parser.parse_args(args)
    findings = [finding for check in CHECKS for finding in examine(check)]
    for what, found, remedy in findings:
        print(visible(f"{'FIX' if remedy else 'OK ':3}  {what}: {found}" + f": {remedy}" * bool(remedy)))
    if any(finding.remedy for finding in findings):
        sys.exit(1)


def examine(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one check; that it cannot be made is one, too."""
    try:
        yield from check()
    except Exception as error:  # a broken installation fails in whatever way it likes
        problem = " ".join(str(error).split())[:200]
        reinstall = "install again: pip install --constraint constraints.txt --editable ."
        yield Finding(check.__name__.strip("_"), f"{type(error).__name__}: {problem}", reinstall)


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    package = metadata.metadata("lightning_lp")
    python, wanted = ".".join(map(str, sys.version_info[:3])), package["Requires-Python"]
    right = python in SpecifierSet(wanted)
    yield Finding("python", f"{python} ({wanted})", "" if right else "make an environment with a newer one")
    for requirement in map(Requirement, metadata.requires("lightning_lp") or []):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = "missing"
        right = version != "missing" and requirement.specifier.contains(version, prereleases=True)
        remedy = "" if right else f"pip install '{requirement.name}{requirement.specifier}'"
        yield Finding(requirement.name, f"{version} ({requirement.specifier})", remedy)


def _devices() -> Iterator[Finding]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    names += ["Apple GPU (mps)"] * torch.backends.mps.is_available()
    yield Finding("devices", ", ".join(names) or "CPU alone, which is enough for ml-latest-small")


def _threads() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    remedy = f"they will wait for each other, set OMP_NUM_THREADS={cores}" if threads > cores else ""
    yield Finding("threads", f"{threads} on {cores} cores", remedy)


def _sampler() -> Iterator[Finding]:
    """Compiles the kernel and samples a graph of three links: what comes out can be counted on fingers."""
    import torch
    from torch_geometric.data import HeteroData
    from torch_geometric.sampler import EdgeSamplerInput

    from lightning_lp.data.schema import MOVIE, RATES, REV_RATES, USER
    from lightning_lp.graph.sampler import LinkNeighborSampler

    data = HeteroData()
    data[USER].num_nodes, data[MOVIE].num_nodes = 2, 2
    data[RATES].edge_index = torch.tensor([[0, 0, 1], [0, 1, 0]])
    data[REV_RATES].edge_index = data[RATES].edge_index.flip(0)
    sampler = LinkNeighborSampler(data, [-1], edge_type=RATES, rev_edge_type=REV_RATES)
    user = movie = torch.tensor([0])
    out = sampler.sample_from_edges(EdgeSamplerInput(input_id=user, row=user, col=movie, input_type=RATES))
    links = {
        kind: [(int(out.node[kind[0]][i]), int(out.node[kind[2]][j])) for i, j in zip(*pair, strict=True)]
        for kind, pair in ((kind, (out.row[kind], out.col[kind])) for kind in (RATES, REV_RATES))
    }
    # Link (0, 0) is being scored: its ends hear from their other neighbours, not from each other.
    right = links == {RATES: [(1, 0)], REV_RATES: [(1, 0)]}
    remedy = "" if right else "remove the folder of the numba cache below, and install numba again"
    yield Finding("sampler", "compiles and gives the right answer" if right else f"gives {links}", remedy)


def _numba_cache() -> Iterator[Finding]:
    from lightning_lp.graph import kernel

    folder = Path(str(kernel.sample_hop.stats.cache_path))
    remedy = "" if _is_writable(folder) else "compiles in every process anew, set NUMBA_CACHE_DIR to a folder of yours"
    yield Finding("numba cache", f"{folder}, {len(list(folder.glob('kernel.*.nbc')))} compiled", remedy)


def _folders() -> Iterator[Finding]:
    from lightning_lp.data.sources.download import default_cache_dir

    for what, folder, option in (
        ("data cache", default_cache_dir(), "set LIGHTNING_LP_CACHE"),
        ("current folder", Path.cwd(), "go to another folder"),
    ):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        found = f"{folder}, {free / 2**30:.1f} GiB free"
        if not _is_writable(existing):
            yield Finding(what, f"{found}, cannot be written to", option)
        else:
            yield Finding(what, found, "" if free >= _LEAST_FREE else f"make room, or {option}")


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


CHECKS = (_versions, _devices, _threads, _sampler, _numba_cache, _folders)
