"""Metrics that are undefined, never 0 or 1, where labels of one class leave nothing to measure."""

import torch
from torch import Tensor
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision
from torchmetrics.utilities import dim_zero_cat


class Auroc(BinaryAUROC):
    """Area under the ROC curve; NaN unless there are labels of both classes."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """The area over all labels so far."""
        return super().compute() if has_both(self.target) else torch.tensor(torch.nan, device=self.device)


class AveragePrecision(BinaryAveragePrecision):
    """Area under the precision-recall curve; NaN unless there are labels of both classes."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """The area over all labels so far."""
        return super().compute() if has_both(self.target) else torch.tensor(torch.nan, device=self.device)


def probabilities(logits: Tensor) -> Tensor:
    """The same for the same logit, wherever it stands: so that scores that tie, tie in batches of any size.

    In float32 the last elements of a tensor, which fill no register, are computed in another way than those before
    them, and their last bit may differ.
    """
    exact = logits if logits.device.type == "mps" else logits.double()  # MPS has no float64
    return exact.sigmoid().float()


def has_both(target: Tensor | list[Tensor]) -> bool:
    """Whether there are labels 0 and labels 1 among a metric's targets."""
    label = dim_zero_cat(target)
    return bool((label == 0).any() and (label == 1).any())
