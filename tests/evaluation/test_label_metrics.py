import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lightning_lp.evaluation.label_metrics import label_metrics


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([1, 3, 1000]))
def test_they_equal_a_naive_loop(seed, num, num_scores):
    rng = np.random.default_rng(seed)
    user, time, label = rng.integers(4, size=num), rng.integers(3, size=num), rng.integers(2, size=num)
    scores = rng.integers(num_scores, size=num).astype(np.float32)  # few distinct scores: many ties
    reciprocal, areas = [], []
    for i in np.flatnonzero(label):
        others = scores[(user == user[i]) & (time == time[i]) & (label == 0)]
        if len(others):
            reciprocal.append(1 / (1 + (others > scores[i]).sum() + (others == scores[i]).sum() / 2))
    for one in range(4):
        if len(set(label[user == one])) == 2:
            areas.append(roc_auc_score(label[user == one], scores[user == one]))
    links = torch.from_numpy(np.stack([user, np.arange(num)]))
    found = label_metrics(links, *map(torch.from_numpy, (label, time, scores)))
    for name, values in (("label_mrr", reciprocal), ("user_auroc", areas)):
        if values:
            assert found[name] == pytest.approx(np.mean(values), abs=1e-9)
        else:
            assert math.isnan(found[name])


def test_how_active_users_are_plays_no_part():
    """Scores that know users alone: over all labels they look good, within a user's they are chance."""
    links = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]])
    label, time = torch.tensor([1, 1, 0, 0, 0, 1]), torch.zeros(6, dtype=torch.int64)
    assert label_metrics(links, label, time, links[0].neg().float())["user_auroc"] == 0.5
