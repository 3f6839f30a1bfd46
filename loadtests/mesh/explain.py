"""Explains a pod's sidecar, from the pod itself: ``python -m loadtests.mesh.explain NAMESPACE/POD``.

What injected it, what certificate it shows, what runs in it, what it listens on, and the way of a request through its
iptables chains, known from the packet counters before and after one. It looks by means of an ephemeral container in the pod,
so it works on any cluster.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from loadtests import ending
from loadtests.mesh.cluster import Cluster, ClusterError

LOOKER = "istio-lab-explain"
START_SECONDS = 30
PORTS = {
    15000: "Envoy's admin interface (this pod only)", 15001: "outbound: whatever the application sends",
    15004: "debug interface", 15006: "inbound: whatever comes for the application", 15020: "merged metrics and health",
    15021: "readiness", 15053: "DNS proxy", 15090: "Envoy's statistics for Prometheus",
}  # fmt: skip
MEANINGS = (
    (r"-A PREROUTING .*-j ISTIO_INBOUND", "every packet that comes in is looked at by ISTIO_INBOUND"),
    (r"-A ISTIO_INBOUND .*--dport (\d+) -j RETURN", "port {0} goes straight to whoever listens there"),
    (r"-A ISTIO_INBOUND .*-j ISTIO_IN_REDIRECT", "all else that comes in is led to the proxy"),
    (r"-A ISTIO_IN_REDIRECT .*--to-ports (\d+)", "the proxy's inbound port: {0}"),
    (r"-A OUTPUT .*-j ISTIO_OUTPUT", "every packet that goes out is looked at by ISTIO_OUTPUT"),
    (r"-A ISTIO_OUTPUT -s 127\.0\.0\.6/32", "what the proxy hands to the application goes straight"),
    (r"-A ISTIO_OUTPUT .*! --(?:uid|gid)-owner 1337 -j RETURN", "what the application sends to its own pod goes straight"),
    (r"-A ISTIO_OUTPUT .*--(?:uid|gid)-owner 1337 -j RETURN", "what the proxy itself (user 1337) sends goes straight"),
    (r"-A ISTIO_OUTPUT .*--(?:uid|gid)-owner 1337 -j ISTIO_IN_REDIRECT", "the proxy calling its own pod comes in like anybody"),
    (r"-A ISTIO_OUTPUT -d 127\.0\.0\.1/32 -j RETURN", "calls within the pod go straight"),
    (r"-A ISTIO_OUTPUT -j ISTIO_REDIRECT", "all else that goes out is led to the proxy"),
    (r"-A ISTIO_REDIRECT .*--to-ports (\d+)", "the proxy's outbound port: {0}"),
)


@dataclass(frozen=True)
class Rule:
    """One rule of the nat table, with the packets that it has taken."""

    text: str
    packets: int

    @property
    def meaning(self) -> str:
        """What it is for, in words; '' where that is not known."""
        for pattern, words in MEANINGS:
            if found := re.search(pattern, self.text):
                return words.format(*found.groups())
        return ""


def rules_of(saved: str) -> list[Rule]:
    """The rules in what ``iptables-save --counters`` printed, in its order."""
    return [Rule(m[2], int(m[1])) for m in re.finditer(r"^\[(\d+):\d+\] (-A .*)$", saved, re.MULTILINE)]


def taken(before: Sequence[Rule], after: Sequence[Rule]) -> list[str]:
    """Rules that took packets in between, with how many, and what they are for."""
    return [
        f"{b.packets - a.packets:>3} packets  {b.text}" + (f"\n             = {b.meaning}" if b.meaning else "")
        for a, b in zip(before, after, strict=True)
        if b.packets > a.packets
    ]


def listening(proc_net_tcp: str) -> list[int]:
    """Ports in state LISTEN, from /proc/net/tcp and tcp6."""
    rows = (line.split() for line in proc_net_tcp.splitlines())
    return sorted({int(r[1].rsplit(":", 1)[1], 16) for r in rows if len(r) > 3 and r[3] == "0A"})


def containers_of(pod: Mapping[str, Any]) -> list[str]:
    """Containers in the order of their start, with what each is."""
    lines = []
    for container in pod["spec"].get("initContainers", []):
        native = container.get("restartPolicy") == "Always"
        kind = "native sidecar: starts before the application, ends after it" if native else "init container: runs once, first"
        lines.append(f"{container['name']}: {kind}; {container['image']}")
    return lines + [f"{c['name']}: application; {c['image']}" for c in pod["spec"]["containers"]]


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes ``labels``."""

    def one(expression: Mapping[str, Any]) -> bool:
        value, values = labels.get(expression["key"]), expression.get("values", [])
        return {
            "In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None,
        }[expression["operator"]]  # fmt: skip

    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(one(e) for e in selector.get("matchExpressions", []))


