"""Link prediction on MovieLens-style data with PyTorch Lightning and PyTorch Geometric."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_lp.data.datamodule import MovieLensDataModule
    from lightning_lp.model.encoders.base import Encoder, Sizes
    from lightning_lp.model.module import LinkPredictionModule
    from lightning_lp.recommend.recommender import Recommender

__version__ = "0.1.0"
__all__ = ["Encoder", "LinkPredictionModule", "MovieLensDataModule", "Recommender", "Sizes"]

_WHERE = {
    "Encoder": "model.encoders.base",
    "LinkPredictionModule": "model.module",
    "MovieLensDataModule": "data.datamodule",
    "Recommender": "recommend.recommender",
    "Sizes": "model.encoders.base",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: torch and its like take seconds."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
