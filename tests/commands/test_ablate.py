import json
from pathlib import Path

import numpy as np
import pytest

from lightning_lp.commands.ablate import LINEAR, VARIANTS, Line, _candidates, _given, _parse
from lightning_lp.commands.cli import main
from lightning_lp.data.sources.synthetic import write_movielens
from lightning_lp.model.module import LinkPredictionModule
from tests.journeys import QUIET, SMALL, run_script


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=30, num_movies=50, num_ratings=700, seed=0)
    return tmp_path / "movies"


@pytest.mark.slow
def test_variants_and_baselines_in_one_table(root, capsys):
    choice = [
        "--variants",
        '["default","without the linear part"]',
        "--baselines",
        '["popularity","linear part alone"]',
    ]
    flags = [f"--data.root={root}", "--trainer.max_epochs=1", *QUIET, *SMALL]
    assert run_script("ablate.py", *choice, "--seeds", "[0,1]", "--out", "study.json", "--", *flags) == 0
    found = json.loads(Path("study.json").read_text())
    names = ["default", "without the linear part", "popularity", "linear part alone"]
    assert [model["name"] for model in found["models"]] == names
    for model in found["models"]:
        assert [run["seed"] for run in model["runs"]] == [0, 1]
        values = [run["ndcg@20"] for run in model["runs"]]
        assert model["mean"]["ndcg@20"] == pytest.approx(np.mean(values))
        assert model["std"]["ndcg@20"] == pytest.approx(np.std(values, ddof=1))
    assert "lead_ndcg@20" not in found["models"][0]
    assert 0 < found["models"][2]["lead_ndcg@20"]["p"] <= 1
    out = capsys.readouterr().out
    assert "validation, mean ± standard deviation over seeds 0, 1" in out
    assert all(name in out for name in names)


def test_unknown_names_are_told_in_one_sentence(root, capsys):
    assert run_script("ablate.py", "--variants", '["defualt"]') == 2
    assert "--variants defualt: not one of default, " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_configuration(name, root, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", f"--data.root={root}", *_given(VARIANTS[name]), "--print_config"])
    assert end.value.code == 0
    capsys.readouterr()


def test_the_linear_part_has_the_settings_of_the_first_variant():
    module = LinkPredictionModule(20, 30, 3, hidden_channels=4, spectral_channels=5, spectral_l2=7.0)
    assert vars(_candidates(module)[LINEAR].baseline) == {"channels": 5, "l2": 7.0}


def test_the_baselines_beside_the_variants():
    options, _ = _parse([])
    assert options.baselines == [LINEAR, "EDLAE + features", "EASE + features", "EASE", "iALS"]


def test_a_user_counts_by_its_mean_over_seeds():
    values = [{"ndcg@20": np.array(run)} for run in ([0.2, np.nan, np.nan], [0.4, 0.5, np.nan])]
    found = Line("any", values=values).by_user("ndcg@20")
    np.testing.assert_allclose(found, [0.3, 0.5, np.nan])
