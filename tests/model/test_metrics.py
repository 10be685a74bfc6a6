import pytest
import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from lightning_lp.model.metrics import Auroc, AveragePrecision, probabilities


@pytest.mark.parametrize(("ours", "theirs"), [(Auroc, BinaryAUROC), (AveragePrecision, BinaryAveragePrecision)])
def test_one_class_alone_measures_nothing(ours, theirs):
    score, label = torch.tensor([0.1, 0.8, 0.6]), torch.tensor([0, 1, 0])
    assert ours()(score, label) == theirs()(score, label)
    for only in (0, 1):
        assert ours()(score, torch.full((3,), only)).isnan()


def test_equal_logits_have_equal_probabilities_wherever_they_stand():
    for logit in torch.linspace(-9, 9, 101).tolist():
        for num in (1, 7, 9, 31):
            assert probabilities(torch.full((num,), logit)).unique().numel() == 1
    torch.testing.assert_close(probabilities(torch.tensor([-2.0, 0.0, 5.0])), torch.tensor([-2.0, 0.0, 5.0]).sigmoid())
