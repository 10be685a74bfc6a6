"""Fits the baselines and judges them and a run's model on one split: who ranks better, and is it chance?"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import psutil
from torch_geometric.data import HeteroData

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import History
from lightning_lp.evaluation.baselines import Baseline, Candidate, feature_matrix
from lightning_lp.evaluation.breakdown import recall_curve
from lightning_lp.evaluation.label_metrics import label_metrics
from lightning_lp.evaluation.queries import is_by_time, known_links
from lightning_lp.evaluation.ranking import Ranking, ScoreQueries, ScoreUsers, rank_queries, without_time
from lightning_lp.evaluation.ranking_task import kept_task
from lightning_lp.evaluation.scoring import score_query_labels, scorer_of, scorer_of_baseline
from lightning_lp.evaluation.significance import Floats, PairedTest, auroc, bootstrap_interval, by_user, paired_tests
from lightning_lp.model.module import LinkPredictionModule

Part = Literal["validation", "test"]
MODEL = "this run"
TARGET = "ndcg@20"
"""What the search maximises and the paired tests compare."""
WITH_INTERVAL = ("recall@20", TARGET)


@dataclass
class Entry:
    """What is known of one model.

    Attributes:
        name: name of the model.
        skipped: why it was not fitted; then it has no figures.
        parameters: its hyper-parameters.
        search: the settings that were tried, each with the NDCG@20 that it reached on validation.
        fit_s: seconds that the fit (of the chosen setting) took.
        auroc: over the labels of the part.
        metrics: the ranking metrics, and where the split is by time those of :func:`label_metrics`.
        intervals: 95 % bootstrap intervals over users of some of them.
        recall_curve: recall of lists of 1, 2, ... movies.
        test: the run's model minus this one, if there is a run.
    """

    name: str
    skipped: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    search: list[dict[str, float]] = field(default_factory=list)
    fit_s: float | None = None
    auroc: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    recall_curve: list[float] = field(default_factory=list)
    test: PairedTest | None = None


class Comparison:
    """Fits and judges models on one part of a split.

    Args:
        data: the data module, set up.
        part: the part whose held-out links are ranked. Hyper-parameters are chosen on validation in any case.
        seed: seed of the baselines that draw, of the bootstrap and of the tests.
        max_memory: bytes that fitting a baseline may take. Default: 80 % of what is free.

    Attributes:
        entries: the models so far.
        is_by_time: whether the split is by time: then baselines may need times.

    Raises:
        UserError: the split has no such part.
    """

    def __init__(
        self,
        data: MovieLensDataModule,
        part: Part = "validation",
        seed: int = 0,
        max_memory: float | None = None,
    ) -> None:
        split, below = data.split, data.graph.below_min_rating
        self.entries: list[Entry] = []
        self._seed = seed
        self._max_memory = 0.8 * psutil.virtual_memory().available if max_memory is None else max_memory
        self._split = split
        self._graph: HeteroData = data.part("val" if part == "validation" else "test")
        self.is_by_time = is_by_time(self._graph)
        self._history: History = data.split_settings.history
        self._rating = data.graph.data[RATES].get("rating")
        self._train = known_links(split.val)  # its messages are all training links
        self._known = known_links(self._graph, self._history)
        self._features = feature_matrix(data.graph)
        self._below = below
        self._task = kept_task(self._graph, below, history=self._history)
        self._rankings: dict[str, Ranking] = {}

    def add_model(self, module: LinkPredictionModule, fit_s: float | None = None) -> Entry:
        """Judges a trained model, with the part's history as its messages."""
        hparams = {name: value for name, value in module.hparams.items() if not name.startswith("_")}
        score_queries = scorer_of(module, self._graph, self._history, self._rating)
        assert score_queries is not None
        return self._judge(Entry(MODEL, parameters=hparams, fit_s=fit_s), score_queries)

    def add_baseline(
        self, name: str, candidate: Candidate, *, search: bool = False, advance: Callable[[], None] = lambda: None
    ) -> Entry:
        """Fits and judges a baseline, or notes that it would take too much memory.

        Args:
            name: its name.
            candidate: its defaults and its grid.
            search: fit each setting of the grid and keep the best on validation. Otherwise the defaults are fitted.
            advance: called after each fit.
        """
        num_users, num_movies = self._train.shape
        num_links = self._train.sequences.node.numel()
        need = candidate.baseline.memory(num_users, num_movies, num_links, self._features.shape[0])
        if need > self._max_memory:
            gib = [f"{size / 2**30:,.1f} GiB" for size in (need, self._max_memory)]
            self.entries.append(Entry(name, skipped=f"needs {gib[0]} of memory, {gib[1]} may be used"))
            return self.entries[-1]
        chosen, best, tried = candidate.baseline, -1.0, []
        judge = self._on_validation() if search else None
        for change in candidate.grid if search else ({},):
            baseline = replace(candidate.baseline, **change)  # type: ignore[type-var]
            start = time.perf_counter()
            baseline.fit(self._train, self._features, self._seed)
            seconds, reached = time.perf_counter() - start, 0.0
            if judge is not None:
                reached = judge(baseline)
                tried.append({**change, TARGET: reached})
            if reached > best:
                chosen, best, fit_s = baseline, reached, seconds
            advance()
        entry = Entry(name, parameters=_parameters(chosen), search=tried, fit_s=fit_s)
        return self._judge(entry, scorer_of_baseline(chosen, self._known, self._history))

    def add_tests(self) -> None:
        """Tests the run's model against each baseline, on NDCG@20 of the same users."""
        others = [entry for entry in self.entries if entry.name != MODEL and not entry.skipped]
        values = [_values(self._rankings[entry.name], TARGET) for entry in others]
        tests = paired_tests(_values(self._rankings[MODEL], TARGET), values, self._seed)
        for entry, test in zip(others, tests, strict=True):
            entry.test = test

    def _on_validation(self) -> Callable[[Baseline], float]:
        """Gives what a fitted baseline reaches on validation, with the training links as what is known before."""
        graph = self._split.part("val")
        task, known = kept_task(graph, self._below, history=self._history), known_links(graph, self._history)
        return lambda baseline: rank_queries(task, scorer_of_baseline(baseline, known, self._history)).means()[TARGET]

    def _judge(self, entry: Entry, score_queries: ScoreQueries) -> Entry:
        ranking = rank_queries(self._task, score_queries)
        scores, store = score_query_labels(self._graph, score_queries, self._history), self._graph[RATES]
        entry.auroc = auroc(scores.double().numpy(), store.edge_label.numpy() > 0)
        entry.metrics = ranking.means()
        if self.is_by_time:
            labels = store.edge_label_index, store.edge_label, store.edge_label_time
            entry.metrics |= label_metrics(*labels, scores)
        entry.intervals = {name: bootstrap_interval(_values(ranking, name), self._seed) for name in WITH_INTERVAL}
        entry.recall_curve = recall_curve(self._task, ranking).tolist()
        self.entries.append(entry)
        self._rankings[entry.name] = ranking
        return entry

    def ranking(self, name: str) -> Ranking:
        """The lists of the model or baseline of this name that was added last."""
        return self._rankings[name]


def label_auroc(graph: HeteroData, score_users: ScoreUsers) -> float:
    """AUROC over the labels of a part, by the very scores that rank."""
    scores = score_query_labels(graph, without_time(score_users))
    return auroc(scores.double().numpy(), graph[RATES].edge_label.numpy() > 0)


def _values(ranking: Ranking, metric: str) -> Floats:
    return by_user(ranking.values[metric].numpy(), ranking.users.numpy())


def _parameters(baseline: Baseline) -> dict[str, Any]:
    """The hyper-parameters: the fields that ``__init__`` takes."""
    return {entry.name: getattr(baseline, entry.name) for entry in fields(baseline) if entry.init}  # type: ignore[arg-type]
