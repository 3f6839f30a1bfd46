"""Collects what is needed to find a fault into one archive, without secrets: ``make diagnose FILE=build/diagnosis.tar.gz``.

What cannot be collected leaves a file that says why, for that may be the fault. Every text goes through :class:`Secrets`
before it is written: values of the cluster's Secrets and of the lab's own files, and whatever looks like a key or a password.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import io
import json
import os
import re
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, words_of
from loadtests.mesh.writes import KINDS
from scripts.doctor import MESH, Lab, run

LOG_LINES = 2000
"""Of each container, the last ones."""
REMOVED = "(removed)"
SHORTEST = 6
"""Characters of a value that is searched for: a shorter one would be found in words that are no secrets."""
PUBLIC = re.compile(r"(user(name)?|.*\.crt|.*cert.*\.pem|namespace)$")
"""Keys of Secrets whose values are no secrets."""
NAMED = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)"
PATTERNS = (
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(-----END \1-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"), REMOVED),
    (re.compile(r"(?i)(\bauthorization\W{1,4}(?:bearer|basic)\s+)\S+"), rf"\g<1>{REMOVED}"),
    (re.compile(rf"(?i)({NAMED}[\"']?\s*[:=]\s*[\"']?)[^\s\"',&]{{4,}}"), rf"\g<1>{REMOVED}"),
    (re.compile(r"(://[^/\s:@]+:)[^/\s@]+@"), rf"\g<1>{REMOVED}@"),
)  # fmt: skip
"""What looks like a secret, whosoever it is, and what is left of it."""
OWN_FILES = ("kubeconfig", "console-kubeconfig", "ui-password")
"""The lab's files that are secrets; of a kubeconfig, its keys and tokens."""


# -- secrets (pure) --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Secrets:
    """Values that must not be written."""

    values: tuple[str, ...]

    @classmethod
    def of(cls, values: Iterable[str]) -> Secrets:
        """Those values, as they are, line by line, and in base64."""
        found = set()
        for value in map(str.strip, values):
            for text in {value, *(line.strip() for line in value.splitlines())}:
                found |= {text, base64.b64encode(text.encode()).decode(), base64.b64encode(f"{text}\n".encode()).decode()}
        # The longest first, for one may be a part of another.
        return cls(tuple(sorted((text for text in found if len(text) >= SHORTEST), key=lambda text: (-len(text), text))))

    def without(self, text: str) -> str:
        """A text without them, and without what looks like one."""
        for value in self.values:
            text = text.replace(value, REMOVED)
        for pattern, left in PATTERNS:
            text = pattern.sub(left, text)
        return text


def values_of_secret(secret: Mapping[str, Any]) -> Iterator[str]:
    """What a Secret of the cluster keeps; binary values are never in a text."""
    for key, value in (secret.get("data") or {}).items():
        if not PUBLIC.match(key):
            try:
                yield base64.b64decode(value).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue


def values_of_kubeconfig(text: str) -> Iterator[str]:
    """Keys, tokens and passwords of a kubeconfig."""
    for user in (yaml.safe_load(text) or {}).get("users") or []:
        for name, value in (user.get("user") or {}).items():
            if name in ("client-key-data", "token", "password") and isinstance(value, str):
                yield value
                if name == "client-key-data":
                    yield base64.b64decode(value).decode(errors="ignore")


# -- collecting ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One file of the archive, and what makes its text."""

    name: str
    text: Callable[[], str]


