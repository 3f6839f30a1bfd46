#!/usr/bin/python
"""Ansible module: waits until the workloads of a namespace are rolled out, and says why when they are not."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: wait_workloads
short_description: Waits for the workloads of a namespace, and fails with the cluster's own reason
options:
  namespace: {description: Namespace to look at., type: str, required: true}
  kubeconfig: {description: Kubeconfig of the cluster., type: path, required: true}
  sidecar: {description: Whether every pod must show an istio-proxy container., type: bool, default: false}
  timeout: {description: Seconds to wait., type: int, default: 240}
author: istio-lab developers
"""

EXAMPLES = r"""
- name: Wait for Bookinfo
  wait_workloads:
    namespace: bookinfo
    kubeconfig: /root/.local/state/istio-lab/istio-lab/kubeconfig
    sidecar: true
"""

RETURN = r"""
pods:
  description: Names of the pods, each with its number of ready containers.
  returned: success
  type: dict
"""


def rollout_gaps(workloads: list[dict[str, Any]]) -> list[str]:
    """Deployments, StatefulSets and DaemonSets whose wanted generation is not yet fully available, one line each."""
    gaps = []
    for item in workloads:
        name, status = item["metadata"]["name"], item.get("status", {})
        seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
        if item["kind"] == "DaemonSet":
            want = total = status.get("desiredNumberScheduled", 0)
            have = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
        else:
            want, total = item["spec"].get("replicas", 1), status.get("replicas", 0)
            have = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
        if not seen or have < want or total != want:
            gaps.append(f"{name} {have}/{want}")
    return gaps


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Status of a pod's containers, native sidecars (restartable init containers) included."""
    always = {c["name"] for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"}
    status = pod.get("status", {})
    return [c for c in status.get("initContainerStatuses", []) if c["name"] in always] + status.get("containerStatuses", [])


def pod_reasons(pods: list[dict[str, Any]]) -> list[str]:
    """Why pods are not ready: waiting and termination reasons of containers, conditions of the pod."""
    reasons = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        every = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        for one in every:
            waiting = one.get("state", {}).get("waiting", {})
            last = one.get("lastState", {}).get("terminated", {})
            if waiting.get("reason") and waiting["reason"] not in ("PodInitializing", "ContainerCreating"):
                reasons.append(f"{name}/{one['name']}: {waiting['reason']} {waiting.get('message', '')}".strip())
            elif last and not one.get("ready"):
                reasons.append(f"{name}/{one['name']}: last ended with {last.get('exitCode')} {last.get('reason', '')}".strip())
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                reasons.append(f"{name}: {condition.get('message', condition.get('reason', 'not scheduled'))}")
    return reasons


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "required": True},
            "kubeconfig": {"type": "path", "required": True},
            "sidecar": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 240},
        },
        supports_check_mode=True,
    )
    namespace = module.params["namespace"]

    def get(kind: str, *more: str) -> list[dict[str, Any]]:
        command = ["kubectl", "--kubeconfig", module.params["kubeconfig"], "-n", namespace, "get", kind, "-o", "json", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            module.fail_json(msg=f"{' '.join(command)}: {done.stderr.strip()}")
        return json.loads(done.stdout)["items"]

    until = time.monotonic() + module.params["timeout"]
    # A watch takes nothing from those that are waited for. What it says is only a reason to look: an older generation may
    # be available, and it covers neither StatefulSets, DaemonSets nor sidecars.
    watch = ["wait", "--for=condition=Available", "deployments", "--all", f"--timeout={module.params['timeout']}s"]
    subprocess.run(
        ["kubectl", "--kubeconfig", module.params["kubeconfig"], "-n", namespace, *watch], capture_output=True, check=False
    )
    while True:
        found = get("deployments,statefulsets,daemonsets,pods")
        pods = [item for item in found if item["kind"] == "Pod"]
        workloads = [item for item in found if item["kind"] != "Pod"]
        alive = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
        gaps = rollout_gaps(workloads) or ([] if workloads else ["no Deployment, StatefulSet or DaemonSet exists"])
        bare = [
            p["metadata"]["name"]
            for p in alive
            if module.params["sidecar"] and "istio-proxy" not in {c["name"] for c in containers(p)}
        ]
        if not gaps and not bare:
            ready = {p["metadata"]["name"]: sum(c.get("ready", False) for c in containers(p)) for p in alive}
            module.exit_json(changed=False, pods=ready)
        if time.monotonic() > until:
            warnings = [
                f"{e['involvedObject']['name']}: {e.get('message', '')}" for e in get("events") if e.get("type") != "Normal"
            ]
            why = pod_reasons(alive) + warnings[-3:] + [f"{name}: no istio-proxy container" for name in bare]
            reason = f"{', '.join(gaps)}; {'; '.join(why) or 'no reason given'}"
            module.fail_json(msg=f"namespace {namespace} was not ready in {module.params['timeout']} s: {reason}")
        time.sleep(1)


if __name__ == "__main__":
    main()
