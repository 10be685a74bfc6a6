import json
from pathlib import Path

import numpy as np
import pytest

from lightning_lp.cli import main
from lightning_lp.data.synthetic import write_movielens
from lightning_lp.evaluation.study import VARIANTS, Line, _given
from tests.journeys import QUIET, SMALL, run_script


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_movielens(tmp_path / "movies", num_users=30, num_movies=50, num_ratings=700, seed=0)
    return tmp_path / "movies"


def test_variants_and_baselines_in_one_table(root, capsys):
    choice = ["--variants", '["default","without the linear part"]', "--baselines", '["popularity"]']
    flags = [f"--data.root={root}", "--trainer.max_epochs=1", *QUIET, *SMALL]
    assert run_script("ablate.py", *choice, "--seeds", "[0,1]", "--out", "study.json", "--", *flags) == 0
    found = json.loads(Path("study.json").read_text())
    names = ["default", "without the linear part", "popularity"]
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


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_configuration(name, root, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", f"--data.root={root}", *_given(VARIANTS[name]), "--print_config"])
    assert end.value.code == 0
    capsys.readouterr()


def test_a_user_counts_by_its_mean_over_seeds():
    values = [{"ndcg@20": np.array(run)} for run in ([0.2, np.nan, np.nan], [0.4, 0.5, np.nan])]
    found = Line("any", values=values).by_user("ndcg@20")
    np.testing.assert_allclose(found, [0.3, 0.5, np.nan])
