"""Comparisons on splits by time."""

from dataclasses import replace

import pytest
import torch

from lightning_lp.data.datamodule import MovieLensDataModule
from lightning_lp.data.schema import RATES
from lightning_lp.data.settings import History
from lightning_lp.evaluation.baselines import BASELINES, BY_TIME
from lightning_lp.evaluation.comparison import Comparison
from lightning_lp.evaluation.label_metrics import LABEL_METRICS


def by_time(root, strategy: str, history: History) -> MovieLensDataModule:
    data = MovieLensDataModule(root, split={"strategy": strategy})
    data.setup()
    object.__setattr__(data.split_settings, "history", history)
    for graph in (data.split.val, data.split.test):
        store = graph[RATES]
        if "edge_label_time" not in store:
            times = data.graph.data[RATES].time[store.edge_label_id.clamp(min=0)]
            store.edge_label_time = torch.where(store.edge_label > 0, times, times.max())
    return data


@pytest.mark.parametrize(("strategy", "history"), [("leave_last_out", "frozen"), ("temporal", "rolling")])
def test_rivals_are_judged_by_the_order_of_links(root, strategy, history):
    comparison = Comparison(by_time(root, strategy, history), "test")
    assert comparison.is_by_time
    quick = {"SASRec": {"epochs": 1, "hidden_channels": 8}}
    for name, candidate in {"EASE": BASELINES["EASE"], **BY_TIME}.items():
        small = replace(candidate, baseline=replace(candidate.baseline, **quick.get(name, {})), grid=candidate.grid[:2])
        entry = comparison.add_baseline(name, small, search=True)
        assert len(entry.search) == 2
        assert all(0 <= entry.metrics[metric] <= 1 for metric in (*LABEL_METRICS, "recall@20", "ndcg@20"))
        low, high = entry.intervals["ndcg@20"]
        assert low <= entry.metrics["ndcg@20"] <= high
    users = comparison.ranking("EASE").users
    assert (users.numel() > users.unique().numel()) == (history == "rolling")


def test_a_split_by_chance_is_judged_without_times(root):
    data = MovieLensDataModule(root)
    data.setup()
    comparison = Comparison(data)
    assert not comparison.is_by_time
    entry = comparison.add_baseline("popularity", BASELINES["popularity"])
    assert not set(LABEL_METRICS) & entry.metrics.keys()
