"""Whether AuthorizationPolicies allow a request, as istiod translates them for Envoy's RBAC filter."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from loadtests.rules.expectations import NotModelledError, namespace_of
from loadtests.rules.view import View, one_holds, title
from loadtests.rules.workloads import spec_of

Request = Mapping[str, Any]
Holds = Callable[[str, str], bool]

TRUST_DOMAIN = "cluster.local"
DRY_RUN = "istio.io/dry-run"
"""Annotation of a policy that is only logged."""
TRUE = ("1", "t", "T", "TRUE", "true", "True")
"""What that annotation may say for it."""
OK, DENIED = 200, 403
OUTSIDE = "outside"
"""``client`` of a request that comes from somewhere else and enters by the ingress gateway."""
NOBODYS = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
"""Networks for documentation (RFC 5737, RFC 3849): whatever a client claims, its address is none of theirs."""
SEGMENT = r"[\w.~%!$&'()+,;:@=-]"
"""What ``{*}`` and ``{**}`` stand for; the latter for slashes as well."""


def pattern_holds(pattern: str, value: str) -> bool:
    """One value of an AuthorizationPolicy: exact, ``prefix*``, ``*suffix`` or ``*``, which asks for any value but none."""
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern


def path_holds(pattern: str, path: str) -> bool:
    """One path of an AuthorizationPolicy; in a template ``{*}`` is one segment and ``{**}`` any number of them."""
    if "{*}" not in pattern and "{**}" not in pattern:
        return pattern_holds(pattern, path)
    parts = {"{*}": f"{SEGMENT}+", "{**}": f"(?:{SEGMENT}|/)*"}
    template = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\{\*\*?\})", pattern))
    return re.fullmatch(template, path, re.ASCII) is not None


def host_holds(pattern: str, host: str) -> bool:
    """One host: without regard to case, and with the port if the client names one."""
    return pattern_holds(pattern.lower(), host.lower())


def principal_holds(pattern: str, principal: str) -> bool:
    """One principal; '' is a caller without a certificate.

    :raises NotModelledError: if it depends on aliases of the trust domain, which are a setting of the mesh
    """
    domain, _, rest = pattern.partition("/")
    if domain not in ("", TRUST_DOMAIN) and "*" not in domain and rest:
        if pattern_holds(f"{TRUST_DOMAIN}/{rest}", principal):
            raise NotModelledError("meshConfig.trustDomainAliases")
        return False
    return bool(principal) and pattern_holds(pattern, principal)


def namespace_holds(pattern: str, principal: str) -> bool:
    """One namespace of callers, by their certificate."""
    name = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(f".*/ns/{name}/.*", f"spiffe://{principal}") is not None and bool(principal)


def trust_domain_holds(pattern: str, principal: str) -> bool:
    """One trust domain of callers, by their certificate."""
    domain = principal.partition("/")[0]
    if "*" not in pattern and pattern != TRUST_DOMAIN and principal:
        raise NotModelledError("meshConfig.trustDomainAliases")
    return pattern_holds(pattern, domain) and bool(principal)


def account_holds(namespace: str) -> Holds:
    """One service account of callers, ``name`` or ``namespace/name``, by their certificate.

    :param namespace: of the policy
    """

    def holds(pattern: str, principal: str) -> bool:
        of, name = pattern.split("/", 1) if "/" in pattern else (namespace, pattern)
        wanted = f"spiffe://.+/ns/{re.escape(of)}/(.+/|)sa/{re.escape(name)}(/.+)?"
        return re.fullmatch(wanted, f"spiffe://{principal}") is not None

    return holds


def request_principal_holds(pattern: str, claims: Mapping[str, Any]) -> bool:
    """One request principal ``issuer/subject`` of a token; the last slash divides them, and ``*`` asks for both."""
    issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
    wanted, slash, of = pattern.rpartition("/")
    if "iss" not in claims or "sub" not in claims:
        return False
    if pattern == "*":
        return bool(issuer and subject)
    if not slash:
        return (
            bool(issuer) and subject.endswith(pattern[1:]) if pattern.startswith("*")
            else bool(subject) and issuer.startswith(pattern[:-1]) if pattern.endswith("*")
            else issuer == pattern and not subject
        )  # fmt: skip
    if pattern.startswith("*"):
        return pattern_holds(wanted, issuer) and subject == of
    return issuer == wanted and (pattern_holds(of, subject) if pattern.endswith("*") else subject == of)


def _network(block: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(block, strict=False)
    except ValueError as error:
        raise NotModelledError(str(error)) from error


def _is_nobodys(network: IPv4Network | IPv6Network) -> bool:
    return any(network.version == one.version and network.subnet_of(one) for one in NOBODYS)  # type: ignore[arg-type] # one version


def lies_in(block: str, addresses: Collection[str]) -> bool | None:
    """Whether a caller's address is one of a network; None if that is not known.

    :param addresses: those that it may have; none if nobody knows them
    """
    network = _network(block)
    found = {ip_address(address) in network for address in addresses}
    if not found:
        return False if _is_nobodys(network) else None
    return found.pop() if len(found) == 1 else None


def client_lies_in(block: str, client: str | None) -> bool | None:
    """Whether a client outside has an address of a network; None if that is not known.

    The gateway writes the address that it sees behind what the client claims in ``X-Forwarded-For``. Proxies go by the last.
    """
    return False if client == OUTSIDE and _is_nobodys(_network(block)) else None


def _of_networks(source: View, name: str, holds: Callable[[str], bool | None]) -> bool:
    """Whether a list of networks and its negation hold; both stay unread if that is not known of one of them."""
    blocks = [*(source.data.get(name) or ()), *(source.data.get(_negated(name)) or ())]
    known = {block: holds(block) for block in blocks}
    return _listed(source, name, None if None in known.values() else lambda block: bool(known[block]))


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


def _listed(part: View, name: str, holds: Callable[[str], bool] | None) -> bool:
    """Whether a list and its negation (``paths``, ``notPaths``) hold; a list that is not set, or is empty, asks for nothing.

    :param holds: whether one value does; None where the request does not tell: the lists then stay unread
    """
    if holds is None:
        return True
    wanted, unwanted = part.get(name), part.get(_negated(name))
    return (not wanted or any(holds(p) for p in wanted)) and not any(holds(p) for p in unwanted or ())


def _by(value: str | None, holds: Holds = pattern_holds) -> Callable[[str], bool] | None:
    """A test of one value of a list; None where the request does not tell what it is compared with."""
    return None if value is None else lambda pattern: holds(pattern, value)


def _claims(request: Request) -> Mapping[str, Any]:
    """Claims of the token that was accepted; none without one."""
    return request.get("claims") or {}


def _comes(source: View, request: Request, namespace: str) -> bool:
    principal, claims = request["principal"], _claims(request)
    lists = [
        _listed(source, "principals", _by(principal, principal_holds)),
        _listed(source, "namespaces", _by(principal, namespace_holds)),
        _listed(source, "serviceAccounts", _by(principal, account_holds(namespace))),
        _listed(source, "trustDomains", _by(principal, trust_domain_holds)),
        _listed(source, "requestPrincipals", lambda pattern: request_principal_holds(pattern, claims)),
        _of_networks(source, "ipBlocks", lambda block: lies_in(block, request.get("addresses", ()))),
        _of_networks(source, "remoteIpBlocks", lambda block: client_lies_in(block, request.get("client"))),
    ]
    return all(lists)


def _path(request: Request) -> str | None:
    """The path that policies are compared with: without query and fragment."""
    return None if request.get("uri") is None else re.split(r"[?#]", request["uri"], maxsplit=1)[0]


def _does(operation: View, request: Request) -> bool:
    port = request.get("port")
    lists = [
        _listed(operation, "methods", _by(request.get("method"))),
        _listed(operation, "paths", _by(_path(request), path_holds)),
        _listed(operation, "hosts", _by(request.get("authority"), host_holds)),
        _listed(operation, "ports", None if port is None else lambda pattern: pattern == str(port)),
    ]
    return all(lists)


def _claim_holds(names: Sequence[str], request: Request) -> Callable[[str], bool]:
    """A test of one value of a claim, which may be a list, or words with spaces between them for some claims."""
    found: Any = _claims(request)
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str) and len(names) == 1 and names[0] in ("scope", "permission"):
        found = found.split()
    values = [found] if isinstance(found, str) else [v for v in found or () if isinstance(v, str)]
    return lambda pattern: any(pattern_holds(pattern, value) for value in values)


def _condition(key: str, request: Request, namespace: str) -> Callable[[str], bool] | None:
    """A test of one value of an attribute; None for one that the request does not tell."""
    principal, port = request["principal"], request.get("port")
    known: dict[str, Callable[[str], bool] | None] = {
        "source.principal": _by(principal, principal_holds),
        "source.namespace": _by(principal, namespace_holds),
        "source.serviceAccount": _by(principal, account_holds(namespace)),
        "source.trustDomain": _by(principal, trust_domain_holds),
        "request.auth.principal": lambda pattern: request_principal_holds(pattern, _claims(request)),
        "request.auth.audiences": _claim_holds(["aud"], request),
        "request.auth.presenter": _claim_holds(["azp"], request),
        "destination.port": None if port is None else lambda pattern: pattern == str(port),
    }
    names = re.findall(r"\[([^\]]*)\]", key)
    if key.startswith("request.auth.claims["):
        return _claim_holds(names, request)
    if key.startswith("request.headers[") and names:
        headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
        return _by(headers.get(names[0].lower()))
    return known.get(key)


def _when(condition: View, request: Request, namespace: str) -> bool:
    """One ``when``."""
    return _listed(condition, "values", _condition(condition["key"], request, namespace))


def rule_holds(rule: View, request: Request, namespace: str = "") -> bool:
    """Whether one rule of an AuthorizationPolicy takes the call; of one that may, what is not known stays unread.

    :param request: ``principal`` ('' for a caller without a certificate), ``method``, ``uri``, ``claims`` of an accepted token,
        ``authority`` and ``port`` as the called proxy sees them, ``headers`` as far as they are known, ``addresses`` that the
        caller's pod may have, ``client`` in front of the gateway
    :param namespace: of the policy
    """
    sources = [s.get("source") or View({}) for s in rule.get("from") or []]
    operations = [o.get("operation") or View({}) for o in rule.get("to") or []]
    comes = not sources or one_holds(sources, lambda source: _comes(source, request, namespace))
    does = not operations or one_holds(operations, lambda operation: _does(operation, request))
    conditions = [_when(condition, request, namespace) for condition in rule.get("when") or []]
    if comes and does and all(conditions):
        return True
    rule.accept_all()
    return False


def _enforced(policy: View) -> bool:
    """Whether a policy has an effect: it is not for the log only."""
    dry_run = str((policy["metadata"].get("annotations") or {}).get(DRY_RUN, ""))
    if spec_of(policy).get("action", "ALLOW") == "AUDIT" or dry_run in TRUE:
        spec_of(policy).accept_all()
        return False
    return True


def _accept(policies: Iterable[View]) -> None:
    for policy in policies:
        spec_of(policy).accept_all()


def _status_by_authorizer(custom: Sequence[View], request: Request) -> int:
    """The status with which the authorizer of CUSTOM policies answers a request.

    :raises NotModelledError: if the request does not tell, or there are several authorizers
    """
    names = {spec_of(policy).get("provider", {}).get("name", "") for policy in custom}
    known: Mapping[str, int] = request.get("authorizers") or {}
    if len(names) > 1 or not names <= set(known):
        raise NotModelledError(f"{title(custom[0])}: spec.action CUSTOM")
    return known[names.pop()]


def decided(policies: Sequence[View], request: Request) -> int | None:
    """How policies that apply to the called pods decide on a request: the status that it gets, 200 if they allow it.

    A CUSTOM action comes first. A DENY that takes the request outweighs the rest; where there is any ALLOW, one must take it.

    :param request: see :func:`rule_holds`; ``authorizers``: status that each provider of a CUSTOM action answers this request
    :return: None if it depends on what stays unread
    :raises NotModelledError: if a CUSTOM action takes it, or may take it, whose authorizer's answer is not known
    """
    enforced = [p for p in policies if _enforced(p)]
    of: dict[str, list[View]] = {"CUSTOM": [], "DENY": [], "ALLOW": []}
    certain: dict[str, bool] = dict.fromkeys(of, False)
    possible: dict[str, bool] = dict.fromkeys(of, False)
    for policy in enforced:
        spec = spec_of(policy)
        action = str(spec.get("action", "ALLOW"))
        if action not in of:
            raise NotModelledError(f"{title(policy)}: spec.action {action}")
        of[action].append(policy)
        rules = [rule if isinstance(rule, View) else View({}) for rule in spec.get("rules") or []]
        for rule in rules:
            if rule_holds(rule, request, namespace_of(policy, str(request.get("namespace", "")))):
                possible[action] = True
                certain[action] = certain[action] or not rule.unread()
    if possible["CUSTOM"] and not certain["CUSTOM"]:
        raise NotModelledError(f"{title(of['CUSTOM'][0])}: spec.action CUSTOM")
    status = _status_by_authorizer(of["CUSTOM"], request) if possible["CUSTOM"] else OK
    if status != OK:
        _accept(enforced)
        return status
    _accept(of["CUSTOM"])
    refused = bool(of["ALLOW"]) and not possible["ALLOW"]
    if certain["DENY"] or refused:
        _accept(enforced)
        return DENIED
    if certain["ALLOW"]:
        _accept(of["ALLOW"])
    return None if possible["DENY"] or (of["ALLOW"] and not certain["ALLOW"]) else OK
