"""What stands between the network and the application: who may ask, how much, and for how long."""

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""What needs no API key: the page, which asks for one, probes, and the description of the interface."""

_LATER = {"Retry-After": "1"}
PATIENT = ("/v1/reload",)
"""What may take longer than others: a model is loaded. It is done once at a time."""


@dataclass(frozen=True)
class Limits:
    """How much one service takes upon itself.

    Attributes:
        max_body: bytes of a request's body.
        max_coming: requests whose bodies come in at once, however slowly; more are refused with 503.
        max_running: requests that are answered at once; more are refused with 503.
        max_of_one: of these, those of one address; more are refused with 429, and the others have the rest.
        seconds: for a body to come in, and then for an answer, unless a model is loaded for it.
    """

    max_body: int = 256 * 1024
    max_coming: int = 1024
    max_running: int = 64
    max_of_one: int = 48
    seconds: float = 10.0


class Guard:
    """Refuses what the application is not to see.

    Args:
        app: the application.
        limits: how much is taken.
        api_key: what ``Authorization: Bearer`` must have. None: anybody may ask.
        hosts: names that the service may be asked by; a page of another name could otherwise reach one without a key
            from within a browser (DNS rebinding). None: any.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, api_key: str | None = None, hosts: Collection[str] | None = None
    ) -> None:
        self._app, self._limits, self._hosts = app, limits, hosts
        self._key = None if api_key is None else _digest(api_key)
        self._coming = self._running = 0
        self._of: Counter[str] = Counter()
        """How many of those that run are of each address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        if scope["path"] in OPEN:  # nothing there reads a body
            await self._answer(scope, receive, send)
            return
        self._coming += 1
        try:
            body = await self._body(receive)
        finally:
            self._coming -= 1
        refusal = self._crowded(scope) if isinstance(body, bytes) else body
        if refusal is not None:
            await refusal(scope, receive, send)
        elif isinstance(body, bytes):
            await self._answer(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return problem(400, "this service is not asked by that host name: use " + " or ".join(sorted(self._hosts)))
        if self._key is not None and scope["path"] not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(_digest(given.strip()), self._key)
            if not (is_right and scheme.lower() == "bearer"):
                wanted = {"WWW-Authenticate": "Bearer"}
                return problem(401, "the header 'Authorization: Bearer KEY' with the API key is wanted", wanted)
        length = headers.get("content-length", "0")
        has_body = length != "0" or "transfer-encoding" in headers
        if (refusal := self._crowded(scope, has_body=has_body)) is not None:
            return refusal
        if length.isdecimal() and int(length) > self._limits.max_body:
            return self._too_large()
        return None

    def _crowded(self, scope: Scope, *, has_body: bool = False) -> JSONResponse | None:
        """Whether there is no place: for this address, or for anybody."""
        limits = self._limits
        if scope["path"] == "/health":  # or what watches the process would end it for being busy
            return None
        if self._of[_address(scope)] >= limits.max_of_one:
            return problem(429, f"more than {limits.max_of_one} requests at once: ask after others have ended", _LATER)
        if self._running >= limits.max_running or (has_body and self._coming >= limits.max_coming):
            return problem(503, "too many requests at once: try again after a second", _LATER)
        return None

    async def _body(self, receive: Receive) -> bytes | JSONResponse | None:
        """The whole body of a request, or why not; None: whoever asked has gone."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.seconds):
                while len(body) <= self._limits.max_body:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) <= self._limits.max_body and not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return problem(408, f"the request took more than {self._limits.seconds:g} s to come in")
        return self._too_large()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the application answer, or says that it takes too long: a thread cannot be stopped, and still counts."""
        has_begun = is_late = False

        async def sent(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if not is_late:
                await send(message)

        def ended(task: asyncio.Task[None]) -> None:
            self._running -= 1
            self._of -= Counter([address])  # drops what is 0
            if is_late and not task.cancelled():
                task.exception()  # is looked at, so that nobody is told again

        address = _address(scope)
        self._running += 1
        self._of[address] += 1
        task = asyncio.ensure_future(self._app(scope, receive, sent))
        task.add_done_callback(ended)
        patience = None if scope["path"] in PATIENT else self._limits.seconds
        done, _ = await asyncio.wait({task}, timeout=patience)
        if done or has_begun:
            await task
            return
        is_late = True
        text = f"no answer within {self._limits.seconds:g} s: try again; a rating may have been stored"
        await problem(503, text, _LATER)(scope, receive, send)

    def _too_large(self) -> JSONResponse:
        return problem(413, f"more than {self._limits.max_body} bytes: send less")


class Secured:
    """Adds headers that tell a browser to run and send nothing but what is the page's own.

    Args:
        app: the application.
        policy: the content security policy.
    """

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._headers]}
            await send(message)

        await self._app(scope, receive, sent)


def problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal, in a sentence."""
    return JSONResponse({"error": text}, status, headers)


def _address(scope: Scope) -> str:
    """Who asks; of a proxy, all who ask through it."""
    host: str = (scope.get("client") or ("", 0))[0]
    return host


def _digest(text: str) -> bytes:
    """As long for any text, so that comparing tells nothing of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _host(header: str) -> str:
    """The name in a header such as ``localhost:8000`` or ``[::1]:8000``."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).strip("[]").lower()


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
