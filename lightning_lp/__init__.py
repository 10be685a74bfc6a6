"""Link prediction on MovieLens-style data with PyTorch Lightning and PyTorch Geometric."""

__version__ = "0.1.0"
