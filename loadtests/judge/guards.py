"""Requests for the rules that say who may call a service: as the probe, with a sidecar and without one."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests.judge.checks import Check, Gap
from loadtests.judge.reach import ACCOUNT, AGENT, MARKED, PROBE, PROBES, PROBING, SYSTEM, Seen
from loadtests.rules.authorization import TRUST_DOMAIN
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import Objects, Shares, namespace_of, work_out_shares
from loadtests.rules.fates import Fate
from loadtests.rules.registry import HTTP, SNIFFED, Service
from loadtests.rules.security import ANSWERED, REFUSED, permitted
from loadtests.rules.tokens import checked
from loadtests.rules.view import EXTENSIONS, View, title
from loadtests.rules.workloads import GUEST, PART_OF, applying, called_workload
from loadtests.verdict import Outcome

KINDS = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
LET_IN, DENIED, REJECTED = "let in", "HTTP 403 by a policy", "HTTP 401 by a policy"
OUTCOMES = {"HTTP 200": LET_IN, "HTTP 401": REJECTED, "HTTP 403": DENIED, REFUSED: REFUSED}
"""What the reader expects of an answer -> what is seen of any service's."""
WITHOUT = {"sidecar.istio.io/inject": "false"}
"""The label of a pod that gets no sidecar."""
IDENTITY = f"{TRUST_DOMAIN}/ns/{PROBES}/sa/{ACCOUNT}"
"""The identity of the probe with a sidecar."""