@dataclass(frozen=True)
class Diagnosis:
    """What is collected of one lab."""

    lab: Lab

    @property
    def cluster(self) -> Cluster:
        """The lab's cluster."""
        return self.lab.cluster

    def secrets(self) -> Secrets:
        """Every value that is known to be one; those of the cluster only while it answers."""
        values: list[str] = []
        for name in OWN_FILES:
            if (file := self.lab.state / name).is_file():
                text = file.read_text()
                values += values_of_kubeconfig(text) if name.endswith("kubeconfig") else [text]
        try:
            values += [value for secret in self.cluster.everywhere("secrets") for value in values_of_secret(secret)]
        except Exception as error:  # any: a cluster that does not answer is what is diagnosed
            print(
                f"the cluster's Secrets were not read, so only what looks like one is removed: {words_of(error)}",
                file=sys.stderr,
            )
        return Secrets.of(values)

    def items(self) -> Iterator[Item]:
        """The files, in their order."""
        yield Item("doctor.json", lambda: json.dumps([asdict(check) for check in self.lab.checks()], indent=2))
        yield from self.of_host()
        yield from self.of_cluster()
        yield from self.of_mesh()
        yield from self.of_runs()

    def of_host(self) -> Iterator[Item]:
        """The host, the engine, and the lab's own folder."""
        for name, command in {
            "system": ("uname", "-a"), "memory": ("cat", "/proc/meminfo"), "disk": ("df", "-h"),
            "kubectl": ("kubectl", "version", "--client"), "istioctl": ("istioctl", "version", "--remote=false"),
        }.items():  # fmt: skip
            yield command_item(f"host/{name}.txt", *command)
        if engine := self.lab.engine:
            yield command_item("host/engine.txt", engine, "version")
            yield command_item(
                "host/containers.txt", engine, "ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={self.lab.name}"
            )
        for file in sorted(self.lab.state.glob("*.json")) + sorted(self.lab.state.glob("log/*")):
            if file.is_file():
                yield Item(f"lab/{file.relative_to(self.lab.state)}", partial(tail, file))

    def of_cluster(self) -> Iterator[Item]:
        """Nodes, events, pods, and the logs of those that are not ready."""
        for name, arguments in {
            "version": ("version",), "nodes": ("describe", "nodes"),
            "pods": ("get", "pods", "--all-namespaces", "--output=wide"),
            "workloads": ("get", "deployments,statefulsets,daemonsets,services", "--all-namespaces", "--output=wide"),
            "events": ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
        }.items():  # fmt: skip
            yield Item(f"cluster/{name}.txt", partial(self.cluster.kubectl, *arguments))
        for pod in self.pods():
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            ready = all(one.get("ready") for one in pod["status"].get("containerStatuses", [{}]))
            if not ready:
                yield Item(f"cluster/{namespace}/{name}.txt", partial(self.describe, name, namespace))
            if not ready or namespace == MESH or runs_a_proxy(pod):
                which = "--all-containers" if not ready or namespace == MESH else "--container=istio-proxy"
                yield Item(f"cluster/{namespace}/{name}.log", partial(self.logs, name, namespace, which))

    def of_mesh(self) -> Iterator[Item]:
        """What the proxies know, and the applied rules."""
        yield Item("mesh/proxy-status.txt", lambda: self.cluster.istioctl("proxy-status"))
        for kind in KINDS:
            yield Item(f"mesh/rules/{kind}.yaml", partial(self.rules, kind))
        for pod in filter(runs_a_proxy, self.pods()):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            yield Item(f"mesh/proxies/{namespace}/{name}.json", partial(self.proxy, name, namespace))

    def of_runs(self) -> Iterator[Item]:
        """The last verdict of each entry."""
        for file in sorted(self.lab.state.glob("results/**/verdict.json")):
            yield Item(f"runs/{file.parent.relative_to(self.lab.state / 'results')}.json", file.read_text)

    def pods(self) -> list[dict[str, Any]]:
        """The lab's pods and the mesh's; none while the cluster does not answer, which other files tell."""
        try:
            return self.cluster.everywhere("pods")
        except Exception:  # any, as above
            return []

    def describe(self, pod: str, namespace: str) -> str:
        """A pod with its events."""
        return self.cluster.kubectl("describe", "pod", pod, "--namespace", namespace)

    def logs(self, pod: str, namespace: str, which: str) -> str:
        """The last lines of a pod's containers."""
        return self.cluster.kubectl("logs", pod, "--namespace", namespace, which, f"--tail={LOG_LINES}")

    def proxy(self, pod: str, namespace: str) -> str:
        """A proxy's configuration."""
        return json.dumps(self.cluster.proxy_dump(pod, namespace), indent=1)

    def rules(self, kind: str) -> str:
        """Rules of one kind, in all namespaces, without the lab's own sentinels."""
        found = [rule for rule in self.cluster.everywhere(kind) if not rule["metadata"]["name"].startswith(propagation.NAME)]
        return yaml.safe_dump_all(found, allow_unicode=True)


def command_item(name: str, *command: str) -> Item:
    """What a command prints."""
    return Item(name, lambda: run(*command))


def runs_a_proxy(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs, and has a proxy to ask."""
    return pod["status"].get("phase") == "Running" and propagation.has_proxy(pod)


def tail(file: Path) -> str:
    """The last lines of a file."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-LOG_LINES:])


def write(target: Path, items: Iterable[Item], secrets: Secrets, say: Callable[[str], None]) -> int:
    """Write the archive, for its owner's eyes only; the number of files that could not be collected.

    :raises OSError: if it cannot be written; nothing is left then
    """
    folder, unfinished, missing = target.name.removesuffix(".tar.gz"), target.with_name(f".{target.name}.unfinished"), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            part = ""
            for item in items:
                if (begins := item.name.partition("/")[0]) != part:
                    part = begins
                    say(part)
                name = item.name
                try:
                    text = item.text()
                except Exception as error:  # any: the others may tell why
                    name, text, missing = f"{name}.missing", words_of(error), missing + 1
                data = secrets.without(text).encode(errors="replace")
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return missing


def main() -> int:
    """0 once the archive is written, whatever of the lab is broken; 2 if it cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--file", type=Path, default=None)
    options = parser.parse_args()
    lab = Lab.opened(options.state)
    begun, target = time.monotonic(), options.file or Path("build") / f"{lab.name}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    diagnosis = Diagnosis(lab)

    def say(part: str) -> None:
        print(f"{time.monotonic() - begun:5.1f} s  {part}", flush=True)

    try:
        missing = write(target, diagnosis.items(), diagnosis.secrets(), say)
    except OSError as error:
        print(f"FILE: {target} was given: {error}; accepted: a file in a folder that can be written to", file=sys.stderr)
        return 2
    notice = f"; {missing} could not be collected: see the files *.missing in it" if missing else ""
    print(
        f"{target}: {target.stat().st_size / 1024**2:.1f} MiB{notice}. Secrets were removed; look at it before you pass it on."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
