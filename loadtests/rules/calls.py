"""A call as mesh rules see it, and what the mesh does with it: plain data, shared by everything that reads routing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from loadtests.rules.view import View


@dataclass(frozen=True)
class Caller:
    """Whose proxy routes the call.

    :param namespace: of the caller's pod (of the gateway's pod, for a gateway)
    :param labels: of that pod
    :param gateway: ``namespace/name`` of the Gateway by which the call enters; None for a sidecar
    :param all_labels: whether the pod has no others
    :param account: ServiceAccount of that pod, where it matters
    """

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    gateway: str | None = None
    all_labels: bool = True
    account: str = ""

    def has(self, selector: Mapping[str, str]) -> bool | None:
        """Whether the pod has all labels that a selector asks for; None if that is not known."""
        wrong = any(self.labels.get(name, value) != value for name, value in selector.items())
        absent = any(name not in self.labels for name in selector)
        if wrong or (absent and self.all_labels):
            return False
        return None if absent else True


@dataclass(frozen=True)
class Call:
    """One request, or one connection where ``port`` carries no HTTP.

    :param host: authority as the client writes it, where a port matters to conditions on the authority alone; for TLS the
        server name
    :param port: of the service, or of the Gateway's server
    :param uri: the path; the query is separate
    :param headers: by lower-case name
    :param query: value of each parameter
    :param varied: lower-case names of headers whose values differ from request to request, or are not known: ``:authority`` as
        well, where clients ask for the gateway's own address
    """

    host: str
    port: int
    caller: Caller
    uri: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "http"
    varied: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The host that is asked for, without port and in lower case."""
        name, _, port = self.host.rpartition(":")
        return (name if port.isdecimal() and name else self.host).lower()


@dataclass(frozen=True)
class Mesh:
    """Mesh-wide settings that bear on routing (``meshConfig``), with Istio's defaults.

    :param allow_any: ``outboundTrafficPolicy.mode`` is ALLOW_ANY: calls to unknown hosts pass
    :param retries: ``defaultHttpRetryPolicy``, if it is set
    """

    root_namespace: str = "istio-system"
    domain: str = "cluster.local"
    allow_any: bool = True
    retries: View | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Destination:
    """Where a share of the calls goes.

    :param host: full name: ``reviews.default.svc.cluster.local``
    :param subset: '' for the whole service
    :param share: fraction of 1
    """

    host: str
    subset: str
    port: int
    share: float


@dataclass(frozen=True)
class Redirect:
    """The proxy answers with another address; None for parts that stay as they were asked."""

    code: int
    authority: str | None = None
    path: str | None = None
    scheme: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class DirectResponse:
    """The proxy answers itself."""

    status: int
    body: str = ""


@dataclass(frozen=True)
class Fault:
    """Injected faults; shares are fractions of 1, and both may hit the same call."""

    delay: float = 0.0
    """Seconds."""
    delay_share: float = 0.0
    http_status: int | None = None
    grpc_status: str | None = None
    abort_share: float = 0.0


@dataclass(frozen=True)
class Retries:
    """What is tried again.

    :param attempts: after the first one; 0 if nothing is tried again
    :param per_try: seconds that each attempt may take; None if no limit is set
    :param retry_on: names of conditions and status codes
    """

    attempts: int
    per_try: float | None = None
    retry_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrite:
    """What replaces parts of the request before it is sent on; None for parts that stay.

    :param uri: the whole path as the destination sees it
    """

    authority: str | None = None
    uri: str | None = None


class NoRoute(StrEnum):
    """Why a call is sent to no destination of a rule or service."""

    NOT_FOUND = "404"
    """The proxy knows the host, or the port, and no route takes the request."""
    PASSTHROUGH = "passthrough"
    """The proxy knows neither, and forwards to the address that was asked for."""
    CLOSED = "closed"
    """The proxy knows no route for the server name of a TLS connection, and closes it."""
    BLACKHOLE = "blackhole"
    """The proxy knows neither, and forwards nothing."""


@dataclass(frozen=True)
class Routed:
    """What the mesh does with a call: one of destinations, redirect, direct response and ``no_route``; and how.

    :param timeout: seconds for the whole call; None if no limit is set
    :param mirrors: destinations of copies; the share of each is that of all calls, so their sum may be above 1
    """

    destinations: tuple[Destination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    no_route: NoRoute | None = None
    fault: Fault | None = None
    timeout: float | None = None
    retries: Retries | None = None
    mirrors: tuple[Destination, ...] = ()
    rewrite: Rewrite | None = None
