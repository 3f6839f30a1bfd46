"""The page that shows what the terminal prints, against what prints it."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from loadtests.judge import __main__ as command
from loadtests.judge.session import Bounds
from loadtests.mesh import versions
from loadtests.reports import report, summary, terminal
from loadtests.verdict import Expected, Observed, Verdict, judge
from plugins.action.check_host import Host
from scripts import doctor
from scripts.doctor import Check
from tests.browser.console import judged as stand_in
from tests.unit import test_doctor
from tests.unit.test_inputs import PROJECT, plugin

RESULTS = "~/.local/state/istio-lab/istio-lab/results"
SECONDS = (1.3, 402.6, 51.8, 12.4, 1.9, 29.5, 14.7, 0.2)
"""Of the phases of a lab, in their order."""
VERDICT = judge(
    Expected({"anonymous": {"v1": 0.8, "v3": 0.2}}), Observed({"anonymous": {"v1": 1441, "v3": 344}}),
)  # fmt: skip
PARTLY = judge(
    Expected({"anonymous": {"v1": 0.8, "v3": 0.2}}), Observed({"anonymous": {"v1": 645, "v3": 165}}),
)  # fmt: skip
progress = plugin("callback", "lab_progress")


def phases() -> list[str]:
    """The plays of a new lab."""
    files = [play["ansible.builtin.import_playbook"] for play in yaml.safe_load((PROJECT / "playbooks/site.yml").read_text())]
    plays = [play for file in files for play in yaml.safe_load((PROJECT / "playbooks" / file).read_text())]
    return [play["name"] for play in plays if "hosts" in play]


def show_lab() -> None:
    """Print what ``make lab`` does."""
    screen, tasks = progress.Screen(threading.RLock()), yaml.safe_load((PROJECT / "playbooks/summary.yml").read_text())
    for number, (name, seconds) in enumerate(zip(phases(), SECONDS, strict=True)):
        if number == len(SECONDS) - 1:
            for line in tasks[0]["tasks"][0]["ansible.builtin.debug"]["msg"]:
                screen.line(line.replace("{{ lab_gateway_url }}", "http://127.0.0.1:8080"))
        screen.phase(name, seconds, good=True)
    screen.line(f"in all {sum(SECONDS):.1f} s, changed=38")


def compiling(folder: Path) -> str:
    """What a phase is at that compiles."""
    listed, log = folder / "compile.packages", folder / "compile.log"
    names = [f"k8s.io/api/{n}" for n in range(4626)]
    listed.write_text("\n".join(["kubernetes=x/kube-apiserver", *names, f"x/kube-apiserver {' '.join(names)}"]))
    log.write_text("\n".join(["compiling kubernetes from x", *names[:2412], ""]))
    return f"{phases()[1]}: {progress.Compile(log).status()}, 212 s"


def load() -> str:
    """The table that ``make load`` ends with."""
    facts = report.facts_of("reviews-80-20", 0.0, 1, 0.05, "", {}, ())
    plain = json.loads(json.dumps(report.plain(VERDICT, facts)))
    plain["facts"]["seconds"] = 25.6
    screen = io.StringIO()
    terminal.show(
        Console(file=screen, width=terminal.BAR_WIDTH, highlight=False), plain, Path(RESULTS, "reviews-80-20/verdict.html")
    )
    return screen.getvalue()


def verify(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``make verify`` ends with."""
    for name, outcome in (("retries", "PASS"), ("reviews-80-20", "PASS"), ("timeout", "INCONCLUSIVE")):
        (folder / name).mkdir()
        facts = {"started": "", "seconds": 9.0, "margin": 0.05}
        text = {"outcome": outcome, "n": 900, "reasons": [], "classes": [], "facts": facts}
        (folder / name / "verdict.json").write_text(json.dumps(text))
    given = ["--results", str(folder), "--since", "0", "--entries", "retries,reviews-80-20,timeout"]
    monkeypatch.setattr(sys, "argv", ["summary", *given])
    assert summary.main() == 2
    return capsys.readouterr().out.replace(str(folder), RESULTS)


def look(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``make doctor`` prints of a lab in which one proxy has lost istiod."""
    (folder / "kubeconfig").touch()
    (folder / "cluster.json").write_text(json.dumps({"engine": "podman"}))
    deployed = [test_doctor.deployment(1)]
    found = {
        "host": doctor.host(Host(0, 61.3, 17.2, (), ()), 5, 1),
        "engine": Check("engine", True, "podman 4.3.1"),
        "image": Check(doctor.IMAGE, True, "localhost/istio-lab/node:v1.36.1"),
        "containers": doctor.containers({"istio-lab-control-plane": "running"}, "podman"),
        "api": Check("API server", True, "Kubernetes v1.36.1 answers"),
        "nodes": doctor.nodes([test_doctor.node()]),
        "clocks": doctor.clocks([test_doctor.lease(4)], test_doctor.NOW),
        "mesh": doctor.workloads("mesh", deployed * 2, []),
        "samples": doctor.workloads("samples", deployed * 6, []),
        "proxies": doctor.proxies(
            [test_doctor.config("details-v1", "SYNCED")], list(map(test_doctor.pod, ("details-v1", "reviews-v3")))
        ),
        "gateway": doctor.gateway("http://127.0.0.1:8080/productpage", "200"),
    }
    for name in found:
        monkeypatch.setattr(doctor.Lab, f"check_{name}", partial(found.__getitem__, name))
    monkeypatch.setattr(sys, "argv", ["doctor", "--state", str(folder)])
    assert doctor.main() == 1
    return capsys.readouterr().out


def judged(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``make judge`` prints of a namespace with a split, and a rule that cannot be judged."""
    plan = replace(stand_in.the_plan("shop", ""), warnings=())
    rounds = [stand_in.verdict_after(plan, numbers) for numbers in stand_in.ROUNDS]

    def conduct() -> Verdict:
        for verdict in rounds:
            command._tell(verdict.n, verdict)
        return rounds[-1]

    session: Any = SimpleNamespace(
        plan=plan, bounds=Bounds(), conduct=conduct, clean=lambda: None, sent=rounds[-1].n, started=time.time() - 65, state="",
        world=SimpleNamespace(cluster=None), tally=SimpleNamespace(remarks=()),
    )  # fmt: skip
    monkeypatch.setattr(versions, "running", lambda *_: {})
    assert command._run(session, Namespace(results=folder, namespace="shop", json=False, only="")) == 1
    return capsys.readouterr().out.replace(str(folder), RESULTS.replace("results", "judged"))


def lines(text: str) -> list[str]:
    """Those with something in them, without blanks at their ends."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("page", ["docs/terminal.md", "docs/zh/terminal.md"])
def test_the_page_shows_what_the_terminal_prints(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_lab()
    printed = [
        capsys.readouterr().out, compiling(tmp_path),
        f"Judge one catalogue entry: {terminal.status(PARTLY, 70.0)}, 17 s", load(), verify(tmp_path, capsys, monkeypatch),
        judged(tmp_path, capsys, monkeypatch), look(tmp_path, capsys, monkeypatch),
    ]  # fmt: skip
    blocks = re.findall(r"^```text\n(.*?)^```$", (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert [lines(block) for block in blocks] == [lines(text) for text in printed]
