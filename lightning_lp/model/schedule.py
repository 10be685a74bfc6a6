"""How the learning rate goes up and down, and follows whoever else sets it."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(step: int, total: float, warm_up: int = 10) -> float:
    """Factor of the learning rate: up in ``warm_up`` steps, and down to 0 as half a cosine over ``total``.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.
    """
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


class WarmCosine(LambdaLR):
    """:func:`warm_cosine` of a base rate. A rate that somebody else sets between two steps scales all that follow.

    Args:
        optimizer: the optimiser; its rate is the base rate.
        total: tells the number of steps of the whole training.
    """

    def __init__(self, optimizer: Optimizer, total: Callable[[], float]) -> None:
        super().__init__(optimizer, lambda step: warm_cosine(step, total()))

    def restart_from(self, lr: float) -> None:
        """Makes ``lr`` the base rate, from the step on that comes next."""
        self.base_lrs = [lr] * len(self.base_lrs)
        rates = [lr * factor(self.last_epoch) for factor in self.lr_lambdas]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = list(rates)

    def get_lr(self) -> list[float | Tensor]:
        """The next rates, of base rates that have followed."""
        mine = getattr(self, "_last_lr", self.base_lrs)  # none yet while the schedule is being made
        found = [group["lr"] for group in self.optimizer.param_groups]
        self.base_lrs = [
            base if now == then or then == 0 else base * now / then
            for base, now, then in zip(self.base_lrs, found, mine, strict=True)
        ]
        return super().get_lr()
