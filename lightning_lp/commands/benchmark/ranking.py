"""How long it takes to rank the whole catalogue for all users."""

from collections.abc import Iterator

from lightning_lp.commands.benchmark.workload import Figure, Workload, make_model, median_seconds
from lightning_lp.evaluation.ranking import dot_products, judge, rank_users
from lightning_lp.evaluation.ranking_task import ranking_task


def ranking(workload: Workload) -> Iterator[Figure]:
    """Seconds to embed all nodes, to rank and judge for all users of validation, and to judge alone."""
    data = workload.data()
    module, graph = make_model(workload.settings, data), data.split.val
    task = ranking_task(graph, data.graph.below_min_rating)
    score_users = dot_products(*module.encoder.embed_all(graph))
    found = rank_users(task, score_users)
    position = (task.users[:, None] == found.users).int().argmax(dim=0)
    setting = f"{task.users.numel():,} users, {task.num_movies:,} movies"
    for what, work in (
        ("embed all nodes", lambda: module.encoder.embed_all(graph)),
        ("rank and judge", lambda: rank_users(task, score_users)),
        ("of which judge", lambda: judge(task, position, found.lists)),
    ):
        yield Figure("ranking", what, setting, median_seconds(work, workload.repeat), "s")
