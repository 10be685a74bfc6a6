"""The command ``serve``: a trained run over HTTP."""

import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lightning_lp.commands.imports import importing
from lightning_lp.commands.parser import Parser
from lightning_lp.errors import UserError
from lightning_lp.escape import visible

if TYPE_CHECKING:
    from lightning_lp.serve.swap import Swap

_SHORTEST_KEY = 16
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(args: Sequence[str] | None = None) -> None:
    """Serves a trained run over HTTP until a signal comes.

    Raises:
        UserError: something that the user can put right.
    """
    start = time.monotonic()
    options = _serve_parser().parse_args(args)
    if not 0 <= options.port < 2**16:
        raise UserError(f"--port {options.port}: 0 to 65535 wanted, 0 for any that is free")
    key = None if options.api_key_file is None else _key_of(options.api_key_file)
    if key is None and not _is_loopback(options.host):
        raise UserError(f"--host {options.host}: others than this machine may ask, which needs --api-key-file FILE")
    server = _server()
    listener = server.bound(options.host, options.port)

    with importing():
        from lightning_lp.serve.app import make_app
        from lightning_lp.serve.place import RunPlace
        from lightning_lp.serve.swap import Swap

    place = RunPlace(options.run, options.ratings)
    swap = Swap(place.load(), place.load)  # no other name for what it holds: that would keep the first in memory
    app = make_app(swap, api_key=key, hosts=None if key else {options.host.lower(), *_LOOPBACK})
    if unknown := swap.service.histories.num_unknown:
        _say(f"{unknown:,} ratings that came in are of movies that this model lacks: they are left out")
    server.listen(listener)
    host = f"[{options.host}]" if ":" in options.host else options.host
    port = listener.getsockname()[1]

    def started() -> None:
        took = time.monotonic() - start
        _say(f"serving {swap.service.name} at http://{host}:{port} after {took:.1f} s; Ctrl-C ends it")

    try:
        server.serve(app, listener, started, lambda: _reload(swap))
    finally:
        place.close()


def _reload(swap: "Swap") -> None:
    """What SIGHUP does."""
    try:
        _say(f"serving {swap.reload(wait=True).name}")
    except UserError as error:
        _say(f"refused: {error}")


def _say(text: str) -> None:
    print(visible(text), flush=True)


def _serve_parser() -> Parser:
    parser = Parser(
        prog="lightning-lp serve", description="Serves a trained run: a JSON API under /v1, and a page at /."
    )
    parser.add_argument("--run", metavar="DIR|FILE", type=Path, help="run folder or checkpoint; default: the newest")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any that is free")
    parser.add_argument("--api-key-file", metavar="FILE", type=Path, help="its first line is what clients must send")
    parser.add_argument(
        "--ratings",
        metavar="FILE",
        type=Path,
        help="keeps new ratings; default: RUN/ratings.sqlite",
    )
    return parser


def _server() -> ModuleType:
    """What the extra ``serve`` installs."""
    try:
        from lightning_lp.serve import server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lightning_lp"):
            raise
        raise UserError(f"serve needs the package {error.name}: pip install 'lightning_lp[serve]'") from error
    return server


def _key_of(path: Path) -> str:
    """The key in a file: the environment and the command line of a process are read more easily by others."""
    try:
        key = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--api-key-file {path} cannot be read: {error}") from error
    if len(key) < _SHORTEST_KEY or not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(
            f"--api-key-file {path}: {_SHORTEST_KEY} characters or more wanted in its first line, of ASCII and without "
            "spaces, such as `openssl rand -hex 32` gives"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
