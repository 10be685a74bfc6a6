import pytest
import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from lightning_lp.model.metrics import Auroc, AveragePrecision


@pytest.mark.parametrize(("ours", "theirs"), [(Auroc, BinaryAUROC), (AveragePrecision, BinaryAveragePrecision)])
def test_one_class_alone_measures_nothing(ours, theirs):
    score, label = torch.tensor([0.1, 0.8, 0.6]), torch.tensor([0, 1, 0])
    assert ours()(score, label) == theirs()(score, label)
    for only in (0, 1):
        assert ours()(score, torch.full((3,), only)).isnan()
