"""Host names as rules write them: short, long, or with a wildcard in front (``*.lab.internal``)."""

from __future__ import annotations

from collections.abc import Iterable


def long_name(host: str, namespace: str, domain: str) -> str:
    """A host as istiod completes it: a name without dots is a Service of the rule's own namespace."""
    if host == "*" or "." in host or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{domain}"


def is_wildcard(host: str) -> bool:
    """Whether a host stands for several names."""
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """Whether every name that ``host`` stands for is one of ``pattern``; either may have a wildcard."""
    if not is_wildcard(pattern):
        return host == pattern
    if is_wildcard(host):
        return len(host) >= len(pattern) and host[1:].endswith(pattern[1:])
    return host.endswith(pattern[1:])


def overlap(one: str, other: str) -> bool:
    """Whether two hosts have names in common; either may have a wildcard."""
    return covers(one, other) or covers(other, one)


def most_specific(patterns: Iterable[str], host: str) -> str | None:
    """The pattern that istiod takes for a host, which may have a wildcard itself: the host, or the longest wildcard."""
    known = set(patterns)
    if host in known:
        return host
    name = host[1:] if is_wildcard(host) else host
    fitting = [p for p in known if is_wildcard(p) and name.endswith(p[1:])]
    return min(fitting, key=lambda p: (-len(p), p), default=None)


def chosen_domain(domains: Iterable[str], host: str) -> str | None:
    """The domain of virtual hosts that Envoy takes for an authority: itself, then the longest wildcard, then ``*``."""
    known, name = set(domains), host.lower()
    if name in known:
        return name
    fitting = [d for d in known if is_wildcard(d) and len(name) >= len(d) and name.endswith(d[1:])]
    return max(fitting, key=len, default="*" if "*" in known else None)


def names_of(service: str, namespace: str, domain: str) -> tuple[str, ...]:
    """Every name by which clients of ``namespace`` may call the service of that long name, which comes first."""
    found, suffix = [service, f"{service}."], f".svc.{domain}"
    own = service.removesuffix(suffix)
    if own != service and own.count(".") == 1:
        found += [own, f"{own}.svc"]
        if own.endswith(f".{namespace}"):
            found.append(own.removesuffix(f".{namespace}"))
    return tuple(found)
