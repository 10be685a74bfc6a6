"""Starts an encoder from the weights of an earlier one, which knew fewer users and movies, or others.

Which rows of a parameter are whose is seen in how the encoder makes it: of one more movie it makes one more row. So
this works with any encoder.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from lightning_lp.data.handover import Start
from lightning_lp.data.previous import SIZES
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Encoder, Sizes
from lightning_lp.model.encoders.registry import make_encoder, short_name, spec_of

_TRIED = Sizes(num_users=11, num_movies=13, num_features=5, num_terms=7, max_terms=3)
"""Sizes at which it is seen which dimension grows with what."""


Rows = tuple[Tensor, Tensor]
"""Rows of a dimension, and where they were: [num] int64 each."""


class Axis(NamedTuple):
    """A dimension of a parameter or buffer.

    Attributes:
        size: the size that it grows with, a field of ``Sizes``. None: none.
        first: how many rows stand before the first of these. Terms of titles are counted from 1.
    """

    size: str | None = None
    first: int = 0


@torch.no_grad()
def prepare_from(encoder: Encoder, start: Start, graph: HeteroData, neg_sampling_ratio: float) -> None:
    """Prepares an encoder that is built, as ``Encoder.prepare`` does, but from the weights of an earlier training.

    Parameters go on where they are known, by the ids, genres and terms that their rows are of. So do buffers, unless
    ``prepare`` makes them: it does so of all links of now. New rows are as ``build`` and ``prepare`` begin them.

    Args:
        encoder: as :meth:`Encoder.build` has left it.
        start: the earlier training.
        graph: as of ``Encoder.prepare``.
        neg_sampling_ratio: the same.

    Raises:
        UserError: the earlier encoder is another, or it cannot be seen which rows are whose.
    """
    weights, state, matched = start.previous.weights, encoder.state_dict(), known_rows(encoder, start)
    state |= {key: _carried(state[key], weights[key], of_key) for key, of_key in matched.items()}
    encoder.load_state_dict(state)
    encoder.prepare(graph, neg_sampling_ratio)
    for key, parameter in encoder.named_parameters():
        known = state[key].to(parameter.device)
        if key in matched and not torch.equal(parameter, known):
            parameter.copy_(_carried(_turned(parameter, known, matched[key]), weights[key], matched[key]))


def known_rows(encoder: Encoder, start: Start) -> dict[str, list[Rows]]:
    """For each dimension of what the earlier encoder has, too, the rows that are known, and where they were.

    Args:
        encoder: as :meth:`Encoder.build` has left it.
        start: the earlier training.

    Raises:
        UserError: the earlier encoder is another, or it cannot be seen which rows are whose.
    """
    weights, state, axes = start.previous.weights, encoder.state_dict(), axes_of(encoder)
    _check_same(encoder, start, axes)
    return {
        key: [_matched(*dim, start) for dim in zip(axes[key], state[key].shape, weights[key].shape, strict=True)]
        for key in state
        if key in weights
    }


def _check_same(encoder: Encoder, start: Start, axes: Mapping[str, list[Axis]]) -> None:
    """Refuses another encoder than that of the earlier training, or other options that its weights depend on."""
    here, there, path = spec_of(encoder), start.previous.encoder, start.previous.path
    remedy = "give the encoder that it has (--config RUN/config.yaml), or train anew, with fit"
    if here["class_path"] != there["class_path"]:
        names = [short_name(spec["class_path"]) for spec in (here, there)]
        raise UserError(f"the encoder is {names[0]}, and that of {path} {names[1]}: {remedy}")
    weights = start.previous.weights
    for key, value in encoder.state_dict().items():
        if key in weights and _fixed(axes[key], value) != _fixed(axes[key], weights[key]):
            shapes = [tuple(each.shape) for each in (value, weights[key])]
            raise UserError(f"{key} of the encoder is {shapes[0]} here and {shapes[1]} in {path}: {remedy}")


def _fixed(axes: list[Axis], value: Tensor) -> list[int]:
    """The number of dimensions, and the sizes of those that do not grow."""
    return [value.dim(), *(size for axis, size in zip(axes, value.shape, strict=False) if axis.size is None)]


def axes_of(encoder: Encoder) -> dict[str, list[Axis]]:
    """What each dimension of each parameter and buffer of an encoder grows with.

    Raises:
        UserError: one grows in another way than by a row for each user, movie, genre or term.
    """
    spec = spec_of(encoder)
    tried = _shapes(spec, _TRIED)
    grown = {name: _shapes(spec, replace(_TRIED, **{name: size + 1})) for name, size in asdict(_TRIED).items()}
    return {key: [_axis(spec, key, dim, tried, grown) for dim in range(len(shape))] for key, shape in tried.items()}


def _shapes(spec: Mapping[str, Any], sizes: Sizes) -> dict[str, tuple[int, ...]]:
    with torch.random.fork_rng(devices=[]):
        encoder = make_encoder(spec)
        encoder.build(sizes)
    return {name: tuple(value.shape) for name, value in encoder.state_dict().items()}


def _axis(
    spec: Mapping[str, Any],
    key: str,
    dim: int,
    tried: Mapping[str, tuple[int, ...]],
    grown: Mapping[str, Mapping[str, tuple[int, ...]]],
) -> Axis:
    size = tried[key][dim]
    found = {name: shapes[key][dim] - size for name, shapes in grown.items() if shapes[key][dim] != size}
    if not found:
        return Axis()
    ((name, step), *others) = found.items()
    first = size - getattr(_TRIED, name)
    if others or step != 1 or first not in (0, 1) or (first and name != "num_terms"):
        raise UserError(
            f"the encoder {short_name(spec['class_path'])} cannot be updated: its {key} has not one row for each "
            "user, movie, genre or term, so that nothing says which are whose: train anew, with fit"
        )
    return Axis(name, first)


def _matched(axis: Axis, now: int, before: int, start: Start) -> Rows:
    """The rows of a dimension that are known, and where they were: [num_known] int64 each.

    Raises:
        UserError: it has other sizes than those it was seen to grow with.
    """
    if axis.size not in SIZES:  # columns of terms have no names, and what grows with nothing stays as it is
        every = torch.arange(min(now, before))
        return every, every
    place, head = torch.from_numpy(start.places[axis.size]), torch.arange(axis.first)
    wanted = len(place) + axis.first, len(start.previous.names[axis.size]) + axis.first
    if (now, before) != wanted:
        raise UserError(
            f"the encoder has {now:,} rows for {wanted[0]:,} of its {axis.size}, so that nothing says which are whose: "
            "train anew, with fit"
        )
    known = (place >= 0).nonzero().flatten()
    return torch.cat([head, known + axis.first]), torch.cat([head, place[known] + axis.first])


def _carried(now: Tensor, before: Tensor, matched: list[Rows]) -> Tensor:
    """What is now, with the known rows as they were."""
    carried, index = now.clone(), []
    for dim, (here, there) in enumerate(matched):
        before = before.index_select(dim, there)
        index.append(here.to(now.device).view(-1, *[1] * (now.dim() - dim - 1)))
    carried[tuple(index)] = before.to(carried.device, carried.dtype)
    return carried


def _turned(begun: Tensor, known: Tensor, matched: list[Rows]) -> Tensor:
    """New rows of vectors that ``prepare`` begins, turned to where the known ones have been since they were begun.

    The channels of a decomposition have no order and no sign that would last. The rotation is the one that brings
    what the known rows would begin as nearest to what they are (Schönemann, "A generalized solution of the orthogonal
    Procrustes problem", Psychometrika 1966).
    """
    if begun.dim() != 2 or matched[1][0].numel() < begun.size(1) or matched[0][0].numel() == begun.size(0):
        return begun
    rows = matched[0][0].to(begun.device)
    u, _, v = torch.linalg.svd(begun[rows].double().T @ known[rows].double(), full_matrices=False)
    turned: Tensor = begun @ (u @ v).to(begun.dtype)
    return turned
