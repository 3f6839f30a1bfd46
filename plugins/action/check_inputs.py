"""Action ``check_inputs``: every variable against the roles' argument specs, before anything is changed."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

# What the playbooks read that is no role's: name -> (pattern of accepted values, how to say it).
SHARED: dict[str, tuple[str, str]] = {
    "image_source": (r"pull|build|auto", "one of: pull, build, auto"),
    "lab_architecture": (r"amd64|arm64|", "one of: amd64, arm64; or empty for this machine's"),
    "lab_entry": (r".+", "a name that make catalogue lists"),
    "lab_variant": (r"policy|control", "one of: policy, control"),
    "lab_engine": (r"podman|docker", "one of: podman, docker"),
    "lab_name": (r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", "1 to 32 lower-case letters, digits and inner hyphens"),
}
# Argument specs know types and choices, but no ranges.
RANGES: dict[str, tuple[int, int]] = {
    "kind_cluster_gateway_port": (0, 65535),
    "kind_cluster_gateway_node_port": (30000, 32767),
    "kind_cluster_gateway_https_node_port": (30000, 32767),
    "kind_cluster_gateway_tcp_node_port": (30000, 32767),
    "kind_cluster_timeout": (10, 3600),
    "istio_gateway_node_port": (30000, 32767),
    "istio_gateway_https_node_port": (30000, 32767),
    "istio_gateway_tcp_node_port": (30000, 32767),
    "istio_timeout": (10, 3600),
    "samples_timeout": (10, 3600),
    "telemetry_sampling": (0, 100),
    "telemetry_timeout": (10, 3600),
    "traffic_policy_timeout": (1, 600),
    "loadtest_users": (1, 500),
    "loadtest_max_requests": (100, 100_000),
    "loadtest_max_seconds": (5, 3600),
}
# Zero is none of the range, and leaves the choice to the cluster.
ZERO_CHOOSES = ("istio_gateway_node_port", "istio_gateway_https_node_port", "istio_gateway_tcp_node_port")
KEEPS_ITS_TYPE = {"str": (str, int, float, bool), "path": (str,), "list": (list, tuple), "dict": (dict,)}


def read_specs(roles: Path) -> dict[str, dict[str, Any]]:
    """Options of all roles' ``main`` entry points: variable name -> its spec, with the role under ``role``."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(roles.glob("*/meta/argument_specs.yml")):
        options = yaml.safe_load(file.read_text())["argument_specs"]["main"].get("options", {})
        found |= {name: {**spec, "role": file.parent.parent.name} for name, spec in options.items()}
    return found


def near(name: str, known: set[str]) -> str:
    """``; did you mean ...`` when a known name is close, else ''."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_names(given: set[str], roles: set[str], known: set[str]) -> list[str]:
    """Names that look like a role's input (by prefix, or close to one) and are nobody's."""
    prefixes = tuple(f"{role}_" for role in roles)
    looks_ours = {n for n in given if n.startswith(prefixes) and n not in known}
    return sorted(looks_ours)


def value_error(name: str, value: Any, spec: dict[str, Any], given: bool = True) -> str | None:
    """What is wrong with one value, or None.

    :param given: whether a person set it for this run (-e)
    """
    kind = spec.get("type", "str")
    accepted = f"one of: {', '.join(map(str, spec['choices']))}" if "choices" in spec else f"type {kind}"
    if value in ("", None, [], {}):
        # Elsewhere an empty value is a role's default, and the role asks for it where it is needed.
        return f"{name}: nothing was given; accepted: {accepted}" if spec.get("required") and given else None
    if not isinstance(value, KEEPS_ITS_TYPE.get(kind, (object,))):
        return f"{name}: {value!r} was given; accepted: {accepted}"
    argument = {key: spec[key] for key in ("type", "choices", "elements", "options") if key in spec}
    result = ArgumentSpecValidator({name: argument}).validate({name: value})
    if result.error_messages:
        return f"{name}: {value!r} was given; accepted: {accepted}"
    low, high = RANGES.get(name, (0, 0))
    if name in RANGES and not low <= int(str(value)) <= high and not (name in ZERO_CHOOSES and int(str(value)) == 0):
        return f"{name}: {value!r} was given; accepted: {low} to {high}"
    return None


def shared_errors(values: dict[str, Any]) -> list[str]:
    """What is wrong with the variables that all playbooks share."""
    return [
        f"{name}: {values[name]!r} was given; accepted: {said}"
        for name, (pattern, said) in SHARED.items()
        if name in values and not (isinstance(values[name], str) and re.fullmatch(pattern, values[name]))
    ]


class ActionModule(ActionBase):
    """Runs on the controller; changes nothing."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """:raises AnsibleActionFail: one line that names each variable, what was given, what is accepted, where to set it"""
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        roles = Path(self._task.args["roles"])
        specs = read_specs(roles)
        extra = set(load_extra_vars(DataLoader()))
        inventory = {name for name in task_vars if not name.startswith(("ansible_", "__"))}
        known = set(specs) | set(SHARED) | self._declared(roles.parent)
        errors = [
            f"{name}: no such variable{near(name, known)}"
            for name in sorted(
                set(unknown_names(inventory, {s["role"] for s in specs.values()}, known))
                | {n for n in extra if n not in known and not n.startswith("ansible_")}
            )
        ]
        values = {name: self._templar.template(task_vars[name]) for name in SHARED if name in task_vars}
        errors += shared_errors(values)
        if not errors:
            for name in sorted(set(specs) & set(task_vars)):
                try:
                    value = self._templar.template(task_vars[name])
                except AnsibleUndefinedVariable:
                    # The inventory's wiring of what is only known later; the role's own spec checks it then.
                    continue
                error = value_error(name, value, specs[name], name in extra)
                errors += [error] if error else []
        if errors:
            where = f"set it in {self._inventory_dir(task_vars)}/group_vars/lab.yml or with -e"
            raise AnsibleActionFail(f"{'; '.join(errors)}; {where}; nothing was changed")
        return {**result, "changed": False}

    @staticmethod
    def _declared(project: Path) -> set[str]:
        """Names that the project's own group_vars define."""
        files = [*project.glob("playbooks/group_vars/all/*.yml"), *project.glob("inventories/*/group_vars/*.yml")]
        names: set[str] = set()
        for file in files:
            names |= set(yaml.safe_load(file.read_text()) or {})
        return {name for name in names if name.startswith(("lab_", "image_", "loadtest_"))}

    @staticmethod
    def _inventory_dir(task_vars: dict[str, Any]) -> str:
        return str(task_vars.get("inventory_dir", "inventories/kind"))
