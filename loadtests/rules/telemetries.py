"""Which Telemetry resources apply to the proxies of a workload, in the order in which istiod merges them."""

from __future__ import annotations

from loadtests.rules.expectations import Objects, namespace_of
from loadtests.rules.view import View
from loadtests.rules.workloads import ROOT_NAMESPACE, Workload, applying, selector_of, spec_of


def telemetries_of(objects: Objects, workload: Workload) -> list[View]:
    """The Telemetry of the root namespace, that of the workload's namespace, and all that select the workload.

    Of several without a selector in one namespace, the oldest applies. Those that do not apply have no bearing.
    """
    wide: dict[bool, View] = {}
    narrow: list[View] = []
    for one in applying(objects, "Telemetry", workload):
        in_root, selects = namespace_of(one) == ROOT_NAMESPACE, bool(selector_of(one))
        # A selector in the root namespace selects nothing elsewhere.
        if (selects and in_root) or (not selects and in_root in wide):
            spec_of(one).accept_all()
        elif selects:
            narrow.append(one)
        else:
            wide[in_root] = one
    return [*(wide[in_root] for in_root in (True, False) if in_root in wide), *narrow]
