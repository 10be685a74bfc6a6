"""What a service counts, for Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_lp.serve.swap import Swap

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Measures:
    """Counts of one service.

    Args:
        swap: what answers.
    """

    def __init__(self, swap: Swap) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lightning_lp_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "lightning_lp_seconds", "From a request to its answer.", ["route"], registry=self.registry, buckets=_SECONDS
        )
        self.running = Gauge("lightning_lp_running", "Requests that are being answered.", registry=self.registry)
        self.registry.register(_OfSwap(swap))


class _OfSwap(Collector):
    """What answers, and how often that was another."""

    def __init__(self, swap: Swap) -> None:
        self._swap = swap

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        swap = self._swap
        yield InfoMetricFamily("lightning_lp_model", "What answers: run and checkpoint.", {"name": swap.service.name})
        yield CounterMetricFamily("lightning_lp_swaps", "Another model began to answer.", swap.swaps)
        yield CounterMetricFamily("lightning_lp_refused_swaps", "Another model was asked for in vain.", swap.refusals)
        loaded = swap.num_in_memory
        yield GaugeMetricFamily("lightning_lp_models", "Models in memory: more than one while requests end.", loaded)
        users = swap.service.histories.num_changed
        yield GaugeMetricFamily("lightning_lp_changed_users", "Users with ratings that came in.", users)


class Measured:
    """Counts what goes through an application.

    Args:
        app: the application; it leaves the route in the scope.
        measures: where it is counted.
    """

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._measures.running.track_inprogress():
            try:
                await self._app(scope, receive, sent)
            finally:
                route = getattr(scope.get("route"), "path", "none")  # never what was asked for: that is without bounds
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "other"
                self._measures.requests.labels(method, route, str(status)).inc()
                self._measures.seconds.labels(route).observe(time.perf_counter() - start)
