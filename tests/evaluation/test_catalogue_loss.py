import pytest
import torch
import torch.nn.functional as F

from lightning_lp.evaluation.catalogue_loss import catalogue_cross_entropy


@pytest.mark.parametrize("num_rows", [1, 127, 128, 300])
@pytest.mark.parametrize("scale", [0.1, 30.0])  # scores of hundreds would overflow
def test_value_and_gradient_are_those_of_torch(num_rows, scale):
    generator = torch.Generator().manual_seed(0)
    z = (scale * torch.randn(num_rows, 8, generator=generator)).requires_grad_()
    weight = torch.randn(50, 8, generator=generator).requires_grad_()
    target = torch.randint(50, (num_rows,), generator=generator)
    expected = F.cross_entropy(z @ weight.T, target)
    wanted = torch.autograd.grad(2 * expected, (z, weight))
    loss = catalogue_cross_entropy(z, weight, target)
    found = torch.autograd.grad(2 * loss, (z, weight))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
