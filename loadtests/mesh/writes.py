"""Writes rules: all of a list of changes, or none, and nothing that has changed since it was read.

Entries, their controls and the console's settings are all written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.ending import unbroken
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of, words_of

Key = tuple[str, str]
KINDS = {
    "virtualservices.networking.istio.io": "networking.istio.io/v1/VirtualService",
    "destinationrules.networking.istio.io": "networking.istio.io/v1/DestinationRule",
    "gateways.networking.istio.io": "networking.istio.io/v1/Gateway",
    "serviceentries.networking.istio.io": "networking.istio.io/v1/ServiceEntry",
    "sidecars.networking.istio.io": "networking.istio.io/v1/Sidecar",
    "envoyfilters.networking.istio.io": "networking.istio.io/v1alpha3/EnvoyFilter",
    "peerauthentications.security.istio.io": "security.istio.io/v1/PeerAuthentication",
    "authorizationpolicies.security.istio.io": "security.istio.io/v1/AuthorizationPolicy",
    "requestauthentications.security.istio.io": "security.istio.io/v1/RequestAuthentication",
    "telemetries.telemetry.istio.io": "telemetry.istio.io/v1/Telemetry",
    "gateways.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/Gateway",
    "httproutes.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/HTTPRoute",
    "grpcroutes.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/GRPCRoute",
    "listenersets.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/ListenerSet",
    "tlsroutes.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/TLSRoute",
    "tcproutes.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/TCPRoute",
    "ingresses.networking.k8s.io": "networking.k8s.io/v1/Ingress",
}
"""Kinds that rules may have: as kubectl lists them, and their API version."""
MANAGER = "istio-lab"
"""Field manager of what is written."""
MOST_STATUSES = 5
"""How often the status of an object may change before a write of it is given up."""
ORDER = ("ServiceEntry", "DestinationRule")
"""Kinds that others lean on: they come first and go last."""


class ConflictError(ClusterError):
    """An object has changed since it was read, so it was not overwritten; the message says which rules apply."""


_state = ["nothing was changed"]


def state() -> str:
    """What this process has written so far, in words."""
    return _state[0]


@dataclass(frozen=True)
class Change:
    """One object, before and after; None where it does not exist."""

    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def object(self) -> Mapping[str, Any]:
        """Either of the two: they have the same kind and name."""
        return self.after or self.before or {}

    @property
    def name(self) -> str:
        """Kind and name, in words."""
        return " ".join(key(self.object))

    def back(self) -> Change:
        """The change that undoes this one."""
        return Change(self.after, self.before)


def key(rule: Mapping[str, Any]) -> Key:
    """What tells the rules of one namespace apart: kind and name."""
    return str(rule["kind"]), str(rule["metadata"]["name"])


def ordered(changes: Sequence[Change]) -> list[Change]:
    """What others lean on comes first, and goes last."""

    def place(change: Change) -> int:
        kind = change.object["kind"]
        found = ORDER.index(kind) if kind in ORDER else len(ORDER)
        return found if change.after else 2 * len(ORDER) - found + 1

    return sorted(changes, key=place)


def try_out(writer: Cluster, changes: Sequence[Change], live: Sequence[Mapping[str, Any]]) -> None:
    """Have the API server check changes, Istio's webhook included, without keeping them.

    :param live: the objects as they were read
    :raises RefusedByServerError: if it refuses one
    :raises ConflictError: if an object has changed since it was read
    :raises ClusterError: if it does not answer
    """
    metadata = {key(rule): rule["metadata"] for rule in live}
    for change in changes:
        _write(writer, change, metadata.get(key(change.object), {}), dry_run=True)


def apply(writer: Cluster, changes: Sequence[Change], live: Sequence[Mapping[str, Any]]) -> list[str]:
    """Make the changes, in their order: all of them, or none.

    :param live: the objects as they were read when the changes were planned
    :return: what was changed, in words
    :raises ConflictError: if an object has changed since
    :raises ClusterError: if the cluster does not answer, or refuses; the message says which rules apply now
    """
    metadata = {key(rule): dict(rule["metadata"]) for rule in live}
    done: list[tuple[Change, dict[str, Any]]] = []
    changed = []
    with unbroken():
        _state[0] = "some of both the earlier and the new rules may apply"
        for change in changes:
            known = metadata.pop(key(change.object), {})
            try:
                now = _write(writer, change, known)
            except BaseException as error:  # any: what was written so far must not stay
                left = _restore(writer, done, change, known, error)
                _state[0] = left or ("the earlier rules apply again" if done else "nothing was changed")
                if not isinstance(error, ClusterError):
                    error.add_note(state())
                    raise
                again = ConflictError if isinstance(error, ConflictError) else ClusterError
                raise again(f"{error}; {state()}") from error
            if now.get("resourceVersion", "") != known.get("resourceVersion"):
                done.append((change, now))
                word = "deleted" if change.after is None else "configured" if change.before else "created"
                changed.append(f"{key(change.object)[0].lower()}/{key(change.object)[1]} {word}")
        _state[0] = "the new rules apply" if changed else "nothing was changed"
    return changed


def _restore(
    writer: Cluster, done: list[tuple[Change, dict[str, Any]]], last: Change, known: Mapping[str, Any], error: BaseException
) -> str:
    """Undo what was done; in words, what could not be undone, or nothing.

    :param last: the change that failed; unless it was refused, it may have been made all the same
    :param known: metadata of its object before
    """
    left = []
    if not isinstance(error, (RefusedByServerError, ConflictError)):
        try:
            now = _look(writer, last.object)
            made = now is None if last.after is None else now is not None and _holds(now, last.after)
            version = (now or {}).get("metadata", {}).get("resourceVersion", "")
            if made and version != known.get("resourceVersion", ""):
                done.append((last, (now or {}).get("metadata", {})))
        except ClusterError as why:
            left.append(f"whether {last.name} was written is not known ({why})")
    for change, now_known in reversed(done):
        try:
            _write(writer, change.back(), now_known)
        except ClusterError as why:
            state = "remains" if change.before is None else "is missing" if change.after is None else "is the new one"
            left.append(f"{change.name} {state} ({why})")
    return f"the earlier rules could not be restored: {'; '.join(left)}" if left else ""


def _path(writer: Cluster, rule: Mapping[str, Any]) -> str:
    api = f"{rule.get('apiVersion')}/{rule['kind']}"
    found = next((name for name, known in KINDS.items() if known == api), None)
    if found is None:
        raise RefusedByServerError(f"{api} was given; accepted: {', '.join(KINDS.values())}", 400)
    return path_of(found, writer.namespace)


def _look(writer: Cluster, rule: Mapping[str, Any]) -> dict[str, Any] | None:
    """An object as it is now; None if it does not exist."""
    try:
        return writer.ask(f"{_path(writer, rule)}/{rule['metadata']['name']}")
    except RefusedByServerError as error:
        if error.code == 404:
            return None
        raise


def _holds(now: Any, wanted: Any) -> bool:
    """Whether an object says what was written; the API server may have added defaults, and its own metadata."""
    if isinstance(wanted, Mapping):
        return isinstance(now, Mapping) and all(
            _holds(now.get(k), v) for k, v in wanted.items() if k not in ("annotations", "resourceVersion")
        )
    if isinstance(wanted, list):
        return isinstance(now, list) and len(now) == len(wanted) and all(map(_holds, now, wanted))
    return bool(now == wanted)


def _write(writer: Cluster, change: Change, known: Mapping[str, Any], dry_run: bool = False) -> dict[str, Any]:
    """Make one change.

    :param known: the object's metadata as it was read; one that somebody has changed since is not overwritten
    :return: its metadata now; empty if it is gone
    """
    for _ in range(MOST_STATUSES):
        try:
            return _write_once(writer, change, known, dry_run)
        except ConflictError:
            now = _look(writer, change.object)
            if now is None or not _has_only_another_status(now["metadata"], known):
                raise
            known = now["metadata"]
    return _write_once(writer, change, known, dry_run)


def _has_only_another_status(now: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether an object is as it was read but for its status, which istiod writes when what a route is attached to changes.

    :param now: metadata; the generation changes with all that is neither status nor metadata
    """
    parts = ("uid", "generation", "labels", "annotations", "finalizers", "ownerReferences")
    return "generation" in known and all(now.get(part) == known.get(part) for part in parts)


