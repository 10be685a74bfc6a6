"""The normaliser in blocks against the one that holds all scores."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_lp.model import log_sum
from lightning_lp.model.log_sum import log_sums
from lightning_lp.model.scores import log_normalizer, unseen_scores


def case(seed, num_users, num_movies, share, scale=1.0):
    """Vectors, and which movies users have rated, in random order; the first user has rated all of them."""
    generator = torch.Generator().manual_seed(seed)
    z_user = (scale * torch.randn(num_users, 5, generator=generator)).requires_grad_()
    z_movie = torch.randn(num_movies, 5, generator=generator).requires_grad_()
    is_rated = torch.rand(num_users, num_movies, generator=generator) < share
    is_rated[:1] = True
    pairs = is_rated.nonzero()
    user, movie = pairs[torch.randperm(len(pairs), generator=generator)].T
    return z_user, z_movie, user, movie


@given(st.integers(0, 999), st.integers(0, 70), st.integers(1, 20), st.floats(0, 1), st.sampled_from([0.1, 1.0, 30.0]))
def test_value_and_gradient_are_those_of_all_scores(seed, num_users, num_movies, share, scale):
    z_user, z_movie, user, movie = case(seed, num_users, num_movies, share, scale)
    weight = torch.linspace(-1, 1, num_users)
    expected = unseen_scores(z_user, z_movie, user, movie).logsumexp(dim=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_sum, "_CACHED_SCORES", 1)  # blocks of _MIN_ROWS
        found = log_sums(z_user, z_movie, user, movie)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        if num_users > 1:
            wanted = torch.autograd.grad((weight * expected)[1:].sum(), (z_user, z_movie))
            grads = torch.autograd.grad((weight * found)[1:].sum(), (z_user, z_movie))
            torch.testing.assert_close(grads, wanted, atol=1e-4 * scale, rtol=1e-4)


def test_of_a_user_who_has_rated_everything_nothing_is_learned():
    z_user, z_movie, user, movie = case(0, 40, 9, 0.3)
    sums = log_sums(z_user, z_movie, user, movie)
    assert sums[0] == -torch.inf
    assert sums[1:].isfinite().all()
    normalizer = log_normalizer(z_user, z_movie, user, movie)
    assert normalizer[0] == -1e4
    grads = torch.autograd.grad(normalizer.sum(), (z_user, z_movie))
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[0][0].any()


def test_scores_are_float32_whatever_the_precision():
    z_user, z_movie, user, movie = case(0, 300, 30, 0.3)
    expected = torch.autograd.grad(log_normalizer(z_user, z_movie, user, movie).sum(), z_user)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_normalizer(z_user, z_movie, user, movie)
        assert found.dtype == torch.float32
        assert torch.equal(torch.autograd.grad(found.sum(), z_user)[0], expected)
        half = log_normalizer(z_user.bfloat16(), z_movie.bfloat16(), user, movie)
    torch.testing.assert_close(half, found, atol=0.1, rtol=0.0)
    (grad,) = torch.autograd.grad(half.sum(), z_user)
    torch.testing.assert_close(grad, expected, atol=0.05, rtol=0.05)
