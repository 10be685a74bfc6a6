"""What a data module and a LightningModule tell each other, beside the batches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch_geometric.typing import EdgeType

from lightning_lp.data.previous import Places, Previous
from lightning_lp.data.settings import History
from lightning_lp.graph.split import LinkSplit
from lightning_lp.graph.temporal import TemporalStrategy

EMBEDDED = "embedded"
"""An attribute of evaluation batches without messages: the part of the split whose nodes are embedded all at once."""


@dataclass(frozen=True)
class Reads:
    """What a model reads of the graph.

    Attributes:
        num_neighbors: neighbours to sample per node in each hop, by type of edge, where the user does not say so; all
            of one length. None: it has no wish.
        edge_types: types of edges whose messages it reads.
        edge_attrs: the attributes of edges that it reads.
        optional_edge_attrs: those that it reads where the data have them.
        temporal_strategy: which of the messages before a link are sampled for it, ``last`` or ``uniform``. None: times
            are not looked at.
        all_nodes: whether it embeds all nodes at once in an evaluation with all neighbours: batches then carry labels
            alone, and ``batch.embedded`` the part of the split.
        batches_per_user: in how many batches of an epoch the training links of a user come. 0: each comes by itself.
        trains_on_messages: whether it reads messages in training; if not, none are sampled unless the user says so.
    """

    num_neighbors: dict[EdgeType, list[int]] | None = None
    edge_types: tuple[EdgeType, ...] = ()
    edge_attrs: tuple[str, ...] = ()
    optional_edge_attrs: tuple[str, ...] = ()
    temporal_strategy: TemporalStrategy | None = None
    all_nodes: bool = False
    batches_per_user: int = 0
    trains_on_messages: bool = True


@dataclass(frozen=True)
class Start:
    """What a training starts from that updates another.

    Attributes:
        previous: the other.
        places: for each of ``SIZES`` the place that each row had there, -1 if it is new.
    """

    previous: Previous
    places: dict[str, Places]


@dataclass(frozen=True)
class Handover:
    """What a model gets of the data before a training or an evaluation.

    Attributes:
        split: the graphs of all parts.
        neg_sampling_ratio: non-links per link among the validation and test labels.
        check: refuses what a checkpoint tells of its data, if that is other data.
        is_by_time: whether the split is by time, and labels have times.
        history: which links are earlier than a held-out one, in an evaluation by time.
        rating: [num_links] float32 ratings of all links, at the places that ``edge_label_id`` names. None: unknown.
        start: the run that is updated. None: training starts anew.
    """

    split: LinkSplit
    neg_sampling_ratio: float = 2.0
    check: Callable[[dict[str, Any]], None] = field(default=lambda state: None)
    is_by_time: bool = False
    history: History = "frozen"
    rating: Tensor | None = None
    start: Start | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Handover":
        """Copies of a model, such as stochastic weight averaging makes, share the data."""
        return self


@runtime_checkable
class ReadsGraph(Protocol):
    """A LightningModule that says what it reads, and gets the graphs: :class:`LinkPredictionModule`, or your own."""

    reads: Reads

    def take_over(self, handover: Handover) -> None:
        """Called in each ``setup`` of the data module, before that of the module."""
