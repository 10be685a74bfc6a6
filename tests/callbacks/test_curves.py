import torch

from lightning_lp.callbacks.curves import curves_figure, reliability_curve


def test_the_figure_shows_what_was_predicted_and_what_came_true():
    probability = torch.linspace(0, 1, 200)
    label = (torch.arange(200) % 10 < probability * 10).long()
    axes = curves_figure(probability, label).axes
    assert [panel.get_title() for panel in axes] == ["ROC", "precision and recall", "reliability", "scores by label"]
    x, y = (values.tolist() for values in axes[0].lines[0].get_data())
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert x == sorted(x)
    assert y == sorted(y)
    predicted, observed = reliability_curve(probability, label)
    assert axes[2].lines[0].get_data()[0].tolist() == predicted.tolist()
    assert axes[2].lines[0].get_data()[1].tolist() == observed.tolist()
    texts = [text.get_text() for text in axes[3].get_legend().get_texts()]
    assert texts == ["links", "non-links"]


def test_reliability_of_a_forecast_that_comes_true():
    probability = torch.tensor([0.05] * 20 + [0.95] * 20)
    label = torch.tensor([1] + [0] * 19 + [1] * 19 + [0])
    predicted, observed = reliability_curve(probability, label)
    assert torch.allclose(predicted, observed)
    assert len(predicted) == 2
