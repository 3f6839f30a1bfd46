"""Action ``lab_namespace``: a namespace of the lab's, made with its label; one that somebody else has made is refused.

In Ansible's own process, as ``lab_files``: a module would start an interpreter for each namespace.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PART_OF = {"app.kubernetes.io/part-of": "istio-lab"}


def lacking(name: str, found: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that a namespace of the lab's does not have yet.

    :param found: the namespace; empty where there is none
    :raises ValueError: if it is somebody else's, naming the way out
    """
    there = found.get("metadata", {}).get("labels", {})
    if found and not PART_OF.items() <= there.items():
        label = "=".join(*PART_OF.items())
        raise ValueError(
            f"namespace {name}: it exists in this cluster without the lab's label {label}, so it is somebody else's; accepted: "
            f"no such namespace, or one given to the lab with `kubectl label namespace {name} {label}`; it was left as it is"
        )
    return {key: value for key, value in (PART_OF | dict(labels)).items() if there.get(key) != value}


class ActionModule(ActionBase):
    """Runs on the controller. Arguments: ``name``, ``kubeconfig``, and further ``labels``."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"name", "kubeconfig", "labels"})

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """:raises AnsibleActionFail: if the namespace is somebody else's, or in kubectl's own words"""
        result = super().run(tmp, task_vars)
        name, labels = self._task.args["name"], self._task.args.get("labels", {})
        found = json.loads(self._kubectl("get", "namespace", name, "--ignore-not-found", "--output=json") or "{}")
        try:
            wanted = lacking(name, found, labels)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        if wanted and not self._task.check_mode:
            if found:
                self._kubectl("label", "namespace", name, "--overwrite", *(f"{key}={value}" for key, value in wanted.items()))
            else:
                # Not `apply`, which would take one that somebody makes at this moment.
                made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": wanted}}
                self._kubectl("create", "--save-config", "--filename=-", stdin=json.dumps(made))
        return {**result, "changed": bool(wanted)}

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)  # the play's: kubectl is on its PATH
        command = ["env", *(f"{key}={value}" for key, value in environment.items()), "kubectl"]
        command += [f"--kubeconfig={self._task.args['kubeconfig']}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AnsibleActionFail(
                f"kubectl {arguments[0]} namespace: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
            )
        return done.stdout