def webhooks_of(configurations: Sequence[Mapping[str, Any]], namespace: Mapping[str, str], pod: Mapping[str, str]) -> list[str]:
    """The injector's webhooks that take the pod: when they are called, by whom they are vouched for, and what if they fail."""
    lines = []
    for hook in (h for c in configurations for h in c["webhooks"]):
        if not hook["name"].endswith("sidecar-injector.istio.io") or not (
            selected(hook.get("namespaceSelector", {}), namespace) and selected(hook.get("objectSelector", {}), pod)
        ):
            continue
        on = ", ".join(f"{'/'.join(r['operations'])} of {'/'.join(r['resources'])}" for r in hook["rules"])
        bundle = base64.b64decode(hook["clientConfig"].get("caBundle", ""))
        authority = x509.load_pem_x509_certificate(bundle) if bundle else None
        vouched = (
            f"{authority.subject.rfc4514_string()}, good until {authority.not_valid_after_utc:%Y-%m-%d}"
            if authority
            else "nobody"
        )
        lines.append(f"{hook['name']}: on {on}; when it does not answer: {hook['failurePolicy']}; its authority: {vouched}")
    return lines or ["none takes this pod as it is labelled now: it was injected by hand, or not at all"]


def certificates_of(dump: Mapping[str, Any]) -> list[str]:
    """The proxy's certificate with all that vouch for it, the workload's own first.

    :param dump: ``config_dump?resource=dynamic_active_secrets``; keys are not in it
    """
    secrets = {s["name"]: s.get("secret", {}) for s in dump.get("configs", [])}
    chain = secrets.get("default", {}).get("tls_certificate", {}).get("certificate_chain", {}).get("inline_bytes", "")
    root = secrets.get("ROOTCA", {}).get("validation_context", {}).get("trusted_ca", {}).get("inline_bytes", "")
    lines = []
    for role, encoded in (("shown to others", chain), ("trusted", root)):
        for certificate in x509.load_pem_x509_certificates(base64.b64decode(encoded)) if encoded else []:
            names = _uris(certificate) or [certificate.subject.rfc4514_string()]
            until = f"good until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            lines.append(f"{role}: {', '.join(names)}; signed by {certificate.issuer.rfc4514_string()}; {until}")
    return lines


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


class UnfitPodError(ClusterError):
    """There is no such pod, or it has no sidecar; the message says what is accepted."""


class Pod:
    """One injected pod."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        """Read the pod.

        :raises ClusterError: if it is not there, or has no sidecar
        """
        self.cluster = cluster
        self.spec = json.loads(cluster.kubectl("get", "pod", name, "--output", "json"))
        self.name = name
        sidecars = self.spec["spec"].get("initContainers", []) + self.spec["spec"]["containers"]
        self.image = next((c["image"] for c in sidecars if c["name"] == "istio-proxy"), "")
        if not self.image:
            raise UnfitPodError(f"pod {name} has no sidecar; accepted: an injected pod")

    def look(self, *command: str) -> str:
        """Output of a command in the pod's network, as a user that iptables does not exempt."""
        return self.cluster.kubectl("exec", self.name, "--container", LOOKER, "--", *command)

    def attach(self) -> None:
        """Put the container for looking into the pod, unless it is there; its image is the sidecar's, so it is on the node."""
        if not any(c["name"] == LOOKER for c in self.spec["spec"].get("ephemeralContainers", [])):
            container = {
                "name": LOOKER, "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
                "securityContext": {"runAsUser": 0, "runAsNonRoot": False, "capabilities": {"add": ["NET_ADMIN"]}},
            }  # fmt: skip
            patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
            self.cluster.kubectl("patch", "pod", self.name, "--subresource=ephemeralcontainers", "--patch", patch)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.look("true")
            except ClusterError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
            else:
                return

    def rules(self) -> list[Rule]:
        """The nat table now."""
        return rules_of(self.look("iptables-save", "--counters", "--table", "nat"))


