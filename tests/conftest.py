import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # of a call in pytorch_lightning

import pytest
import torch

torch.set_num_threads(1)

SHARED = Path(os.environ.get("LIGHTNING_LP_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The real ml-latest-small, where this machine has it."""
    root = SHARED / "data" / "ml-latest-small"
    if not root.is_dir():
        pytest.skip(f"needs ml-latest-small in {root}")
    return root


@pytest.fixture(scope="session")
def cases() -> Path:
    """The odd input files, where this machine has them."""
    root = SHARED / "cases"
    if not root.is_dir():
        pytest.skip(f"needs the odd input files in {root}")
    return root
