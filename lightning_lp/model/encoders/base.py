"""What an encoder is: the one thing to write for another model."""

from abc import abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from torch_geometric.data import HeteroData
from torch_geometric.data.storage import EdgeStorage
from torch_geometric.typing import EdgeType, NodeType

from lightning_lp.data.schema import METADATA, MOVIE, RATES, REV_RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.graph.messages import adjacency
from lightning_lp.graph.temporal import TemporalStrategy

if TYPE_CHECKING:
    from lightning_lp.model.encoders.readers import Reader

NOTHING: Mapping[str, Tensor] = {}
_MATRICES: MutableMapping[Tensor, tuple[tuple[Any, ...], Tensor]] = WeakTensorKeyDictionary()
"""Of each ``edge_index``: an evaluation after each epoch has the same messages."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a graph of users and movies, all that an encoder needs to make its parameters.

    Attributes:
        num_users: number of users.
        num_movies: number of movies.
        num_features: width of ``graph["movie"].x``: number of genres.
        num_terms: number of terms of titles in ``graph["movie"].terms``.
        max_terms: width of ``graph["movie"].terms``: the most terms of one title.
    """

    num_users: int
    num_movies: int
    num_features: int = 0
    num_terms: int = 0
    max_terms: int = 1


class Encoder(nn.Module):
    """From the nodes and messages of a graph to a vector of each node: the dot product of two is the logit of a link.

    An encoder of your own derives from this class, makes its parameters in :meth:`build` and embeds in
    :meth:`forward`; the rest has defaults that are right for most. The arguments of its ``__init__`` are its options:
    numbers, texts, lists and dictionaries of such, each with a default, so that a checkpoint can hold them.

    It is used by its dotted path: ``--model.encoder my_package.MyEncoder --model.encoder.num_layers 3``.

    Examples:
        >>> from torch import nn
        >>> from lightning_lp import Encoder, Sizes
        >>> class Factors(Encoder):
        ...     edge_types = ()  # it reads no messages: matrix factorisation
        ...
        ...     def __init__(self, channels: int = 4) -> None:
        ...         super().__init__()
        ...         self.channels = channels
        ...
        ...     def build(self, sizes: Sizes) -> None:
        ...         self.user = nn.Embedding(sizes.num_users, self.channels)
        ...         self.movie = nn.Embedding(sizes.num_movies, self.channels)
        ...
        ...     def forward(self, batch):
        ...         return {"user": self.user(batch["user"].node_id), "movie": self.movie(batch["movie"].node_id)}
        >>> encoder = Factors()
        >>> encoder.build(Sizes(num_users=20, num_movies=30))
        >>> encoder.options
        {'channels': 4}
    """

    edge_types: ClassVar[tuple[EdgeType, ...]] = tuple(METADATA[1])
    """The types of edges whose messages are read."""
    edge_attrs: ClassVar[tuple[str, ...]] = ()
    """The attributes of edges that are read: ``rating`` and ``time``, where the ratings have them."""
    optional_edge_attrs: ClassVar[tuple[str, ...]] = ()
    """The attributes of edges that are read where the data have them."""
    temporal_strategy: ClassVar[TemporalStrategy | None] = None
    """For an encoder that reads what came before a link alone: which of a node's earlier neighbours are sampled.

    ``last`` or ``uniform``. Each link of a mini-batch then has a user of its own, with the messages before its time.
    """
    batches_per_user: int = 0
    """In how many batches of an epoch the training links of a user come, a random part of them in each.

    What the links of a batch share is then computed once, and the other parts are what they are predicted from. 0: each
    link comes by itself.
    """
    trains_on_messages: ClassVar[bool] = True
    """Whether :meth:`embed_for_training` reads the messages of a batch; if not, none are sampled in training."""
    needs_graph: ClassVar[bool] = False
    """Whether a training cannot begin without :meth:`prepare`."""
    reads_matrices: ClassVar[bool] = False
    """Whether :meth:`messages` may be sparse matrices where all nodes are embedded: less memory, and much faster.

    With ``edge_attrs``, whose order is that of the edges, they never are.
    """
    needs_history: ClassVar[bool] = True
    """Whether nothing can be said to a user without messages: a new user then has to name a movie."""
    num_bias_channels: ClassVar[int] = 0
    """How many of the last channels only move the level of scores, and do not say what a movie is like."""

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remembers the options."""
        encoder = super().__new__(cls)
        encoder.__dict__["_given"] = args, kwargs
        return encoder

    @property
    def options(self) -> dict[str, Any]:
        """The options it was made with, defaults included."""
        bound = signature(type(self)).bind(*self._given[0], **self._given[1])
        bound.apply_defaults()
        return dict(bound.arguments)

    @property
    def num_neighbors(self) -> dict[EdgeType, list[int]]:
        """How many neighbours of each node are to be sampled in each hop, by type of edge, unless the user says so."""
        hops = int(self.options.get("num_layers", 1))
        return {edge_type: [-1] * hops if edge_type in self.edge_types else [0] * hops for edge_type in METADATA[1]}

    @abstractmethod
    def build(self, sizes: Sizes) -> None:
        """Makes the parameters and buffers for a graph of these sizes; called once."""

    def prepare(self, graph: HeteroData, neg_sampling_ratio: float) -> None:
        """Takes over what is known before a training begins.

        It is called as well when one goes on from a checkpoint, whose parameters and buffers are loaded after this.

        Args:
            graph: nodes with their features, and all training links as messages.
            neg_sampling_ratio: non-links per link among the pairs whose probability is wanted.
        """

    def choose_on_validation(self, graph: HeteroData, edge_label_index: Tensor, edge_label: Tensor) -> None:
        """Chooses what no gradient reaches, such as what parts of a score count, before each validation of a fit.

        What is chosen belongs into buffers: a checkpoint then has it. Each process is told the same. Default: nothing.

        Args:
            graph: nodes and messages, as they are embedded in validation.
            edge_label_index: [2, num_labels] int64, the pairs that validation judges.
            edge_label: [num_labels] float32, 1 for links and 0 for others.
        """

    @property
    def chosen(self) -> dict[str, Any]:
        """Options by which a fit without validation has what :meth:`choose_on_validation` has chosen. Default: none."""
        return {}

    @abstractmethod
    def forward(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """Embeds the nodes of a mini-batch, or of a whole graph.

        But for dropout it is the same function in training mode and in evaluation mode.

        Args:
            batch: ``batch["user"].node_id`` and ``batch["movie"].node_id`` [num_nodes] int64, the index of each node
                in the whole graph, -1 for a user that the graph did not have in training; ``batch["movie"].x``; and for
                each of ``edge_types`` messages in local indices, which :meth:`messages` gives, with ``edge_attrs``.
                A mini-batch also has ``num_sampled_nodes`` and ``num_sampled_edges``, as PyG's loaders give them.

        Returns:
            [num_nodes, channels] vectors by node type. Only the nodes of hop 0, which come first, need any.
        """

    def embed_for_training(self, batch: HeteroData) -> dict[NodeType, Tensor]:
        """The vectors that the losses see. Default: those of :meth:`forward`."""
        z_dict: dict[NodeType, Tensor] = self(batch)
        return z_dict

    def calibration(self) -> list[nn.Parameter]:
        """Parameters on which a link's probability depends, and no ranking: the loss ``bce`` alone trains them."""
        return []

    def catalogue(self) -> Tensor | None:
        """[num_movies, channels] vectors of all movies, if they need no messages; training compares with them.

        They are the first channels of the movies' vectors in :meth:`embed_for_training`, whose scores are then
        normalised over all movies. Default: none; a link is compared with the movies of its batch.
        """
        return None

    @torch.no_grad()
    def embed_all(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Embeds every user and every movie, on the encoder's device in evaluation mode and without autocast.

        Args:
            graph: its messages are the edges along which is embedded: ``split.val``, ``split.test`` or all links.

        Returns:
            [num_users, channels] and [num_movies, channels], float32.
        """
        was_training, device = self.training, next(self.parameters()).device
        self.eval()
        with torch.autocast(device.type, enabled=False):
            z_dict = self(self._whole(graph))
        self.train(was_training)
        return z_dict[USER].float(), z_dict[MOVIE].float()

    def embed_new(
        self, graph: HeteroData, edge_index: Tensor, num_users: int, edge_attrs: Mapping[str, Tensor] = NOTHING
    ) -> Tensor:
        """Embeds users that the graph lacks. They receive messages and send none: no known vector depends on them.

        Args:
            graph: the known nodes and messages.
            edge_index: [2, num_edges] int64 (movie, new user), of each user the earliest first.
            num_users: number of new users.
            edge_attrs: [num_edges] each, what is known of these edges (``rating``, ``time``). Default of another one
                that is read: the mean of those in the graph.

        Returns:
            [num_users, channels] float32.
        """
        extended, known = HeteroData(), graph[USER].num_nodes
        extended[USER].node_id = torch.cat([graph[USER].node_id, graph[USER].node_id.new_full((num_users,), -1)])
        for key, value in graph[MOVIE].items():
            extended[MOVIE][key] = value
        extended[RATES].edge_index = graph[RATES].edge_index
        new = edge_index + torch.tensor([[0], [known]])
        extended[REV_RATES].edge_index = torch.cat([graph[REV_RATES].edge_index, new], dim=1)
        for name in self._attrs_of(graph[REV_RATES]):
            value = graph[REV_RATES][name]
            extended[RATES][name] = graph[RATES][name]
            of_new = edge_attrs.get(name, value.double().mean().expand(new.size(1)))
            extended[REV_RATES][name] = torch.cat([value, of_new.to(value.dtype)])
        return self.embed_all(extended)[0][known:]

    def reader(self, graph: HeteroData) -> "Reader | None":
        """What an exporter writes down: from the history of one user to what :meth:`embed_new` says of it.

        Args:
            graph: the known nodes and messages.

        Returns:
            A :class:`~lightning_lp.model.encoders.readers.Reader`. None, the default: a user is embedded through the
            graph, and no such thing can be written down.
        """
        return None

    def user_parts(self, movie: Tensor) -> Tensor | None:
        """What each movie of a user adds to its vector, for encoders whose users are sums over their movies.

        What is left of the vector is no single movie's. Of the ``num_bias_channels`` the last is the user's own level,
        the others are biases of the scored movie.

        Args:
            movie: [n] int64 indices of the user's movies, each once.

        Returns:
            [n, channels] float64; None, the default: a user is no such sum.
        """
        return None

    def messages(self, batch: HeteroData, edge_type: EdgeType) -> Tensor:
        """Messages of one type: [2, num_edges] int64 (sender, receiver), in local indices.

        With ``reads_matrices``, where all nodes are embedded, they are the sparse matrix [num_receivers, num_senders]
        that PyG's convolutions take, too.
        """
        store = batch[edge_type]
        found: Tensor = store.adj_t if "adj_t" in store else store.edge_index
        return found

    def _attrs_of(self, edges: EdgeStorage) -> list[str]:
        """The attributes of these edges that are read."""
        return [*self.edge_attrs, *(name for name in self.optional_edge_attrs if name in edges)]

    def _whole(self, graph: HeteroData) -> HeteroData:
        """The nodes and messages of a graph, on the device of the encoder."""
        weight = next(self.parameters())
        whole = HeteroData()
        for node_type in graph.node_types:
            for key, value in graph[node_type].items():
                whole[node_type][key] = value.to(weight.device) if isinstance(value, Tensor) else value
        for edge_type in self.edge_types:
            edges = graph[edge_type]
            for name in self._attrs_of(edges):
                whole[edge_type][name] = edges[name].to(weight.device)
            if self.reads_matrices and not self.edge_attrs:
                sizes = graph[edge_type[-1]].num_nodes, graph[edge_type[0]].num_nodes
                whole[edge_type].adj_t = _matrix(edges.edge_index, sizes, weight)
            else:
                whole[edge_type].edge_index = edges.edge_index.to(weight.device)
        return whole


def _matrix(edge_index: Tensor, sizes: tuple[int, int], weight: Tensor) -> Tensor:
    """The edges as a sparse matrix like ``weight``, made once for each ``edge_index`` that tells when it changes."""
    if edge_index.is_inference():  # made for this one question
        return adjacency(edge_index, *sizes).to(weight.device, weight.dtype)
    what = edge_index._version, sizes, weight.device, weight.dtype
    known = _MATRICES.get(edge_index)
    if known is None or known[0] != what:
        known = _MATRICES[edge_index] = what, adjacency(edge_index, *sizes).to(weight.device, weight.dtype)
    return known[1]


def sampled(batch: HeteroData) -> tuple[Mapping[NodeType, list[int]], Mapping[EdgeType, list[int]]] | None:
    """Nodes and edges of each hop of a mini-batch, as ``trim_to_layer`` takes them; None of a whole graph."""
    nodes, edges = (batch.collect(f"num_sampled_{what}", allow_empty=True) for what in ("nodes", "edges"))
    return (nodes, edges) if nodes and edges else None


def check_option(right: bool, name: str, value: object, wanted: str) -> None:
    """Refuses an option of an encoder.

    Raises:
        UserError: it is not ``right``.
    """
    if not right:
        raise UserError(f"{name} {value}: {wanted} wanted")
