"""Times the lab against the same steps by hand, in pairs, and measures its memory use: ``make bench``.

Writes build/bench.json and build/bench.md. Every figure comes from this run; none is a pass/fail limit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parent.parent
NAME = "istio-lab-bench"
STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "istio-lab" / NAME
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
PAIRS = int(os.environ.get("BENCH_PAIRS", "2"))


def run(*command: str, **variables: str) -> tuple[float, str]:
    """Duration in seconds and output of one command; an error ends the benchmark."""
    started = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=PROJECT, env={**os.environ, **variables}, timeout=3600
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - started, done.stdout


def by_hand(kept: Path) -> dict[str, float]:
    """Run the commands that a person would type to get the same lab, with the configuration that the lab wrote.

    :return: seconds per step, by the step's first words
    """
    kubeconfig = kept / "kubeconfig.hand"
    tools = {
        "PATH": f"{kept / 'bin'}:{os.environ['PATH']}",
        "CONTAINERS_CONF": str(kept / "containers.conf"),
        "KIND_EXPERIMENTAL_PROVIDER": "podman",
        "KUBECONFIG": str(kubeconfig),
    }
    image = json.loads((kept / "cluster.json").read_text())["image"]
    gateway_api = (kept / "bin/istioctl").resolve().parent.parent / "gateway-api"
    extras = sorted(str(file) for file in (PROJECT / "roles/istio/files").glob("*.yaml"))
    page = ["curl", "--silent", "--fail", "--retry", "20", "--retry-all-errors", "--output", "/dev/null"]
    inside = ["kubectl", "exec", "-n", "bookinfo", "deploy/ratings-v1", "-c", "ratings", "--"]
    steps = [
        ["kind", "create", "cluster", "--name", NAME, "--image", image, "--config", str(kept / "kind.yaml")],
        ["kubectl", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=180s"],
        ["istioctl", "experimental", "precheck"],
        ["kubectl", "apply", "--server-side", "-f", str(gateway_api)],
        ["istioctl", "install", "-y", "-f", str(kept / "istio-operator.yaml")],
        ["kubectl", "apply", *(f"--filename={file}" for file in extras)],
        ["kubectl", "create", "namespace", "bookinfo"],
        ["kubectl", "label", "namespace", "bookinfo", "istio-injection=enabled"],
        ["kubectl", "apply", "-n", "bookinfo", "-k", "samples/bookinfo"],
        ["kubectl", "wait", "-n", "bookinfo", "--for=condition=Available", "deploy", "--all", "--timeout=240s"],
        [*inside, *page, "http://productpage:9080/productpage"],
        [*page, f"{json.loads((kept / 'gateway.json').read_text())['http']}/productpage"],
    ]
    seconds = {f"{number}. {' '.join(step[:2])}": run(*step, **tools)[0] for number, step in enumerate(steps, 1)}
    run("kind", "delete", "cluster", "--name", NAME, **tools)
    return seconds


def phases(output: str) -> dict[str, float]:
    """Seconds per phase, from the table at the end of the lab's output."""
    table = output.partition("PHASE TIMES")[2]
    return {name.strip(): float(seconds) for name, seconds in re.findall(r"^(\S.*?)  +([\d.]+) s$", table, re.MULTILINE)}


class Memory(threading.Thread):
    """Peak memory of all processes in the node container, in GiB: proportional set size, sampled every 3 s.

    PSS divides shared pages among the processes that use them, so the sum counts every page once.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        """Sample until ``ended`` is set."""
        read = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null"
        while not self.ended.wait(3):
            command = ["podman", "exec", f"{NAME}-control-plane", "sh", "-c", read]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.peak = max(self.peak, sum(map(int, re.findall(r"^Pss: +(\d+)", done.stdout, re.MULTILINE))) / 1024**2)


def main() -> None:
    """Measure memory in one run, then time pairs of a warm lab and the steps by hand."""
    make = ["make", "--no-print-directory", f"LAB={NAME}", "VERBOSE=1"]
    kept = PROJECT / "build" / "bench"
    labs, hands, parts = [], [], []
    run(*make, "destroy")
    # In a separate run: sampling takes time, which must not affect only one side of a pair.
    memory = Memory()
    memory.start()
    run(*make, "lab")
    run(*make, "load", "ENTRY=reviews-50-50")
    memory.ended.set()
    run(*make, "destroy")
    for _ in range(PAIRS):
        seconds, first_output = run(*make, "lab")
        labs.append(seconds)
        second, output = run(*make, "lab")
        changed = re.findall(r"changed=(\d+)", output)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(STATE, kept, symlinks=True)
        settings = yaml.safe_load((STATE / "kind.yaml").read_text())
        for node in settings["nodes"]:
            del node["extraMounts"]  # these folders belong to the lab and are removed with it
        (kept / "kind.yaml").write_text(yaml.safe_dump(settings))
        run(*make, "destroy")
        steps = by_hand(kept)
        hands.append(sum(steps.values()))
        parts.append({"lab": phases(first_output), "by_hand": {name: round(s, 1) for name, s in steps.items()}})
    compile_seconds = max(
        (sum(int(f.read_text().split()[0]) for f in key.glob("*/compile_seconds")) for key in CACHE.glob("binaries/*")),
        default=0,
    )
    figures = {
        "warm_lab_s": [round(s, 1) for s in labs],
        "by_hand_s": [round(s, 1) for s in hands],
        "ratio": round(statistics.median(a / b for a, b in zip(labs, hands, strict=True)), 2),
        "second_lab_s": round(second, 1),
        "second_lab_changed": sum(map(int, changed)),
        "peak_memory_gib": round(memory.peak, 2),
        "compile_s": compile_seconds,
    }
    (PROJECT / "build/bench.json").write_text(json.dumps(figures | {"where_it_goes": parts}, indent=2) + "\n")
    rows = [f"| {name} | {value} |" for name, value in figures.items()]
    table = "\n".join(["| figure | value |", "|---|---|", *rows]) + "\n"
    (PROJECT / "build/bench.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
