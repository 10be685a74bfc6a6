"""Link prediction on MovieLens-style data with PyTorch Lightning and PyTorch Geometric."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.data.schema import Columns, Reading
    from lightning_lp.data.settings import Sampling, SplitSettings
    from lightning_lp.model.encoders.base import Encoder, Sizes
    from lightning_lp.model.module import LinkPredictionModule
    from lightning_lp.recommend.recommender import Recommender

__version__ = "0.3.0"
__all__ = [
    "Columns",
    "Encoder",
    "LinkPredictionModule",
    "MovieLensDataModule",
    "Reading",
    "Recommender",
    "Sampling",
    "Sizes",
    "SplitSettings",
]

_WHERE = {
    "Columns": "data.schema",
    "Encoder": "model.encoders.base",
    "LinkPredictionModule": "model.module",
    "MovieLensDataModule": "data.datamodule",
    "Reading": "data.schema",
    "Recommender": "recommend.recommender",
    "Sampling": "data.settings",
    "Sizes": "model.encoders.base",
    "SplitSettings": "data.settings",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: torch and its like take seconds."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
