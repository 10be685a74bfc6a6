"""Whatever is asked: no answer is a fault of the program's, and each is one that the OpenAPI document names."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, openapi
from schemathesis.specs.openapi.checks import positive_data_acceptance

from lightning_lp.serve.app import make_app
from lightning_lp.serve.service import Service
from lightning_lp.serve.store import RatingStore
from lightning_lp.serve.swap import Swap
from tests.untrained import recommender_of

pytestmark = pytest.mark.slow
ADDRESSES = [
    *(("/v1/recommendations", method) for method in ("GET", "POST")),
    *(("/v1/ratings", method) for method in ("POST", "DELETE")),
    ("/v1/reload", "POST"),
    *((path, "GET") for path in ("/v1/similar", "/v1/search", "/v1/history", "/health", "/ready", "/metrics")),
]
EXAMPLES = 370
"""Of right and wrong requests to each of eight: more than 5,500."""
KNOWN = {"user": "5", "movie": "3", "movieId": "3", "exclude": ["3"], "only": ["3", "4", "8"], "genre": ["Drama"]}


@pytest.fixture(scope="module")
def interface(tmp_path_factory: pytest.TempPathFactory):
    store = RatingStore(tmp_path_factory.mktemp("fuzz") / "log")
    service = Service(recommender_of("history"), store)
    return openapi.from_asgi("/openapi.json", make_app(Swap(service, lambda: service)))


@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_right_requests(interface, path, method):
    """Those that the document allows are answered, unless what they name is unknown."""
    count = itertools.count()

    def ask(case):
        if next(count) % 2:
            case.query, case.body = with_known(case.query), with_known(case.body)
        answer = case.call()
        is_known_case = "has no time, and others have" in answer.text  # which JSON Schema cannot say
        case.validate_response(answer, excluded_checks=[positive_data_acceptance] * is_known_case)
        return answer

    assert 200 <= min(statuses(interface[path][method], GenerationMode.POSITIVE, ask)) < 300


def with_known(value: Any) -> Any:
    """A part of a request that names users, movies and genres that there are."""
    if isinstance(value, list):
        return [with_known(item) for item in value]
    if isinstance(value, dict):
        return {key: KNOWN.get(key, with_known(item)) for key, item in value.items()}
    return value


@pytest.mark.parametrize(("path", "method"), [place for place in ADDRESSES if place[0].startswith("/v1")])
def test_wrong_requests(interface, path, method):
    """Those that it forbids are refused, unless they say what is allowed once they are written down (``k=3``)."""
    found = statuses(interface[path][method], GenerationMode.NEGATIVE, lambda case: case.call_and_validate())
    assert 422 in found
    assert max(found) < 500


def statuses(operation, mode: GenerationMode, ask: Callable[[Any], Any]) -> set[int]:
    """The statuses of all answers."""
    found: set[int] = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, suppress_health_check=[*HealthCheck])
    def asked(case):
        found.add(ask(case).status_code)

    asked()
    return found


def test_every_address_is_asked(interface):
    operations = [result.ok() for result in interface.get_all_operations()]
    assert sorted((operation.path, operation.method.upper()) for operation in operations) == sorted(ADDRESSES)
