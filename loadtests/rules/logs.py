"""What Telemetry resources declare of access logs, line by line: pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares
from loadtests.rules.mesh_config import log_setting_of
from loadtests.rules.responses import Request
from loadtests.rules.straight import refuse_detours
from loadtests.rules.telemetries import telemetries_of
from loadtests.rules.view import View, title
from loadtests.rules.workloads import called_workload, spec_of

NOTHING = "nothing logged"
STANDARD_OUTPUT = "envoy"
"""Istio's own provider, which writes to the standard output of the proxy in the format of the mesh."""
SERVER = ("SERVER", "CLIENT_AND_SERVER")
COMPARED = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
ON_STATUS = re.compile(r"\s*response\.code\s*(>=|<=|==|!=|>|<)\s*(\d+)\s*")


def line_of(fields: Mapping[str, Any]) -> str:
    """One line of the log, as outcomes have it.

    :param fields: ``method``, ``uri``, ``status``, ``flags``, ``cluster``, ``authority``
    """
    return " ".join(str(fields[name]) for name in ("method", "uri", "status", "flags", "cluster", "authority"))


def _filter(expression: str, path: str) -> Callable[[int], bool]:
    """Whether a filter lets a status through."""
    found = ON_STATUS.fullmatch(expression)
    if found is None:
        raise NotModelledError(path)
    return lambda status: bool(COMPARED[found[1]](status, int(found[2])))


def _logging(objects: Objects, request: Request) -> list[View]:
    """The Telemetries that say something of the logs of the called proxy."""
    found = telemetries_of(objects, called_workload(objects, request))
    for one in found:
        spec_of(one).accept("metrics", "tracing")
    return [one for one in found if spec_of(one).get("accessLogging")]


def _entry(telemetry: View) -> View:
    """The part of a Telemetry that counts: the last one for what a proxy serves.

    :raises NotModelledError: if the log goes elsewhere
    """
    found: View | None = None
    for one in spec_of(telemetry)["accessLogging"]:
        if one.get("match", {}).get("mode", "CLIENT_AND_SERVER") not in SERVER:
            one.accept_all()
            continue
        if [provider["name"] for provider in one.get("providers", [])] != [STANDARD_OUTPUT]:
            raise NotModelledError(f"{title(telemetry)}: {one.path_of('providers')}")
        if found is not None:
            found.accept_all()
        found = one
    if found is None:
        raise NotModelledError(f"{title(telemetry)}: spec.accessLogging: the settings of the mesh apply")
    return found


def logged(objects: Objects, request: Request) -> Shares:
    """What a row of requests leaves in the access log of the called proxy: all its lines, in their order.

    :param request: the called workload and the caller, as :func:`loadtests.rules.straight.refuse_detours` has them; ``row``:
        method, path, and the status that the workload answers, of each request
    :raises NoExpectationError: if no Telemetry says what is logged
    :raises NotModelledError: if several do, for then they are merged with the settings of the mesh, if the mesh has a format
        of its own, or if rules may lead a request elsewhere
    """
    for method, uri in dict.fromkeys((method, uri) for method, uri, _ in request["row"]):
        refuse_detours(objects, {**request, "method": method, "uri": uri})
    if setting := log_setting_of(objects):
        raise NotModelledError(f"MeshConfig: spec.{setting}")
    found = _logging(objects, request)
    if not found:
        raise NoExpectationError(f"no Telemetry says what the proxy of {request['app']} logs")
    if len(found) > 1:
        raise NotModelledError(f"{title(found[1])}: spec.accessLogging beside {title(found[0])}")
    entry = _entry(found[0])
    if entry.get("disabled"):
        entry.accept("filter")
        return {NOTHING: 1.0}
    expression = entry.get("filter", {}).get("expression", "")
    passes = _filter(expression, f"{title(found[0])}: {entry.path_of('filter')}") if expression else lambda status: True
    there = {"flags": "-", "cluster": f"inbound|{request['port']}||", "authority": request["authority"]}
    lines = [
        line_of({"method": method, "uri": uri, "status": status, **there})
        for method, uri, status in request["row"]
        if passes(status)
    ]
    return {"; ".join(lines) or NOTHING: 1.0}
