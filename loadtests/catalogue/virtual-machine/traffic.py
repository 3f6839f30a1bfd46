"""Calls from and to a virtual machine: under which identity they arrive."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ResponseCheck
from loadtests.rules.machines import joined
from loadtests.samples.machine import ADDRESS, BY_LEGACY, BY_MACHINE, BY_POD, KINDS, MACHINE, admission, identity, well

QUESTION = ResponseCheck(
    namespace="machine",
    kinds=KINDS,
    expectation=joined,
    classes={
        "called by a pod": {**MACHINE, "app": "machine", "authority": "machine:8080", "caller": {"app": "pod"}},
        "calls a pod": {**MACHINE, "app": "pod", "authority": "pod:8080", "caller": {"app": "machine"}},
        "called without a sidecar": {**MACHINE, "app": "machine", "caller": {"app": "legacy"}, "sidecar": False},
    },
    requires=(well,),
)
TRAFFIC = {
    "called by a pod": Fetch("/call/machine/", BY_POD, label=identity),
    "calls a pod": Fetch("/call/pod/", BY_MACHINE, label=identity),
    "called without a sidecar": Fetch(f"/call/{ADDRESS}/", BY_LEGACY, label=admission),
}