def _write_once(writer: Cluster, change: Change, known: Mapping[str, Any], dry_run: bool) -> dict[str, Any]:
    o, path = change.object, _path(writer, change.object)
    # A field that the API does not know is refused, as by kubectl; by itself, the server would drop it.
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
    try:
        if change.after is None:
            version = {"preconditions": {"resourceVersion": known.get("resourceVersion", "")}}
            # In the body: beside one, the API server does not read options of the query, and a dry run would delete.
            trial = {"dryRun": ["All"]} if dry_run else {}
            writer.write(
                "DELETE", f"{path}/{o['metadata']['name']}", {"apiVersion": "v1", "kind": "DeleteOptions", **version, **trial}
            )
            return {}
        if change.before is None:
            return dict(writer.write("POST", path, change.after, **query)["metadata"])
        kept = {part: known[part] for part in ("resourceVersion", "finalizers", "ownerReferences") if part in known}
        body = {**change.after, "metadata": {**change.after["metadata"], **kept}}
        return dict(writer.write("PUT", f"{path}/{o['metadata']['name']}", body, **query)["metadata"])
    except RefusedByServerError as error:
        if error.code == 409 or (error.code == 404 and change.before is not None):
            raise ConflictError(f"{change.name}: changed in the cluster since it was read") from error
        raise RefusedByServerError(f"{change.name}: {words_of(error)}", error.code) from error
