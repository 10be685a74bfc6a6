"""The normaliser of a softmax over a whole catalogue, without the scores of all rows in memory at once."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CACHED_SCORES = 2**19
"""Of a block of rows: so many stay in a processor's cache, and are read there again and again."""
_GPU_SCORES = 2**25
"""Of a block on an accelerator, where few large blocks are best."""
_MIN_ROWS = 16
"""Of a block: fewer waste the products."""


def log_sums(z_user: Tensor, z_movie: Tensor, user: Tensor, movie: Tensor) -> Tensor:
    """The logarithm of the sum of exp(score) over the movies that a user has not rated; -inf if there is none.

    ``(z_user @ z_movie.T).index_put((user, movie), -inf).logsumexp(dim=1)``, in blocks of rows. What is kept for the
    backward pass is as small as the arguments; the scores are computed again there, which is faster than to fetch them.

    Args:
        z_user: [num_users, channels] vectors.
        z_movie: [num_movies, channels] vectors, at least one.
        user: [num_seen] int64 rows of ``z_user``, in any order.
        movie: [num_seen] int64 rows of ``z_movie``: what that user has rated.

    Returns:
        [num_users] float32, whatever the precision of the vectors.
    """
    if (user[1:] < user[:-1]).any():
        order = user.argsort(stable=True)
        user, movie = user[order], movie[order]
    with torch.autocast(z_user.device.type, enabled=False):
        sums: Tensor = _LogSums.apply(z_user.float(), z_movie.float(), user, movie)  # type: ignore[no-untyped-call]
    return sums


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_user: Tensor, z_movie: Tensor, user: Tensor, movie: Tensor) -> Tensor:
        sums = z_user.new_empty(len(z_user))
        for rows, seen in _blocks(z_user, z_movie, user):
            scores = _scores(z_user[rows], z_movie, user[seen] - rows.start, movie[seen])
            highest = scores.amax(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
            sums[rows] = scores.sub_(highest).exp_().sum(dim=1).log_() + highest[:, 0]
        ctx.save_for_backward(z_user, z_movie, user, movie, sums)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        z_user, z_movie, user, movie, sums = ctx.saved_tensors
        user_grad, movie_grad = torch.empty_like(z_user), torch.zeros_like(z_movie)
        sums = sums.masked_fill(sums == -torch.inf, 0.0)[:, None]  # of nothing: each share is then exp(-inf)
        with torch.autocast(z_user.device.type, enabled=False):
            for rows, seen in _blocks(z_user, z_movie, user):
                scores = _scores(z_user[rows], z_movie, user[seen] - rows.start, movie[seen])
                share = scores.sub_(sums[rows]).exp_().mul_(grad[rows, None])
                torch.mm(share, z_movie, out=user_grad[rows])
                movie_grad.addmm_(share.T, z_user[rows])
        return user_grad, movie_grad, None, None


def _blocks(z_user: Tensor, z_movie: Tensor, user: Tensor) -> list[tuple[slice, slice]]:
    """Rows of ``z_user``, block after block, and where what they have rated stands in ``user``, which ascends."""
    wanted = _CACHED_SCORES if z_user.device.type == "cpu" else _GPU_SCORES
    size = max(_MIN_ROWS, wanted // len(z_movie))
    starts = torch.arange(0, len(z_user) + size, size, device=user.device)
    seen = torch.searchsorted(user.contiguous(), starts).tolist()
    return [
        (slice(i * size, min((i + 1) * size, len(z_user))), slice(seen[i], seen[i + 1])) for i in range(len(seen) - 1)
    ]


def _scores(z_user: Tensor, z_movie: Tensor, user: Tensor, movie: Tensor) -> Tensor:
    """[num_users, num_movies], -inf where the user has rated the movie."""
    scores = z_user @ z_movie.T
    return scores.index_put_((user, movie), scores.new_tensor(-torch.inf))
