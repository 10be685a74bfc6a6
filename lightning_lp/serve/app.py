"""The application: addresses, guards and counts, put together."""

import base64
import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from lightning_lp.data.lookup import UnknownError
from lightning_lp.errors import UserError
from lightning_lp.serve.guards import OPEN, Guard, Limits, Secured, problem
from lightning_lp.serve.measures import Measured, Measures
from lightning_lp.serve.routes import api, probes
from lightning_lp.serve.service import NothingToGoByError
from lightning_lp.serve.store import ConflictError, FullError
from lightning_lp.serve.swap import RefusedError, Swap

_PAGE = Path(__file__).with_name("page.html")
_STATUS = {
    UnknownError: 404,
    NothingToGoByError: 409,
    ConflictError: 409,
    RefusedError: 409,
    FullError: 507,
    UserError: 422,
}
"""The first that an error is."""

_SAID = {
    404: "there is nothing at this address: /openapi.json names all that there is",
    405: "this address does not take that method: /openapi.json names those that it takes",
}


def make_app(
    swap: Swap,
    *,
    limits: Limits | None = None,
    api_key: str | None = None,
    hosts: Collection[str] | None = None,
) -> ASGIApp:
    """Makes an ASGI application of a service.

    Args:
        swap: what answers, and how another takes its place.
        limits: how much is taken. Default: those of :class:`Limits`.
        api_key: what ``Authorization: Bearer`` must have. None: anybody may ask.
        hosts: names that the service may be asked by. None: any.
    """
    app = FastAPI(title="lightning_lp", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.swap, app.state.metrics = swap, Measures(swap)
    app.include_router(api)
    app.include_router(probes)
    for error in (UserError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error, _told)
    page = _PAGE.read_text(encoding="utf-8")
    app.add_api_route("/", lambda: HTMLResponse(page), include_in_schema=False)
    app.openapi = lambda: _described(app, needs_key=api_key is not None)  # type: ignore[method-assign]
    guarded = Guard(app, limits or Limits(), api_key, hosts)
    return Secured(Measured(guarded, app.state.metrics), _policy(page))


async def _told(request: Request, error: Exception) -> JSONResponse:
    """An error in a sentence."""
    if isinstance(error, UserError):
        return problem(next(status for kind, status in _STATUS.items() if isinstance(error, kind)), str(error))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return problem(422, f"{' '.join(map(str, first['loc']))}: {first['msg']}")
    if not isinstance(error, HTTPException):  # it is raised again, so that the log has it
        return problem(500, "a fault of the program's: the log of the service tells more")
    text = _SAID.get(error.status_code, error.detail)
    return problem(error.status_code, text, dict(error.headers or {}))


def _described(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """The OpenAPI document."""
    if app.openapi_schema is None:
        told = get_openapi(title=app.title, version=app.version, routes=app.routes)
        if needs_key:
            told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, methods in told["paths"].items():
                for method in methods.values():
                    method["security"] = [] if path in OPEN else [{"key": []}]
        app.openapi_schema = told
    return app.openapi_schema


def _policy(page: str) -> str:
    """A content security policy that lets the page's own script and style run, and nothing else."""
    scripts, styles = (_hashes(re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
