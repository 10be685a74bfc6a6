"""What the guide shows works as it is written."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from lightning_lp.serve.app import make_app
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import RatingStore
from lightning_lp.serve.swap import Swap
from tests.untrained import NUM_MOVIES, NUM_USERS, recommender_of

GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
LINES = [line for line in GUIDE.splitlines() if line.startswith("curl ") and "127.0.0.1:8000" in line]
IDS = {
    "users": torch.tensor([*range(NUM_USERS - 1), 42]),
    "movies": torch.tensor([*range(NUM_MOVIES - 2), 50, 260]),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> TestClient:
    store = RatingStore(tmp_path_factory.mktemp("guide") / "log")
    service = Service(recommender_of("history", **IDS), store)
    return TestClient(make_app(Swap(service, lambda: service)))


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_answered(client, line):
    words = iter(shlex.split(line)[1:])
    method, address, body, headers = "GET", "", None, {}
    for word in words:
        if word == "--json":
            method, body = "POST", next(words)
            headers["Content-Type"] = "application/json"
        elif word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        else:
            address = word
    answer = client.request(method, f"http://{address}", content=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text


def test_every_address_has_a_line_and_a_row(client):
    for path in client.get("/openapi.json").json()["paths"]:
        assert any(f":8000{path}" in line for line in LINES), path
        assert re.search(rf"^\| .*`[^`]*{re.escape(path)}`", GUIDE, re.MULTILINE), path
