"""What is expected of virtual machines, members of the mesh by a WorkloadGroup: who they are, and when they get calls."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.rules.authorization import OK, TRUST_DOMAIN
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares, namespace_of, views_of
from loadtests.rules.responses import Request, named
from loadtests.rules.security import permitted, shown
from loadtests.rules.view import View

ANSWERED: Shares = {f"HTTP {OK}": 1.0}
RESTORED = "removed, then restored"


def _group(objects: Sequence[View], request: Request) -> View:
    """The spec of the machine's WorkloadGroup, of which account and probe are still to be read.

    :raises NoExpectationError: if there is none, or the machine's service does not select its members
    """
    group, name, namespace = named(objects, "WorkloadGroup", request["group"]), request["machine"], request["namespace"]
    services = [o for o in views_of(objects, "Service") if (o["metadata"]["name"], namespace_of(o)) == (name, namespace)]
    selector = dict(services[0]["spec"].get("selector") or {}) if services else {}
    labels, template = dict((group.get("metadata") or {}).get("labels") or {}), group["template"]
    if not selector or not selector.items() <= labels.items():
        raise NoExpectationError(f"no Service {name} selects the members of WorkloadGroup {request['group']}")
    # Without an account nobody sends it mutual TLS, and labels of Istio's own may say so as well.
    if not template.get("serviceAccount") or any("istio.io/" in label for label in labels):
        raise NotModelledError(f"WorkloadGroup {request['group']}: {template.path_of('serviceAccount')} and labels")
    template.accept("ports")  # a port of the Service is one of the program's
    return group


def _allowed(objects: Sequence[View], request: Request, group: View) -> tuple[Shares, str]:
    """What becomes of the call, and the service account of its caller; '' without a proxy."""
    caller, account = request["caller"]["app"], ""
    if caller == request["machine"]:
        account = group["template"]["serviceAccount"]
    elif request["sidecar"]:
        account = named(objects, "Deployment", caller)["template"]["spec"].get("serviceAccountName", "default")
    principal = f"{TRUST_DOMAIN}/ns/{request['namespace']}/sa/{account}" if account else ""
    return permitted(objects, {**request, "principal": principal}), account


def joined(objects: Sequence[View], request: Request) -> Shares:
    """The SPIFFE name under which a call from or to a virtual machine arrives; without one its status, or no answer.

    :param request: ``machine``: label ``app`` of the machine, and name of its Service; ``group``: its WorkloadGroup; and as for
        :func:`permitted`, but for the principal: ``caller`` has the ``app`` of the machine, or the name of a Deployment
    """
    group = _group(objects, request)
    group.accept("probe")  # the machine is well
    allowed, account = _allowed(objects, request, group)
    return shown(objects, request, account) if account and allowed == ANSWERED else allowed


def restored(objects: Sequence[View], request: Request) -> Shares:
    """Whether a virtual machine gets no calls while it fails its health check, and gets them again later.

    :param request: as for :func:`joined`; ``health``: path and port of the check; ``within``: seconds after which the check
        must have had its effect
    :raises NoExpectationError: if there is no check, or the machine gets no calls anyway
    :raises NotModelledError: if it is another check, or one that takes longer
    """
    group = _group(objects, request)
    allowed, _ = _allowed(objects, request, group)
    if allowed != ANSWERED:
        raise NoExpectationError(f"calls to {request['machine']} are refused while it is well")
    if "probe" not in group:
        raise NoExpectationError(f"WorkloadGroup {request['group']} has no probe, so that a machine is called while it is ill")
    probe: View = group["probe"]
    asked = probe.get("httpGet", View({}))
    if (asked.get("path", "/"), asked.get("port")) != request["health"] or asked.get("scheme", "HTTP") != "HTTP":
        raise NotModelledError(f"WorkloadGroup {request['group']}: {probe.path_of('httpGet')}")
    times = max(probe.get("failureThreshold") or 1, probe.get("successThreshold") or 1)
    if (probe.get("periodSeconds") or 10) * times + (probe.get("timeoutSeconds") or 1) > request["within"]:
        raise NotModelledError(f"WorkloadGroup {request['group']}: {probe.path_of('periodSeconds')}")
    probe.accept("initialDelaySeconds")
    return {RESTORED: 1.0}
