"""What is scored in a held-out part of a split: its links, and non-links to tell them from."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_lp.errors import UserError
from lightning_lp.graph.links import Graph, LinkType, columns, num_nodes
from lightning_lp.graph.members import Members
from lightning_lp.graph.non_links import sample_non_links
from lightning_lp.graph.non_links_of_source import sample_non_links_of_source

Int = NDArray[np.int64]
Labels = dict[str, Tensor]
"""What a part holds beside its messages, by the names of ``links.LABELS``."""
NonLinks = Literal["auto", "any", "of_source"]


@dataclass(frozen=True)
class NonLinkSettings:
    """What the non-links of a part are to be.

    Attributes:
        ratio: how many there are for each link.
        of_source: whether each is of the source of a link, and not of any source.
        is_by_time: whether labels have times, and a non-link of a source is to exist by then.
    """

    ratio: float
    of_source: bool
    is_by_time: bool


def are_of_source(non_links: NonLinks, is_by_time: bool) -> bool:
    """Whether non-links are of the source of a link.

    Raises:
        UserError: ``non_links`` is none of ``NonLinks``.
    """
    if non_links not in get_args(NonLinks):
        raise UserError(f"`non_links` {non_links}: one of {list(get_args(NonLinks))} wanted")
    return is_by_time if non_links == "auto" else non_links == "of_source"


def held_out_labels(
    data: Graph,
    kind: LinkType,
    members: Members,
    held_out: list[Int],
    settings: NonLinkSettings,
    rng: np.random.Generator,
) -> list[Labels]:
    """Links and non-links of the held-out parts, each part in one random order, so that any batch holds both.

    Args:
        data: the whole graph.
        kind: the type of the links.
        members: the links.
        held_out: for each part the numbers of its links.
        settings: what the non-links are to be.
        rng: where the draws come from.

    Raises:
        UserError: a part would have links and no non-link.
    """
    num_neg = [int(settings.ratio * len(links)) for links in held_out]
    for held, num in zip(held_out, num_neg, strict=True):
        if num == 0 < len(held):
            raise UserError(
                f"`neg_sampling_ratio` {settings.ratio} of {len(held)} held-out links "
                "is no non-link, and links alone cannot be told apart: raise it, or give more data"
            )
    draw = _of_source if settings.of_source else _of_any
    drawn = draw(data, kind, members, held_out, num_neg, settings.is_by_time, rng)
    labels = []
    for held, (neg, beside) in zip(held_out, drawn, strict=True):
        order = torch.from_numpy(rng.permutation(len(held) + neg.size(1)))
        links, ids = columns(members.links, held), members.ids(held)
        label = torch.cat([torch.ones(len(held)), torch.zeros(neg.size(1))])
        ids = torch.cat([ids, ids.new_full((neg.size(1),), -1)])
        part = {"edge_label_index": torch.cat([links, neg], dim=1), "edge_label": label, "edge_label_id": ids}
        if settings.is_by_time:
            part["edge_label_time"] = members.times(np.concatenate([held, held[beside]]))
        labels.append({key: value[..., order] for key, value in part.items()})
    return labels


def _of_any(
    data: Graph,
    kind: LinkType,
    members: Members,
    held_out: list[Int],
    num_neg: list[int],
    is_by_time: bool,
    rng: np.random.Generator,
) -> list[tuple[Tensor, Int]]:
    """For each part non-links drawn from all, and the place of the link that each stands beside: any will do."""
    num_src, num_dst = (num_nodes(data, kind.edge_type[end]) for end in (0, -1))
    non_links = sample_non_links(
        members.links,
        num_src,
        num_dst,
        sum(num_neg),
        rng,
        has_one_node_type=kind.has_one_node_type,
        is_undirected=kind.is_undirected,
        ends=str(kind),
    )
    parts = zip(held_out, torch.split(non_links, num_neg, dim=1), strict=True)
    return [(neg, np.arange(neg.size(1)) % max(len(held), 1)) for held, neg in parts]


def _of_source(
    data: Graph,
    kind: LinkType,
    members: Members,
    held_out: list[Int],
    num_neg: list[int],
    is_by_time: bool,
    rng: np.random.Generator,
) -> list[tuple[Tensor, Int]]:
    """The same, where each non-link is of the source of the link that it stands beside."""
    quotas = [_shared_out(num, len(held), rng) for held, num in zip(held_out, num_neg, strict=True)]
    non_links, beside = sample_non_links_of_source(
        members.links,
        num_nodes(data, kind.edge_type[-1]),
        np.concatenate(held_out),
        np.concatenate(quotas),
        rng,
        time=members.time if is_by_time else None,
        has_one_node_type=kind.has_one_node_type,
        is_undirected=kind.is_undirected,
    )
    found, start = [], 0
    for held in held_out:
        chosen = np.flatnonzero((beside >= start) & (beside < start + len(held)))
        if len(chosen) == 0 < len(held):
            raise UserError(
                f"the split needs pairs without a `link`, and the sources of its {len(held)} held-out links have none: "
                "give `non_links` any, other `num_val` and `num_test`, or more data"
            )
        found.append((columns(non_links, chosen), beside[chosen] - start))
        start += len(held)
    return found


def _shared_out(num: int, num_links: int, rng: np.random.Generator) -> Int:
    """[num_links] how many of ``num`` each link gets: as many as the others, or one more."""
    each, more = divmod(num, max(num_links, 1))
    quota = np.full(num_links, each)
    quota[rng.permutation(num_links)[:more]] += 1
    return quota
