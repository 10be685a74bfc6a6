"""Ranking over the whole catalogue: each user's unseen movies by score, and how many held-out ones come first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch_geometric.metrics import LinkPredHitRatio, LinkPredMAP, LinkPredMRR, LinkPredNDCG, LinkPredRecall
from torch_geometric.metrics.link_pred import LinkPredMetricData

from lightning_lp.evaluation.ranking_task import RankingTask, by_position

KS = (10, 20)
"""Lengths of the lists that are judged."""

_METRICS = {
    "recall": LinkPredRecall,
    "ndcg": LinkPredNDCG,
    "hit_rate": LinkPredHitRatio,
    "mrr": LinkPredMRR,
    "map": LinkPredMAP,
}
RANKING_METRICS = tuple(f"{name}@{k}" for k in KS for name in (*_METRICS, "novelty", "coverage"))
"""Names of the metrics; see :func:`rank_users`."""

_MAX_USERS, _MAX_SCORES = 256, 2**24  # of one chunk: at most 64 MiB of scores


class ScoreUsers(Protocol):
    """Scores every movie for some users; models and baselines alike are judged through it."""

    def __call__(self, users: Tensor) -> Tensor:
        """Takes [num] int64 indices of users, returns [num, num_movies] float32 scores."""


class ScoreQueries(Protocol):
    """Scores every movie for some queries, by who asks and when."""

    def __call__(self, users: Tensor, time: Tensor | None = None) -> Tensor:
        """Takes [num] int64 users and the [num] int64 times of the task, returns [num, num_movies] float32 scores."""


@dataclass(frozen=True)
class Ranking:
    """The lists of some users and what they are worth.

    Attributes:
        users: [num] int64 indices of the users.
        lists: [num, max(KS)] int64 movies, best first; ``num_movies`` stands where no unseen movie is left.
        values: [num] float64 of each user, by metric (``recall@20``).
        num_movies: size of the catalogue.
    """

    users: Tensor
    lists: Tensor
    values: dict[str, Tensor]
    num_movies: int

    def totals(self) -> dict[str, Tensor]:
        """Sums that can be added over chunks and processes, and then be given to :func:`means`.

        Returns:
            By metric a float64 sum over users, under ``coverage@k`` [num_movies] how often each movie is listed,
            and under ``users`` their number.
        """
        totals = {"users": torch.tensor(float(self.users.numel()), dtype=torch.float64)}
        totals |= {name: value.sum() for name, value in self.values.items()}
        for k in KS:
            listed = torch.bincount(self.lists[:, :k].flatten(), minlength=self.num_movies + 1)
            totals[f"coverage@{k}"] = listed[: self.num_movies].double()
        return totals

    def means(self) -> dict[str, float]:
        """The metrics over these users."""
        return means(self.totals())


def means(totals: Mapping[str, Tensor]) -> dict[str, float]:
    """Turns (sums of) :meth:`Ranking.totals` into metrics; without users they are NaN."""
    num_users = totals["users"]
    return {
        name: float((total > 0).double().mean() if name.startswith("coverage") else total / num_users)
        for name, total in totals.items()
        if name != "users"
    }


def top_k(scores: Tensor, seen: Tensor, k: int) -> Tensor:
    """The best unseen movies of each row, exactly: of equal scores, the lower movie index comes first.

    ``torch.topk`` promises nothing about ties. It only gives the k-th best score here; the few movies that reach
    it are put in order by stable sorts. NaN counts as the lowest score.

    Args:
        scores: [num, num_movies] floats; overwritten.
        seen: [2, num_seen] int64 pairs (row, movie) to leave out.
        k: length of the lists.

    Returns:
        [num, k] int64, best first; ``num_movies`` fills the rows that have fewer unseen movies.

    Examples:
        >>> import torch
        >>> from lightning_lp.evaluation.ranking import top_k
        >>> top_k(torch.tensor([[0.5, 0.9, 0.5, 0.1]]), seen=torch.tensor([[0], [1]]), k=2)
        tensor([[0, 2]])
    """
    num, num_movies = scores.shape
    scores.nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    scores[seen[0], seen[1]] = -torch.inf
    kth = scores.topk(min(k, num_movies)).values[:, -1:]
    reaches = scores >= kth
    reaches[seen[0], seen[1]] = False
    if reaches.sum() > 4 * k * num:  # nearly all scores may be equal: of those, the first k are enough
        reaches &= (scores > kth) | (reaches.cumsum(dim=1, dtype=torch.int32) <= 2 * k)
    row, movie = reaches.nonzero(as_tuple=True)  # by row, then movie
    order = scores[row, movie].argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    count = reaches.sum(dim=1)
    place = torch.arange(row.numel(), device=row.device) - (count.cumsum(0) - count)[row]
    lists = scores.new_full((num, k), num_movies, dtype=torch.int64)
    is_listed = place < k
    lists[row[is_listed], place[is_listed]] = movie[order][is_listed]
    return lists


def rank_users(task: RankingTask, score_users: ScoreUsers, rank: int = 0, world_size: int = 1) -> Ranking:
    """As :func:`rank_queries`, by a model that scores users and asks for no time.

    Examples:
        >>> import torch
        >>> from lightning_lp.evaluation.ranking import rank_users
        >>> from lightning_lp.evaluation.ranking_task import RankingTask
        >>> seen, held_out = torch.tensor([[0], [0]]), torch.tensor([[0, 0], [1, 3]])
        >>> task = RankingTask(users=torch.tensor([0]), seen=seen, held_out=held_out, self_information=torch.ones(30))
        >>> ranking = rank_users(task, lambda users: -torch.arange(30.0).repeat(len(users), 1))  # the first first
        >>> ranking.lists[0, :4], round(ranking.means()["mrr@10"], 2)
        (tensor([1, 2, 3, 4]), 1.0)
    """
    return rank_queries(task, without_time(score_users), rank, world_size)


def rank_queries(task: RankingTask, score_queries: ScoreQueries, rank: int = 0, world_size: int = 1) -> Ranking:
    """Ranks the movies for each user of the task, or for each of their queries, and judges the lists.

    Users are scored in chunks, so that the memory does not grow with their number. The chunks are the same however
    many processes share them: in chunks of another size, matrix products would round otherwise.

    The metrics, for one user with the set of held-out movies H and the list of k movies:

    - ``recall``: hits / |H|;
    - ``ndcg``: sum of 1 / log2(place + 1) over the hits, divided by the same sum over the first min(k, |H|)
      places (Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; gains are 0, 1);
    - ``hit_rate``: 1 if there is a hit;
    - ``mrr``: 1 / place of the first hit (Voorhees, "The TREC-8 question answering track report", 1999);
    - ``map``: sum of the precision at the place of each hit, divided by min(k, |H|);
    - ``novelty``: mean self-information of the movies listed (Zhou et al., "Solving the apparent diversity-accuracy
      dilemma of recommender systems", PNAS 2010).

    They are averaged over the users that have held-out movies, where history is rolling over their queries.
    ``coverage`` is the share of the catalogue that is listed for any of them (Ge, Delgado-Battenfeld and Jannach,
    "Beyond accuracy", RecSys 2010). The first five are PyG's ``LinkPred*`` metrics.

    Args:
        task: users, what they have seen and what is held out.
        score_queries: the model.
        rank: number of this process.
        world_size: number of processes; each ranks its share of the users.
    """
    return judge(task, *list_queries(task, score_queries, max(KS), rank, world_size))


def list_queries(
    task: RankingTask, score_queries: ScoreQueries, k: int, rank: int = 0, world_size: int = 1
) -> tuple[Tensor, Tensor]:
    """The lists that :func:`rank_queries` judges, of any length.

    Args:
        task: users and what they have seen.
        score_queries: the model.
        k: length of the lists.
        rank: number of this process.
        world_size: number of processes; each lists for its share of the users.

    Returns:
        [num] int64 positions in ``task.users``, ascending, and [num, k] int64 movies, as :func:`top_k` gives them.
    """
    num_users, num_movies = task.users.numel(), task.num_movies
    size = max(1, min(_MAX_USERS, _MAX_SCORES // num_movies))
    position, lists = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, k, dtype=torch.int64)]
    for start in range(rank * size, num_users, world_size * size):
        chunk = torch.arange(start, min(start + size, num_users))
        scores = score_queries(task.users[chunk], None if task.time is None else task.time[chunk])
        seen = _between(task.seen, start, start + size).to(scores.device)
        position.append(chunk)
        lists.append(top_k(scores, seen, k).cpu())
    return torch.cat(position), torch.cat(lists)


def dot_products(z_user: Tensor, z_movie: Tensor) -> ScoreUsers:
    """Scores by the dot product of two embeddings, as the classifier does, on their device."""
    return lambda users: z_user[users.to(z_user.device)] @ z_movie.T


def without_time(score_users: ScoreUsers) -> ScoreQueries:
    """Scores queries by who asks alone."""
    return lambda users, time=None: score_users(users)


def judge(task: RankingTask, position: Tensor, lists: Tensor) -> Ranking:
    """Computes the metrics of :func:`rank_users` for lists of movies.

    Args:
        task: the task.
        position: [num] int64, the position in ``task.users`` that each list belongs to, ascending.
        lists: [num, max(KS)] int64, as :func:`top_k` gives them.
    """
    row = torch.full_like(task.users, -1)
    row[position] = torch.arange(position.numel())
    held_out = by_position(task.held_out, row)
    values = {}
    for k in KS:
        data = LinkPredMetricData(lists[:, :k], held_out)
        for name, metric in _METRICS.items():
            # compute() gives the mean alone; intervals and tests need the value of each user.
            values[f"{name}@{k}"] = metric(k)._compute(data).double()
        is_movie = lists[:, :k] < task.num_movies
        surprise = torch.where(is_movie, task.self_information[lists[:, :k].clamp(max=task.num_movies - 1)], 0.0)
        values[f"novelty@{k}"] = surprise.double().sum(dim=1) / is_movie.sum(dim=1)
    return Ranking(task.users[position], lists, values, task.num_movies)


def _between(pairs: Tensor, start: int, end: int) -> Tensor:
    """The sorted pairs of the positions from ``start`` to before ``end``, counted from ``start``."""
    first, last = torch.searchsorted(pairs[0].contiguous(), torch.tensor([start, end])).tolist()
    return pairs[:, first:last] - torch.tensor([[start], [0]])
