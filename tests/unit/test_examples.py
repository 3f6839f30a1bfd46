"""The examples in docs/: each parses, and the shell script ends as it says, whatever fails in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.reports import gate
from scripts import docs

EXAMPLES = docs.SOURCE / "examples"
SCRIPT = "istio-lab/docs/examples/judge.sh deploy shop"
# The lab, by the statuses in a file; a run that is judged leaves reports.
RUN = """#!/bin/sh
echo "$*" >>"$HOME/asked"
case $1 in
    judge)
        [ ! -e "$HOME/wait" ] || sleep 30
        [ -e "$HOME/refused" ] || for kind in json xml html; do
            mkdir -p "$HOME/.local/state/istio-lab/$LAB/judged/shop"
            echo "$kind" >"$HOME/.local/state/istio-lab/$LAB/judged/shop/verdict.$kind"
        done ;;
esac
status=$(sed -n "s/^$1 //p" "$HOME/statuses")
exit "${status:-0}"
"""
KUBECTL = """#!/bin/sh
echo "kubectl $*" >>"$HOME/asked"
[ "$KUBECONFIG" = "$HOME/.local/state/istio-lab/$LAB/kubeconfig" ] || exit 9
status=$(sed -n "s/^$1 //p" "$HOME/statuses")
exit "${status:-0}"
"""


def example(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_every_example_is_on_the_page_in_both_languages(file: Path) -> None:
    for language in docs.LANGUAGES:
        page = docs.pages(language)["ci.md"]
        assert file.read_text().rstrip() in page
        assert f"(examples/{file.name})" in page


def test_the_shell_example_parses() -> None:
    done = subprocess.run(["sh", "-n", EXAMPLES / "judge.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(EXAMPLES / "judge.sh", os.X_OK)


def test_github_runs_the_script_and_keeps_its_reports() -> None:
    workflow = example("github.yml")
    assert workflow[True] == ["pull_request"], "YAML reads `on` as true, and so does GitHub's own schema"
    steps = workflow["jobs"]["judge"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [SCRIPT]
    assert steps[1]["with"]["path"] == "istio-lab"
    assert (steps[-1]["if"], steps[-1]["with"]["path"]) == ("always()", "reports")


def test_gitlab_runs_the_script_and_reads_its_junit_file() -> None:
    job = example("gitlab.yml")["mesh-rules"]
    assert job["script"][-1] == SCRIPT
    assert job["artifacts"] == {"when": "always", "paths": ["reports"], "reports": {"junit": "reports/verdict.xml"}}


def test_delivery_tools_ask_as_the_gate_answers(tmp_path: Path) -> None:
    rules = gate.gate(tmp_path, "THE-TOKEN", "shop", lambda: 0).url_map.bind("gate.example.com:8090")
    hooks = example("flagger.yml")["spec"]["analysis"]["webhooks"]
    web = example("argo-rollouts.yml")["spec"]["metrics"][0]["provider"]["web"]
    asked = [(hook["url"], "POST") for hook in hooks] + [(web["url"], web["method"])]
    for url, method in asked:
        path = url.removeprefix("http://gate.example.com:8090").partition("?")[0]
        _, arguments = rules.match(path, method=method)
        assert arguments["name"] == "shop"
    assert {hook["metadata"]["token"] for hook in hooks} == {"THE-TOKEN"}
    assert web["jsonPath"] == "{$.verdict}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository with a checkout of the lab whose commands are stand-ins."""
    for path, text in {
        "istio-lab/scripts/run.py": RUN, ".local/state/istio-lab/ci/bin/kubectl": KUBECTL,
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)
    (tmp_path / "istio-lab/docs/examples").mkdir(parents=True)
    shutil.copy(EXAMPLES / "judge.sh", tmp_path / "istio-lab/docs/examples")
    (tmp_path / "statuses").touch()
    return tmp_path


def run(place: Path) -> subprocess.Popen[bytes]:
    environment = {"HOME": str(place), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(SCRIPT.split(), cwd=place, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def asked(place: Path) -> list[str]:
    return (place / "asked").read_text().splitlines()


def test_it_builds_applies_judges_reports_and_removes(place: Path) -> None:
    assert run(place).wait(timeout=30) == 0
    assert asked(place) == [
        "lab",
        "kubectl create namespace shop",
        "kubectl label namespace shop istio-injection=enabled",
        "kubectl apply --namespace shop --kustomize deploy",
        "kubectl wait --namespace shop --for=condition=Available deployment --all --timeout=300s",
        "judge NAMESPACE=shop CONFIRM=shop",
        "destroy",
    ]
    assert {file.name: file.read_text() for file in (place / "reports").iterdir()} == {
        f"verdict.{kind}": f"{kind}\n" for kind in ("json", "xml", "html")
    }


@pytest.mark.parametrize(("statuses", "status"), [
    ("judge 1", 1), ("judge 2", 2), ("lab 1", 2), ("lab 2", 2), ("create 1", 2), ("apply 1", 2), ("wait 1", 2),
    ("destroy 2", 0), ("judge 1\ndestroy 2", 1),
])  # fmt: skip
def test_its_status_is_that_of_the_verdict_or_2(place: Path, statuses: str, status: int) -> None:
    (place / "statuses").write_text(statuses)
    assert run(place).wait(timeout=30) == status
    assert asked(place)[-1] == "destroy"


def test_a_refusal_to_judge_is_no_fail(place: Path) -> None:
    (place / "refused").touch()
    (place / "statuses").write_text("judge 1")
    assert run(place).wait(timeout=30) == 2
    assert asked(place)[-1] == "destroy"


def test_a_run_that_is_interrupted_removes_the_lab(place: Path) -> None:
    (place / "wait").touch()
    running = run(place)
    until = time.monotonic() + 20
    while time.monotonic() < until and not ((place / "asked").exists() and "judge" in asked(place)[-1]):
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(timeout=30) == 2
    assert asked(place)[-1] == "destroy"
