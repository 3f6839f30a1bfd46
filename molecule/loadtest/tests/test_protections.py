"""The lab's readers of security and resilience rules, compared with the live mesh: generated rules, calls from every caller."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from loadtests.entries import policy
from loadtests.entries.question import ResponseCheck, within
from loadtests.mesh import propagation, writes
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_signing_key
from loadtests.rules.expectations import Rules
from tests import lab
from tests.oracle import protections
from tests.oracle.protections import BROUGHT, CALLERS, KEY, LEFT_OPEN, MADE, asked

CONNECTIONS = 10
"""More than calls at once leave open."""
PASSES = 3
"""Visits for questions that depend on concurrent calls, and for others after an unexpected outcome; most must end as expected.

A connection that a proxy has kept can serve one more request by the rules before; rules that were misread are so each time.
"""


class Client:
    """What Fetch needs from a user, on ports forwarded to the callers, so that no policy applies on the path to them."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._bases = {f"{name}.lab.internal": f"http://127.0.0.1:{port}" for name, port in ports.items()}
        self.environment = SimpleNamespace(parsed_options=SimpleNamespace(kubeconfig=str(lab.KUBECONFIG)))
        self.bearer: dict[str, str] = {}

    @contextmanager
    def request(self, method: str, path: str, headers: Mapping[str, str], **_: Any) -> Iterator[requests.Response]:
        base = self._bases.get(headers.get("Host", ""), lab.gateway_url())
        response = requests.request(method, base + path, headers=dict(headers), allow_redirects=False, timeout=30)
        response.success = response.failure = lambda *_: None  # type: ignore[attr-defined] # Locust's responses have these methods
        yield response


@contextmanager
def forwarded(pod: str) -> Iterator[int]:
    """A local port that is forwarded to port 8080 of a pod, bypassing its sidecar."""
    command = ["kubectl", "--kubeconfig", str(lab.KUBECONFIG), "-n", "echo", "port-forward", f"deployment/{pod}", ":8080"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found, f"no port is forwarded to {pod}"
        try:
            yield int(found[1])
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The namespace echo without catalogue rules, before and after."""
    found = Cluster(str(lab.KUBECONFIG), "echo")
    ensure_signing_key(found, KEY)
    put(found, [])
    yield found
    put(found, [])


@pytest.fixture(scope="module")
def ports() -> Iterator[Mapping[str, int]]:
    """Caller -> local port."""
    with ExitStack() as held:
        yield {name: held.enter_context(forwarded(name)) for name in CALLERS}


def put(cluster: Cluster, rules: Sequence[dict[str, Any]]) -> None:
    """Replace the rules that the catalogue or this test applied before."""
    live = cluster.items(*writes.KINDS)
    owned = [rule for rule in live if policy.owner(rule)]
    writes.apply(cluster, policy.plan(owned, policy.labelled(rules, "oracle.policy")), live)


def is_expected(shares: Mapping[str, float], outcome: str) -> bool:
    return any(share > 0 and (outcome == name or within(outcome, name)) for name, share in shares.items())


def leave_old_connections(check: ResponseCheck, ports: Mapping[str, int]) -> None:
    """Use every connection that proxies have kept: it serves one more request by the rules before, and is closed with it."""

    def at_once(url: str, host: str = "") -> None:
        asked = partial(requests.get, url, headers={"Host": host} if host else {}, timeout=30)
        with ThreadPoolExecutor(max_workers=CONNECTIONS) as pool:
            list(pool.map(lambda _: asked(), range(2 * CONNECTIONS)))

    if check is MADE:
        for caller, app in itertools.product(CALLERS, protections.APPS):
            if CALLERS[caller]:  # the others have no proxy
                at_once(f"http://127.0.0.1:{ports[caller]}/call/{app}/slow/100")
    elif check is BROUGHT:
        at_once(f"{lab.gateway_url()}/slow/100", "echo.lab.internal")


def disagreements(rules: Rules, check: ResponseCheck, traffic: Mapping[str, Any], ports: Mapping[str, int]) -> list[str]:
    """Unexpected outcomes, one line each."""

    def visit(name: str) -> str:
        shares, seen = rules.expected.shares[name], list[str]()
        while len(seen) < PASSES:
            client = Client(ports)
            traffic[name].start(client)
            seen.append(traffic[name].visit(client))
            if not check.exclusive and is_expected(shares, seen[-1]):
                break
        wrong = [outcome for outcome in seen if not is_expected(shares, outcome)]
        return f"{name}: expected {' or '.join(shares)}, got {', '.join(wrong)}" if 2 * len(wrong) > len(seen) else ""

    names = [name for name in traffic if name in rules.expected.shares]
    # Questions that depend on concurrent calls are asked one at a time.
    with ThreadPoolExecutor(max_workers=1 if check.exclusive else 6) as pool:
        return [line for line in pool.map(visit, names) if line] + list(rules.expected.broken)


def test_the_mesh_behaves_as_the_readers_expect(cluster: Cluster, ports: Mapping[str, int]) -> None:
    wrong: list[str] = []
    applied = expected = left_open = 0
    for one in protections.rounds():
        put(cluster, one.rules)
        questions = [(check, traffic, check.read(cluster)) for check, traffic in asked(one)]
        first, _, rules = questions[0]
        assert propagation.wait(cluster, rules.generation, first.applied_by, lab.SECONDS_TO_HOLD) == []
        for check, traffic, rules in questions:
            leave_old_connections(check, ports)
            found = disagreements(rules, check, traffic, ports)
            if found:
                assert check.read(cluster).generation == rules.generation, "others have changed the rules during this test"
            wrong += [f"{line}\n  under {json.dumps(one.rules)}" for line in found]
            expected += len(traffic)
            left_open += sum(name in rules.expected.unknown for name in traffic)
        applied += len(one.rules)
    print(f"{applied} rules, {expected} expectations, {left_open} of them left open")
    assert not wrong, "\n".join(wrong)
    assert applied >= 150
    assert left_open <= LEFT_OPEN * expected
