"""What RequestAuthentications make of a token, as istiod translates them for Envoy's JWT filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.rules.expectations import NotModelledError
from loadtests.rules.view import View
from loadtests.rules.workloads import spec_of

Request = Mapping[str, Any]

NO_BEARING = ("forwardOriginalToken", "outputClaimToHeaders", "outputPayloadToHeader", "timeout")
"""What a rule does with a token that it has taken."""
HEADER, PREFIX = "authorization", "Bearer "
"""Where the load tests put a token, and where a rule looks for one unless it names places."""


@dataclass(frozen=True)
class Checked:
    """What is made of a request's token.

    :param status: 200 if the request passes, with or without a token
    :param claims: of a token that was accepted; None for a request that counts as one without a token
    """

    status: int
    claims: Mapping[str, Any] | None = None


def _looks_there(rule: View) -> bool:
    """Whether a rule looks for a token where the load tests put it."""
    headers = rule.get("fromHeaders") or []
    elsewhere = [*(rule.get("fromParams") or []), *(rule.get("fromCookies") or [])]
    found = not headers and not elsewhere
    for header in headers:
        if header["name"].lower() != HEADER:
            header.accept_all()
        elif header.get("prefix", "") != PREFIX:
            raise NotModelledError(f"RequestAuthentication: {header.path_of('prefix')}")
        else:
            found = True
    return found


def _status(rule: View, request: Request) -> int:
    """What one rule makes of a token that it sees: issuer, then time, then audience, then signature are looked at."""
    claims = request["claims"]
    if rule["issuer"] != claims.get("iss"):
        rule.accept_all()
        return 401
    audiences, brought = rule.get("audiences") or [], claims.get("aud", [])
    heard = not audiences or bool(set(audiences) & {brought} if isinstance(brought, str) else set(audiences) & set(brought))
    if not heard and not request["sound"]:
        raise NotModelledError("a token that is neither sound nor for the audience")
    if "jwks" in rule or rule.get("jwksUri") != request.get("keys", rule.get("jwksUri")):
        raise NotModelledError(f"RequestAuthentication: {rule.path_of('jwks' if 'jwks' in rule else 'jwksUri')}")
    if not request["sound"]:
        return 401
    return 200 if heard else 403


def checked(authentications: Sequence[View], request: Request) -> Checked:
    """What RequestAuthentications that apply to the called pods make of a request, before anybody asks what it may.

    A request without a token passes, as of nobody; so does one whose token is where no rule looks for it.

    :param request: ``claims`` of the token, None for no token; ``sound``: signed by the right key and not expired; ``keys``:
        address of the keys by which it is signed
    :raises NotModelledError: if rules refuse a token with several statuses, or look for keys elsewhere
    """
    rules = [rule for one in authentications for rule in spec_of(one).get("jwtRules") or []]
    claims = request["claims"]
    if claims is None:
        for one in authentications:
            spec_of(one).accept_all()
        return Checked(200)
    found: dict[int, View] = {}
    for rule in rules:
        rule.accept(*NO_BEARING)
        if not _looks_there(rule):
            rule.accept_all()
            continue
        found.setdefault(_status(rule, request), rule)
    if not found:
        return Checked(200)
    if 200 in found:
        for rule in rules:
            if rule is not found[200]:
                rule.accept_all()
        return Checked(200, claims)
    if len(found) > 1:
        raise NotModelledError(f"RequestAuthentication: {found[403].path_of('audiences')} beside rules of other issuers")
    return Checked(next(iter(found)))