def first_pod(cluster: Cluster, name: str) -> str:
    """``name`` itself, or the first running pod of the Deployment that is called so.

    :raises UnfitPodError: if it is neither
    """
    pods = {p["metadata"]["name"]: p for p in cluster.items("pods") if p["status"].get("phase") == "Running"}
    found = [pod for pod in sorted(pods) if pod == name or re.fullmatch(rf"{re.escape(name)}-[a-z0-9]+-[a-z0-9]+", pod)]
    if not found:
        raise UnfitPodError(f"{name!r} was given; accepted: one of {', '.join(sorted(pods)) or 'none, no pod runs there'}")
    return str(found[0])


def report(cluster: Cluster, name: str) -> list[str]:
    """The whole report, line by line.

    :raises ClusterError: if there is no such pod, or it has no sidecar
    """
    pod = Pod(cluster, name)
    pod.attach()
    namespace = json.loads(cluster.kubectl("get", "namespace", cluster.namespace, "--output", "json"))
    hooks = webhooks_of(
        json.loads(cluster.kubectl("get", "mutatingwebhookconfigurations", "--output", "json"))["items"],
        namespace["metadata"].get("labels", {}),
        pod.spec["metadata"].get("labels", {}),
    )
    arguments = cluster.kubectl(
        "exec",
        name,
        "--container",
        "istio-proxy",
        "--",
        "sh",
        "-c",
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done",
    )
    processes = [line[:110] for line in arguments.splitlines() if re.match(r"\S*(pilot-agent|envoy) ", line)]
    ports = listening(pod.look("cat", "/proc/net/tcp", "/proc/net/tcp6"))
    own = [
        str(p["containerPort"])
        for c in pod.spec["spec"]["containers"]
        for p in c.get("ports", [])
        if c["name"] != "istio-proxy"
    ]

    idle = pod.rules()
    if own:
        # An answer of any kind, and a refusal by policy as well, has come this way.
        with contextlib.suppress(ClusterError):
            cluster.kubectl("get", "--raw", f"/api/v1/namespaces/{cluster.namespace}/pods/{name}:{own[0]}/proxy/health")
    came_in = pod.rules()
    pod.look("timeout", "3", "bash", "-c", "exec 3<>/dev/tcp/kubernetes.default.svc/443")
    went_out = pod.rules()

    def section(title: str, lines: Sequence[str]) -> list[str]:
        return [title, *(f"  {line}" for line in lines or ["nothing"]), ""]

    return [
        *section(f"{cluster.namespace}/{name}: containers, in the order of their start", containers_of(pod.spec)),
        *section("Webhooks that inject such a pod", hooks),
        *section("Certificates of the mesh", certificates_of(cluster.proxy_dump(name, resource="dynamic_active_secrets"))),
        *section("Processes of the sidecar", processes),
        *section("Ports that are listened on", [f"{p}: {PORTS.get(p, 'the application')}" for p in ports]),
        *section(
            "Chains (nat), as iptables has them", [f"{r.text}" + (f"   # {r.meaning}" if r.meaning else "") for r in idle]
        ),
        *section(f"A request from outside to port {own[0] if own else '?'} took these rules", taken(idle, came_in)),
        *section("A connection from the pod to kubernetes.default took these rules", taken(came_in, went_out)),
    ]


def main() -> int:
    """0 with the report on standard output; 1 for a pod that does not exist, else 2, with the reason in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pod", help="[NAMESPACE/]NAME of a pod; a Deployment's name stands for its first pod")
    parser.add_argument("--kubeconfig", required=True)
    options = parser.parse_args()
    namespace, _, name = options.pod.rpartition("/")
    cluster = Cluster(options.kubeconfig, namespace or "bookinfo")
    try:
        print("\n".join(report(cluster, first_pod(cluster, name))))
    except UnfitPodError as error:
        print(f"POD: {error}; set it with make explain POD=NAMESPACE/NAME", file=sys.stderr)
        return 1
    except ClusterError as error:
        print(f"POD: {options.pod}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
