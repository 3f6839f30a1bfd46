"""What the oracle and the lab's reader say of a call, in one form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.rules.calls import (
    Call,
    Destination,
    DirectResponse,
    Fault,
    NoRoute,
    Redirect,
    Retries,
    Rewrite,
    Routed,
)
from loadtests.rules.expectations import Shares
from loadtests.rules.grpc_routes import NOT_TAKEN as UNIMPLEMENTED
from loadtests.rules.ingress import NO_BACKEND, NOT_TAKEN
from loadtests.rules.responses import CLOSED

DIGITS = 6
"""Envoy has percentages in parts of a million."""
WITHOUT_EFFECT = frozenset(("retriable-status-codes", ""))
"""Among ``retryOn``: Istio adds the first after a comma wherever codes are listed; without codes it means nothing."""

NOT_SENT: dict[str, Shares] = {
    "HTTPRoute": NOT_TAKEN, "GRPCRoute": UNIMPLEMENTED, "TLSRoute": {CLOSED: 1.0}, "TCPRoute": {CLOSED: 1.0},
    "Ingress": NOT_TAKEN,
}  # fmt: skip
"""By the kind of routes: what becomes of a call that none takes ..."""
NOT_REACHED: dict[str, Shares] = {
    "HTTPRoute": NO_BACKEND, "GRPCRoute": NO_BACKEND, "TLSRoute": {CLOSED: 1.0}, "TCPRoute": {CLOSED: 1.0},
    "Ingress": {"HTTP 503": 1.0},
}  # fmt: skip
"""... and of one that is led to what is not there."""
FAILED = frozenset(outcome for known in (NOT_SENT, NOT_REACHED) for shares in known.values() for outcome in shares)
"""Outcomes of calls that a gateway sends nowhere."""


def asked(call: Call) -> dict[str, Any]:
    """A call as the oracle takes it."""
    parts = {name: value for name, value in dataclasses.asdict(call).items() if name != "varied"}
    return {**parts, "caller": {**parts["caller"], "gateway": call.caller.gateway or ""}}


def is_broken(answer: Mapping[str, Any]) -> bool:
    """Whether calls, or copies of them, go where nothing is: no service, or a subset that no rule defines."""
    return any(leg.get("missing") for name in ("destinations", "mirrors") for leg in answer.get(name, []))


def routed(answer: Mapping[str, Any]) -> Routed:
    """What the oracle answered, as the reader says it."""

    def destinations(name: str) -> tuple[Destination, ...]:
        return tuple(Destination(leg["host"], leg["subset"], leg["port"], leg["share"]) for leg in answer.get(name, []))

    fault, retries = answer.get("fault"), answer.get("retries")
    return Routed(
        destinations=destinations("destinations"),
        redirect=Redirect(**answer["redirect"]) if "redirect" in answer else None,
        direct_response=DirectResponse(**answer["direct"]) if "direct" in answer else None,
        no_route=NoRoute(answer["no_route"]) if "no_route" in answer else None,
        fault=Fault(**fault) if fault else None,
        timeout=answer.get("timeout"),
        retries=Retries(retries["attempts"], retries.get("per_try"), tuple(retries["retry_on"])) if retries else None,
        mirrors=destinations("mirrors"),
        rewrite=Rewrite(**answer["rewrite"]) if "rewrite" in answer else None,
    )  # fmt: skip


def shares(answer: Mapping[str, Any], kind: str, namespace: str) -> Shares:
    """What the oracle answered, as the reader of routes of the Gateway API says it: by the service that answers, or the status.

    :param kind: of the routes
    :param namespace: whose services are known by their names alone
    """
    if "no_route" in answer:
        return dict(NOT_SENT[kind])
    if own := answer.get("redirect"):
        return {f"HTTP {own['code']}": 1.0}
    if own := answer.get("direct"):
        return {f"HTTP {own['status']}": 1.0}
    found: Shares = {}
    for leg in answer["destinations"]:
        # Istio has a gateway answer 500 where a route of the Gateway API leads to what is not there.
        name, owner = (*leg["host"].split("."), "")[:2]
        known = name if owner == namespace else f"{owner}/{name}"
        for outcome in NOT_REACHED[kind] if leg.get("missing") else (known,):
            found[outcome] = found.get(outcome, 0.0) + leg["share"]
    return found


def rounded(found: Shares) -> Shares:
    """Without parts that have no share."""
    return {name: round(share, DIGITS) for name, share in found.items() if share}


def plain(found: Routed, call: Call) -> Routed:
    """The same in one form: what has no effect is left out, parts are sorted, and shares are rounded."""
    rewrite, redirect = found.rewrite, found.redirect
    if rewrite:
        rewrite = dataclasses.replace(rewrite, uri=None if rewrite.uri == call.uri else rewrite.uri)
    if redirect:
        redirect = dataclasses.replace(redirect, path=None if redirect.path == call.uri else redirect.path)
    retries = found.retries
    if retries:
        names = tuple(sorted(set(retries.retry_on) - WITHOUT_EFFECT))
        retries = dataclasses.replace(retries, retry_on=names) if retries.attempts else None
    return dataclasses.replace(
        found,
        destinations=summed(found.destinations),
        redirect=redirect,
        fault=_hitting(found.fault),
        timeout=found.timeout or None,
        retries=retries,
        mirrors=summed(found.mirrors),
        rewrite=None if rewrite == Rewrite() else rewrite,
    )


def summed(legs: Iterable[Destination]) -> tuple[Destination, ...]:
    """One entry for each place, sorted; places without a share are left out."""
    shares: dict[tuple[str, str, int], float] = {}
    for leg in legs:
        place = (leg.host, leg.subset, leg.port)
        shares[place] = shares.get(place, 0.0) + leg.share
    return tuple(Destination(*place, round(share, DIGITS)) for place, share in sorted(shares.items()) if share)


def _hitting(fault: Fault | None) -> Fault | None:
    """The fault without the parts that hit nobody; None if none is left."""
    if fault is None:
        return None
    delay, abort = round(fault.delay_share, DIGITS), round(fault.abort_share, DIGITS)
    if not fault.delay:
        delay = 0.0
    made = Fault(
        delay=fault.delay if delay else 0.0, delay_share=delay,
        http_status=fault.http_status if abort else None, grpc_status=fault.grpc_status if abort else None, abort_share=abort,
    )  # fmt: skip
    return None if made == Fault() else made
