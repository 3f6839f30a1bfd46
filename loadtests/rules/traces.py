"""What Telemetry resources declare of traces, call by call: pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares
from loadtests.rules.mesh_config import providers_of, tracing_provider_of
from loadtests.rules.responses import Request, only
from loadtests.rules.straight import refuse_detours
from loadtests.rules.telemetries import telemetries_of
from loadtests.rules.view import View, title
from loadtests.rules.workloads import called_workload, spec_of

NOT_TRACED = "not traced"
CLIENT, SERVER, BOTH = "CLIENT", "SERVER", "CLIENT_AND_SERVER"
"""Sides of a call, as Telemetries and spans name them."""
MODELLED = ("match", "providers", "randomSamplingPercentage", "disableSpanReporting")
INERT = ("customTags", "enableIstioTags")
"""Fields about what spans say beside their service and side."""


def trace_of(spans: Iterable[tuple[str, str]]) -> str:
    """A trace, as outcomes have it.

    :param spans: service and side of each
    """
    return ", ".join(sorted(f"{service} {side}" for service, side in spans)) or NOT_TRACED


@dataclass(frozen=True)
class Tracing:
    """What a proxy does for one side of its calls.

    :param title: how messages name the last Telemetry that says something of it; empty if none does
    :param provider: by name; empty for the mesh's default one
    :param percentage: of the calls that begin a trace; None if the proxy's own setting applies
    """

    title: str = ""
    provider: str = ""
    disabled: bool = False
    percentage: float | None = None


def _tracing(objects: Objects, request: Request, app: str, side: str) -> Tracing:
    """What the proxies of a workload do for one side of their calls, as istiod merges it: what comes later counts.

    :raises NotModelledError: if they do something else beside it
    """
    source, provider, disabled, percentage = "", "", False, None
    for telemetry in telemetries_of(objects, called_workload(objects, {**request, "app": app})):
        spec_of(telemetry).accept("metrics", "accessLogging", "tracing")  # each part is read here, or is for the other side
        for part in spec_of(telemetry).get("tracing") or []:
            if (part.get("match") or {}).get("mode", BOTH) not in (side, BOTH):
                continue
            for field in part:
                if field not in (*MODELLED, *INERT):
                    raise NotModelledError(f"{title(telemetry)}: {part.path_of(field)}")
            source = title(telemetry)
            provider = next((str(one["name"]) for one in part.get("providers") or []), provider)
            disabled = bool(part.get("disableSpanReporting", disabled))
            percentage = part.get("randomSamplingPercentage", percentage)
    return Tracing(source, provider, disabled, percentage)


def _reports(objects: Objects, tracing: Tracing, collector: tuple[str, int]) -> bool:
    """Whether spans are reported to the collector.

    :raises NotModelledError: if they are reported elsewhere, or in another way
    """
    if providers_of(objects) is None:  # objects of files, without the settings of a mesh
        return not tracing.disabled
    provider = None if tracing.disabled else tracing_provider_of(objects, tracing.provider)
    if provider is None:
        return False
    zipkin, (service, port) = provider.get("zipkin") or View({}), collector
    if dict(zipkin) != {"service": service, "port": port}:
        raise NotModelledError(f"MeshConfig: spec.extensionProviders: {provider['name']}")
    return True


def traced(objects: Objects, request: Request) -> Shares:
    """Share of the calls that leave a trace with a span of either side; the calling program begins a trace with each.

    :param request: the called workload and the caller, as :func:`loadtests.rules.straight.refuse_detours` has them;
        ``collector``: service and port that the spans are looked up at
    :raises NoExpectationError: if no Telemetry says what is traced
    :raises NotModelledError: if only one side reports its spans, the proxies' own settings apply, or rules may lead a call
        elsewhere
    """
    refuse_detours(objects, request)
    caller, namespace = str(request["caller"]["app"]), request["namespace"]
    client, server = _tracing(objects, request, caller, CLIENT), _tracing(objects, request, request["app"], SERVER)
    if not client.title:
        raise NoExpectationError(f"no Telemetry says what the proxy of {caller} traces")
    reported = [_reports(objects, one, request["collector"]) for one in (client, server)]
    if not any(reported):
        return {NOT_TRACED: 1.0}
    if not all(reported):
        raise NotModelledError(f"{client.title}: spec.tracing: only one side of a call reports spans")
    if client.percentage is None:
        raise NotModelledError(f"{client.title}: spec.tracing: no randomSamplingPercentage")
    # Envoy counts in hundredths of a percent.
    share = math.floor(client.percentage * 100) / 10_000
    trace = trace_of(((f"{caller}.{namespace}", CLIENT), (f"{request['app']}.{namespace}", SERVER)))
    return only({trace: share, NOT_TRACED: 1 - share})
