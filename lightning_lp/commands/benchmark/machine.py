"""Which machine it is, and what it can do at most: memory, gathering rows, arithmetic."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from lightning_lp.commands.benchmark.workload import Figure, Workload, median_seconds

_PACKAGES = ("torch", "torch_geometric", "pytorch-lightning", "numba", "numpy")
_FLOATS, _ROWS, _CHANNELS, _SIDE = 2**26, 2**20, 64, 2048


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores, threads, memory and versions."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def machine(workload: Workload) -> Iterator[Figure]:
    """Limits: copying 256 MiB, gathering a million random rows of 64 channels, multiplying two matrices."""
    setting = f"{workload.threads} threads"
    source, target = torch.ones(_FLOATS), torch.empty(_FLOATS)
    took = median_seconds(lambda: target.copy_(source), workload.repeat)
    yield Figure("machine", "copy, read and written", setting, 2 * 4 * _FLOATS / took / 1e9, "GB/s")
    table, row = source.view(-1, _CHANNELS), torch.randint(_FLOATS // _CHANNELS, (_ROWS,))
    rows = target.view(-1, _CHANNELS)[:_ROWS]
    took = median_seconds(lambda: torch.index_select(table, 0, row, out=rows), workload.repeat)
    yield Figure("machine", "random rows of 64 channels, read", setting, 4 * _ROWS * _CHANNELS / took / 1e9, "GB/s")
    left, right = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    took = median_seconds(lambda: left @ right, workload.repeat)
    yield Figure("machine", "product of float32 matrices", setting, 2 * _SIDE**3 / took / 1e9, "GFLOP/s")


def _cpu() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
