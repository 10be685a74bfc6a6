"""Why a movie is recommended: the parts of a score add up to it, and each is what its movie adds."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from lightning_lp.__main__ import run
from lightning_lp.data.schema import MOVIE, REV_RATES, USER
from lightning_lp.errors import UserError
from lightning_lp.model.encoders.base import Sizes
from lightning_lp.model.encoders.history import HistoryEncoder
from lightning_lp.recommend.listing import print_list
from lightning_lp.recommend.profiles import History
from lightning_lp.recommend.reasons import Reason, Why
from lightning_lp.recommend.recommender import Recommender
from lightning_lp.recommend.topk import Recommendation
from tests.journeys import fit, run_folders
from tests.untrained import NUM_MOVIES, NUM_USERS, recommender_of


def random_encoder(seed: int) -> HistoryEncoder:
    """A history encoder with weights that nobody trained, in float64."""
    torch.manual_seed(seed)
    encoder = HistoryEncoder(hidden_channels=5, spectral_channels=4, temperature=(None, 1.0, 2.5)[seed % 3])
    encoder.build(Sizes(NUM_USERS, NUM_MOVIES, num_features=3, num_terms=4, max_terms=2))
    for weight in (*encoder.parameters(), encoder.spectral_source):
        weight.data.copy_(0.4 * torch.randn_like(weight))
    encoder.terms.copy_(torch.randint(5, encoder.terms.shape))
    encoder.x.copy_(torch.randint(2, encoder.x.shape))
    return encoder.eval().double()


@given(seed=st.integers(0, 40), movies=st.lists(st.integers(0, NUM_MOVIES - 1), min_size=1, max_size=12, unique=True))
def test_a_part_is_what_its_movie_adds_to_the_score(seed, movies):
    """As the gradient tells, which knows nothing of how the encoder is built: a sum of products, at its units above 0.

    Each movie of the history gets a vector of its own here: its row of the tables, times a number that is 1.
    """
    encoder, history = random_encoder(seed), torch.tensor(movies)
    scale = torch.ones(len(movies), dtype=torch.float64, requires_grad=True)
    graph = HeteroData()
    graph[USER].node_id, graph[MOVIE].node_id = torch.tensor([0]), torch.arange(NUM_MOVIES)
    graph[REV_RATES].edge_index = torch.stack([history, torch.zeros_like(history)])
    table, source = encoder.table().detach(), encoder.spectral_source
    rows = torch.zeros(NUM_MOVIES, dtype=torch.float64).index_add(0, history, scale)[:, None]
    h_user = (table * rows).sum(0) / math.sqrt(len(movies))
    conv = encoder.conv.lin_l((table * rows).sum(0) / len(movies)) + encoder.conv.lin_r(h_user)
    learned = h_user + encoder.user_lin(conv.relu())
    weight, factor, _ = encoder.mix
    user = torch.cat([learned, (source * rows).sum(0) * weight]) * factor
    z_dict = {name: z.detach() for name, z in encoder(graph).items()}
    torch.testing.assert_close(user.detach(), z_dict[USER][0, :-2], rtol=0, atol=1e-12)  # it is the encoder's function
    parts = encoder.user_parts(history)
    constant = torch.relu(conv.sign()) * encoder.conv.lin_l.bias @ encoder.user_lin.weight.T * factor
    rest = z_dict[USER][0] - parts.sum(0)
    torch.testing.assert_close(rest[:5], constant.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(rest[5:-2], torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    for movie in (0, 7, NUM_MOVIES - 1):
        z_movie = z_dict[MOVIE][movie]
        (gradient,) = torch.autograd.grad(user @ z_movie[:-2], scale, retain_graph=True)
        torch.testing.assert_close(parts @ z_movie, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_contributions_bias_and_rest_add_up_to_the_score_that_is_served(seed):
    recommender = recommender_of("history", seed)
    new = recommender.new_profile(History(np.array([3, 8, 21, 3]), np.array([4])))
    for profile in (new, *map(recommender.profile, range(NUM_USERS))):
        listed = recommender.list_for(profile, k=NUM_MOVIES)
        for movie, why in zip(listed, recommender.why(profile, [movie.movie_id for movie in listed]), strict=True):
            contributions = [reason.contribution for reason in why.reasons]
            assert abs(math.fsum([*contributions, why.bias, why.rest]) - why.logit) < 1e-6
            assert abs(1 / (1 + math.exp(-why.logit)) - movie.score) < 1e-6
            assert contributions == sorted(contributions, reverse=True)
            assert sorted(reason.movie_id for reason in why.reasons) == profile.movies.tolist()
            assert all(reason.title == recommender.titles[reason.movie_id] for reason in why.reasons)
            share = recommender.user_embeddings[0, -2]
            assert why.bias == pytest.approx(share * recommender.movie_embeddings[movie.movie_id, -2], abs=1e-7)


def test_the_rest_is_the_same_for_all_movies_where_the_layer_has_no_constant():
    recommender = recommender_of("history", 3)
    recommender._encoder.conv.lin_l.bias.data.zero_()
    profile = recommender.new_profile(History(np.array([3, 8, 21]), np.array([], np.int64)))
    rests = [why.rest for why in recommender.why(profile, range(NUM_MOVIES))]
    assert np.ptp(rests) < 1e-5
    assert rests[0] == pytest.approx(float(profile.vector[-1]), abs=1e-5)


@pytest.mark.parametrize("name", ["sequence", "sage", "lightgcn", "hgt"])
def test_a_model_whose_users_are_no_sums_says_so(name):
    recommender = recommender_of(name, 0)
    with pytest.raises(UserError, match=r"cannot be told: with the encoder \w+Encoder a user is not a sum"):
        recommender.why(recommender.profile(1), [2])


def test_the_command_tells_why(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fit(root)
    run_folder = str(run_folders()[0])
    recommender = Recommender.load(run_folder)

    def said(*options: str) -> str:
        capsys.readouterr()
        run(None, ["recommend", "--run", run_folder, "--k", "3", *options])
        return capsys.readouterr().out

    profile = recommender.profile(7)
    listed = recommender.list_for(profile, 3)
    whys = recommender.why(profile, [movie.movie_id for movie in listed])
    found = json.loads(said("--user", "7", "--why", "--format", "json"))
    assert [movie["movieId"] for movie in found] == [movie.movie_id for movie in listed]
    for movie, why in zip(found, whys, strict=True):
        assert movie["why"]["logit"] == why.logit
        told = movie["why"]
        assert [tuple(reason.values()) for reason in told["reasons"]] == why.reasons
        total = math.fsum(reason["contribution"] for reason in told["reasons"]) + told["bias"] + told["rest"]
        assert abs(total - told["logit"]) < 1e-6
    without = json.loads(said("--user", "7", "--format", "json"))
    assert [{key: value for key, value in movie.items() if key != "why"} for movie in found] == without
    first = whys[0].reasons[0]
    assert f"{first.title} {first.contribution:+.2f}" in " ".join(
        said("--user", "7", "--why", "--format", "csv").split()
    )
    assert "because of" in said("--user", "7", "--why")
    assert "because of" in said("--liked", f"{listed[0].movie_id},{listed[1].movie_id}", "--why")
    for options in (["--similar-to", "1"], ["--like", "x"], ["--all-users", "--out", "x.csv"]):
        with pytest.raises(SystemExit):
            run(None, ["recommend", "--run", run_folder, "--why", *options])
        assert "--why goes with --user or --liked" in capsys.readouterr().err


def test_a_movie_that_speaks_against_another_is_no_reason_for_it(capsys):
    movie = Recommendation(1, 7, "Seven", (), 0.4)
    reasons = [Reason(3, "Three", 0.25), Reason(4, "Four", -0.5)]
    print_list([movie], "csv", [Why(-0.4, reasons, 0.0, -0.15)])
    assert capsys.readouterr().out.splitlines()[1] == "1,7,Seven,,0.400000,Three +0.25"
