"""Which of the form's settings have no effect, or less than they seem to: warnings beside a preview. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loadtests.console.settings import Service, Values
from loadtests.rules.resilience import MAX_EJECTION_PERCENT

RETRIED = "connect-failure, refused-stream, unavailable and cancelled"
"""What Istio retries where a rule does not say, in words."""


def of_route(values: Mapping[str, Any]) -> Iterator[str]:
    """Warnings about one route."""
    for fault in ("delay", "abort"):
        if values.get(fault) and not values.get(f"{fault}_percent"):
            yield f"{fault}: without {fault}_percent it affects no request"
    if values.get("delay") or values.get("abort"):
        for name in ("timeout", "retries"):
            if values.get(name):
                yield f"{name}: no effect beside a fault on the same route"
    elif values.get("retries") and not values.get("retry_on"):
        yield f"retries: without retry_on they cover {RETRIED} only; a plain error status, such as 503, is not retried"
    if values.get("mirror") and values.get("mirror_percent") == 0:
        yield "mirror: mirror_percent is 0, so nothing is mirrored"


def of_destination(values: Mapping[str, Any], pods: int) -> Iterator[str]:
    """Warnings about limits and outlier detection.

    :param pods: of the service; 0 if they are not known
    """
    percent = values.get("eject_percent") or MAX_EJECTION_PERCENT
    if values.get("eject_after") and pods and pods * percent < 100:
        many = f"{pods} pod{'s' * (pods > 1)}"
        yield f"eject_after: no effect, because {percent} % (eject_percent) of {many} is less than one pod"


def without_effect(service: Service, asked: Values) -> tuple[str, ...]:
    """Warnings about all of the form's values."""
    routes = [f"routes[{n}].{words}" for n, route in enumerate(asked["routes"]) for words in of_route(route)]
    return (*routes, *(f"destination.{words}" for words in of_destination(asked["destination"], service.pods)))