@dataclass(frozen=True)
class Client:
    """One of the probes.

    :param words: how messages name it
    :param claims: of the token that it brings, which is signed by nobody; None for no token
    """

    words: str
    caller: Caller
    principal: str
    claims: Mapping[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers with the token."""
        if self.claims is None:
            return {}
        parts = (json.dumps({"alg": "RS256", "typ": "JWT"}), json.dumps(self.claims), "signed by nobody")
        return {"authorization": "Bearer " + ".".join(urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts)}


INSIDE = Client(f"a client of namespace {PROBES}", PROBING, IDENTITY)
OUTSIDE = Client("a client without a sidecar", Caller(PROBES, {"app": f"{PROBE}-plain", **PART_OF, **WITHOUT}), "")

FORGER = replace(
    INSIDE, words=f"{INSIDE.words} with a token of an unknown issuer", claims={"iss": "https://judge.istio-lab.internal"}
)
IDENTIFYING = {
    "principals": re.compile(rf"{re.escape(TRUST_DOMAIN)}/ns/(?P<namespace>[^/*]+)/sa/(?P<account>[^/*]+)"),
    "namespaces": re.compile(r"(?P<namespace>[^/*]+)"),
    "serviceAccounts": re.compile(r"((?P<namespace>[^/*]+)/)?(?P<account>[^/*]+)"),
}
"""Fields of a source that name identities, and how."""


def guest_of(namespace: str, account: str) -> Client:
    """A probe under a ServiceAccount, in its namespace."""
    principal = f"{TRUST_DOMAIN}/ns/{namespace}/sa/{account}"
    labels = {"app": GUEST, **PART_OF, "sidecar.istio.io/inject": "true"}
    return Client(f"ServiceAccount {account} of namespace {namespace}", Caller(namespace, labels, account=account), principal)


def guards_of(views: Sequence[View], seen: Seen, reached: Collection[str]) -> Iterator[Check | Gap]:
    """Checks of who may call the services of the namespace, if it has rules about that, and what they leave out.

    :param reached: destinations that other checks are for, as outcomes name them
    """
    namespace = seen.settings.namespace
    rules = [one for one in views if one["kind"] in KINDS and namespace_of(one) == namespace]
    if not rules:
        return
    paths = tuple(dict.fromkeys(("/", *(path for rule in rules for path in _paths(rule.data.get("spec") or {})))))
    for service in (s for s in seen.services if s.of_kubernetes and s.namespace == namespace):
        yield from _of_service(service, paths, [rule for rule in rules if _may_select(rule, service)], seen, reached)
    for rule in rules:
        spec = rule.data.get("spec") or {}
        for number, one in enumerate(spec.get("rules") or []):
            for path, why in _not_asked(one or {}, seen):
                yield Gap(f"{title(rule)}: spec.rules[{number}].{path}", why)
        for number, one in enumerate(spec.get("jwtRules") or []):
            yield Gap(f"{title(rule)}: spec.jwtRules[{number}]", f"no valid token of {one['issuer']} is available")


def _may_select(rule: View, service: Service) -> bool:
    """Whether a rule may be for pods of a service."""
    wanted = ((rule.data.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return not any(service.selector.get(name, value) != value for name, value in wanted.items())


def _not_asked(rule: Mapping[str, Any], seen: Seen) -> Iterator[tuple[str, str]]:
    """What a rule of a policy tells apart, and requests do not: the path of the field, and why."""
    only = f"it is asked as {IDENTITY} and without an identity only"
    if "from" in rule and seen.settings.accounts is None:
        yield "from", f"{only}: see IDENTITIES=1"
    elif "from" in rule:
        for number, one in enumerate(rule["from"]):
            for field, values in sorted(((one or {}).get("source") or {}).items()):
                why = [found for value in values if isinstance(found := _identity_of(field, value, seen), str)]
                if why:
                    yield f"from[{number}].source.{field}", why[0]
    if "when" in rule:
        yield "when", only
    for number, to in enumerate(rule.get("to") or []):
        for field, values in sorted(to["operation"].items()):
            if field not in ("paths", "notPaths"):
                if (field, values) != ("methods", ["GET"]):
                    yield f"to[{number}].operation.{field}", "it is asked by GET, at one port and host of each service only"
            elif odd := [path for path in values if not _is_plain(path)]:
                yield f"to[{number}].operation.{field}", f"no path is planned for {odd[0]}"


def _identity_of(field: str, value: str, seen: Seen) -> Client | str | None:
    """The client that a value of a source names, None for any with a certificate, or why there is none.

    :param field: of the source
    """
    field = field.removeprefix("not")[:1].lower() + field.removeprefix("not")[1:]
    if field not in IDENTIFYING:
        return "no requests are planned that differ in it"
    if value == "*":
        return None
    own = seen.settings.namespace
    found = IDENTIFYING[field].fullmatch(value)
    if found is None:
        return f"no identity is planned for {value}"
    parts = found.groupdict()
    namespace, account = parts.get("namespace") or own, parts.get("account") or "default"
    return why_no_guest(namespace, account, seen) or guest_of(namespace, account)


def why_no_guest(namespace: str, account: str, seen: Seen) -> str:
    """Why no probe may run under a ServiceAccount; '' if one may."""
    if seen.settings.accounts is None:
        return "no pods are started: see IDENTITIES=1"
    if namespace in SYSTEM:
        return f"no pods are started in namespace {namespace}"
    if f"{namespace}/{account}" not in seen.settings.accounts:
        return f"there is no ServiceAccount {account} in namespace {namespace}"
    for one in seen.objects:
        if one["kind"] in EXTENSIONS and namespace_of(one) == namespace:
            return f"{title(one)} of namespace {namespace} may change what its pods send"
    return ""


def _guests(rules: Sequence[View], seen: Seen) -> list[Client]:
    """The identities that rules name, and under which probes may run."""
    found: list[Client] = []
    for rule in rules if seen.settings.accounts is not None else ():
        for one in (rule.data.get("spec") or {}).get("rules") or []:
            for source in ((part or {}).get("source") or {} for part in (one or {}).get("from") or []):
                for client in (_identity_of(field, value, seen) for field, values in source.items() for value in values):
                    if isinstance(client, Client) and client not in found:
                        found.append(client)
    return found


def _paths(spec: Mapping[str, Any]) -> Iterator[str]:
    """A path for each that a policy names."""
    for rule in spec.get("rules") or []:
        for to in (rule or {}).get("to") or []:
            for key in ("paths", "notPaths"):
                for pattern in to["operation"].get(key) or []:
                    if _is_plain(pattern):
                        yield pattern.replace("*", "istio-lab")


def _is_plain(pattern: str) -> bool:
    """Whether a path fits a pattern once its star is replaced."""
    return pattern.startswith("/") and "{" not in pattern


def _of_service(
    service: Service, paths: Sequence[str], rules: Sequence[View], seen: Seen, reached: Collection[str]
) -> Iterator[Check | Gap]:
    """The checks of one service.

    :param rules: that may be for it
    """
    name = service.host.partition(".")[0]
    ports = sorted(port for port, spoken in service.ports.items() if spoken in (HTTP, SNIFFED))
    if not ports or service.alias:
        return
    if service.selector.get("app") != name:
        yield Gap(
            f"Service {name}: spec.selector", "who may call it is read for pods whose label app is the name of the Service"
        )
        return
    guests = _guests(rules, seen)
    inside = [_check(service, ports[0], path, client, seen) for client in (INSIDE, *guests) for path in paths]
    if any(rule["kind"] == "RequestAuthentication" for rule in rules):
        inside.append(_check(service, ports[0], "/", FORGER, seen))
    outside = _check(service, ports[0], "/", OUTSIDE, seen)
    answers = any(isinstance(one, Check) for one in inside) or any(
        one.startswith(f"{name}.{service.namespace}:") for one in reached
    )
    if isinstance(outside, Check) and REFUSED in outside.fate.shares and not answers:
        # A service that is down refuses everybody.
        outside = Gap(outside.name, "no other request is planned that shows that the service answers at all")
    yield from (*inside, outside)


def _check(service: Service, port: int, path: str, client: Client, seen: Seen) -> Check | Gap:
    """One client and one path; whom policies let in, the reader of rules says."""
    name = service.host.partition(".")[0]
    where = f"Service {name}: GET {path} by {client.words}"
    headers = {"user-agent": AGENT, **client.headers}
    call = Call(f"{service.host}:{port}", port, client.caller, path, headers=headers, varied=MARKED)
    request = {
        "namespace": service.namespace, "app": name, "port": port, "method": call.method, "uri": path,
        "authority": call.host, "principal": client.principal, "caller": client.caller.labels,
        "caller_namespace": client.caller.namespace, "headers": call.headers, "varied": MARKED, "claims": client.claims,
        "sound": False,
    }  # fmt: skip
    shares, unknown, broken = work_out_shares(seen.objects, {where: request}, _decided, service.namespace)
    if where in broken:
        return Gap(where, broken[where], Outcome.FAIL)
    if where in unknown:
        return Gap(where, f"not modelled: {', '.join(unknown[where])}")
    outcomes = {OUTCOMES.get(outcome, ""): share for outcome, share in shares[where].items()}
    return (
        Gap(where, f"expected {', '.join(shares[where])}")
        if "" in outcomes
        else Check(where, (call,), Fate(outcomes), guard=True)
    )


def _decided(objects: Objects, request: Mapping[str, Any]) -> Shares:
    """What becomes of a call: a proxy that takes the connection looks at the token before it asks what the caller may."""
    found = checked(applying(objects, "RequestAuthentication", called_workload(objects, request)), request)
    shares = permitted(objects, {**request, "claims": found.claims})
    rejected = f"HTTP {found.status}"
    return {rejected: 1.0} if rejected != ANSWERED and shares.keys() <= {ANSWERED, "HTTP 403"} else shares
