"""The core tier covers every expectation function, sample, client, role and playbook; exceptions are listed with a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.entries import entry
from loadtests.entries.question import Split
from loadtests.rules import (
    egress,
    grpc_routes,
    ingress,
    l4_routes,
    logs,
    machines,
    quotas,
    resilience,
    responses,
    security,
    traces,
    websockets,
)
from loadtests.samples import shadow
from tests import tiers
from tests.unit.test_inputs import PROJECT

LISTED: dict[str, dict[str, str]] = tiers.TIERS["full_only"]
CONDITIONS = (
    "'existing'", "'ack'", "!= 'kind'", "'LoadBalancer'", "'ClusterIP'", "'cluster'", "lab_registry != ''", "lab_foreign",
)  # fmt: skip
"""Conditions that are false in the core tier: another provider, gateway, architecture, or source of the load."""
NEGATED = ("!= 'ClusterIP'", "!= 'LoadBalancer'")


def stale(name: str, listed: Mapping[str, str], sources: Mapping[str, str]) -> bool:
    """Whether a listed name no longer matches a test, or is covered by another name.

    :param sources: path -> text of every file of tests
    """
    path, _, test = name.partition("::")
    if path not in sources or tiers.is_full_only(path, full_only_paths()) or tiers.is_full_only(name, set(listed) - {name}):
        return True
    return bool(test) and not re.search(rf"^def {re.escape(test.partition('[')[0])}\(", sources[path], re.MULTILINE)


def full_only_paths() -> list[str]:
    """Test folders of the scenarios that the core tier leaves out."""
    return [str(f.relative_to(PROJECT)) for name in LISTED["scenarios"] for f in PROJECT.glob(f"molecule/{name}/tests/*.py")]


def test_everything_left_out_exists_and_has_a_reason() -> None:
    assert set(LISTED) == {"entries", "expectations", "scenarios", "tests", "roles", "playbooks"}
    assert all(isinstance(why, str) and len(why) > 10 for part in LISTED.values() for why in part.values())
    for name in LISTED["scenarios"]:
        assert (PROJECT / f"molecule/{name}/molecule.yml").exists(), name
    files = [*PROJECT.glob("molecule/*/tests/*.py"), *PROJECT.glob("tests/browser/**/*.py")]
    sources = {str(f.relative_to(PROJECT)): f.read_text() for f in files}
    assert [name for name in LISTED["tests"] if stale(name, LISTED["tests"], sources)] == []


def test_a_stale_name_in_the_list_is_detected() -> None:
    sources = {"t.py": "def test_one(x: int) -> None:\n    pass\n", full_only_paths()[0]: "def test_one() -> None:\n    pass\n"}
    listed = {"t.py::test_one": "why", "t.py::test_one[case]": "why"}
    assert not stale("t.py::test_one", listed, sources)
    assert stale("t.py::test_one[case]", listed, sources), "the test itself is listed"
    for name in ("u.py", "t.py::test_two", "t.py::test_on", f"{full_only_paths()[0]}::test_one"):
        assert stale(name, {name: "why"}, sources), name


# -- entries: expectation functions, samples, clients -----------------------------------------------------------------------


def features(name: str) -> set[str]:
    """What one entry covers: sample, expectation function, security rules, question, clients, fields of rules."""
    found = entry.load(name)
    rules = [rule for rule in yaml.safe_load_all((entry.CATALOGUE / name / "policy.yaml").read_text()) if rule]
    guards = sorted({rule["kind"] for rule in rules if rule["apiVersion"].startswith("security.istio.io/")})
    expects = "Split" if isinstance(found.question, Split) else getattr(found.question, "expectation").__name__  # noqa: B009 - a Question need not have it
    return {
        f"sample {found.question.namespace}", f"expectation {expects}",
        *([f"{expects} of {' '.join(guards)}"] if guards else []), f"question {type(found.question).__name__}",
        f"far end {bool(getattr(found.question, 'server', None))}",
        *(f"client {type(traffic).__name__}" for traffic in found.traffic.values()), *fields(rules),
    }  # fmt: skip


def fields(rules: Iterable[Mapping[str, Any]]) -> set[str]:
    """What routes do, by what callers are known, and who decides on them."""
    found = set()
    for rule in rules:
        parts = rule.get("spec", {})
        if rule["kind"] == "VirtualService":
            found |= {f"route {name}" for route in parts.get("http", []) for name in route}
        if rule["kind"] == "AuthorizationPolicy":
            sources = [one["source"] for part in parts.get("rules", []) for one in part.get("from", [])]
            found |= {f"source {name}" for source in sources for name in source} | {f"action {parts.get('action', 'ALLOW')}"}
    return found


def not_shown(every: Mapping[str, set[str]], left_out: Iterable[str]) -> set[str]:
    """What entries cover but none of the judged ones does.

    :param every: entry -> its features
    """
    shown = set[str]().union(*(found for name, found in every.items() if name not in left_out))
    return set[str]().union(*every.values()) - shown


def test_core_entries_cover_the_whole_catalogue() -> None:
    every = {name: features(name) for name in entry.names()}
    assert set(LISTED["entries"]) <= set(every)
    assert set(tiers.core_entries()) == set(every) - set(LISTED["entries"])
    assert not_shown(every, LISTED["entries"]) == {f"expectation {name}" for name in LISTED["expectations"]}
    samples = {f"sample {folder.name}" for folder in (PROJECT / "samples").iterdir()}
    assert samples - set[str]().union(*every.values()) == set(), "a sample without an entry"


def test_an_entry_that_is_not_judged_with_the_others_is_judged_by_a_scenario() -> None:
    assert not set(tiers.TIERS["judged_by"]) & set(tiers.entries())
    for name, scenario in tiers.TIERS["judged_by"].items():
        assert name in entry.names()
        assert scenario not in LISTED["scenarios"]
        sources = [file.read_text() for file in PROJECT.glob(f"molecule/{scenario}/tests/*.py")]
        assert any(f'lab_entry="{name}", lab_variant=' in source for source in sources), name


def test_a_missing_entry_with_a_unique_feature_is_detected() -> None:
    every = {"a": {"client X", "sample s"}, "b": {"client X", "sample s"}, "c": {"client Y", "sample s"}}
    assert not_shown(every, []) == not_shown(every, ["a"]) == not_shown(every, ["b"]) == set()
    assert not_shown(every, ["c"]) == {"client Y"}
    assert not_shown(every, ["a", "b"]) == {"client X"}


def test_every_entry_in_the_core_tier_is_needed() -> None:
    """Each costs about ten seconds with its policy, and as many with its control."""
    every = {name: features(name) for name in entry.names()}
    missed = not_shown(every, LISTED["entries"])
    spare = [name for name in tiers.core_entries() if not_shown(every, [*LISTED["entries"], name]) == missed]
    assert spare == [], "list one of those that show the same under full_only, entries, of tests/tiers.yml"


def test_every_expectation_function_has_an_entry() -> None:
    shown = {f for name in entry.names() for f in features(name) if f.startswith("expectation ")}
    modules = (
        egress,
        grpc_routes,
        ingress,
        l4_routes,
        logs,
        machines,
        responses,
        quotas,
        resilience,
        security,
        shadow,
        traces,
        websockets,
    )
    defined = {
        f"expectation {name}"
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        if list(getattr(value, "__annotations__", {})) == ["objects", "request", "return"]
        if value.__annotations__["return"] == "Shares"
    }
    assert len(defined) > 20
    assert defined - shown == set()


# -- playbooks and roles ----------------------------------------------------------------------------------------------------


def steps(tree: Any, conditions: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    """(what, name) of everything that a play or task list includes under the core tier's conditions."""
    if isinstance(tree, list):
        for item in tree:
            yield from steps(item, conditions)
    if not isinstance(tree, dict):
        return
    when = tree.get("when", [])
    conditions = (*conditions, *(str(w) for w in (when if isinstance(when, list) else [when])))
    if any(word in re.sub("|".join(NEGATED), "", c) for c in conditions for word in CONDITIONS):
        return
    for key, value in tree.items():
        short = key.rpartition(".")[2]
        if short in ("include_role", "import_role"):
            yield "role", str(value["name"])
        elif short == "import_playbook":
            yield "playbook", str(value)
        elif short in ("include_tasks", "import_tasks"):
            yield "tasks", str(value if isinstance(value, str) else value["file"])
        elif key == "role":
            yield "role", str(value)
        else:
            yield from steps(value, conditions)


def reached(playbooks: Iterable[str], read: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The playbooks and roles reachable from some playbooks.

    :param read: path -> what is in the file; tasks of a role are at ``roles/NAME``, all of its files together
    """
    waiting = [f"playbooks/{name}" for name in playbooks]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or path not in read:
            continue
        seen.add(path)
        for what, name in steps(read[path]):
            name = name.replace("{{ lab_provider }}", "kind").strip('"')
            waiting.append(f"roles/{name}" if what == "role" else f"{path.rpartition('/')[0]}/{name}")
    return (
        {path.removeprefix("playbooks/") for path in seen if path.startswith("playbooks/") and "/tasks/" not in path},
        {path.removeprefix("roles/") for path in seen if path.startswith("roles/")},
    )


def project() -> dict[str, Any]:
    """Every playbook, task file and role."""
    found = {f"playbooks/{f.name}": yaml.safe_load(f.read_text()) for f in PROJECT.glob("playbooks/*.yml")}
    found |= {f"playbooks/tasks/{f.name}": yaml.safe_load(f.read_text()) for f in PROJECT.glob("playbooks/tasks/*.yml")}
    for role in (PROJECT / "roles").iterdir():
        found[f"roles/{role.name}"] = [yaml.safe_load(f.read_text()) for f in role.glob("tasks/*.yml")]
    return found


def played(path: str, source: str, listed: Iterable[str]) -> set[str]:
    """Playbooks that the tests in one file run, without those of full-tier tests."""
    if tiers.is_full_only(path, listed):
        return set()
    tree = ast.parse(source)
    kept = [n for n in tree.body if not tiers.is_full_only(f"{path}::{getattr(n, 'name', '')}", listed)]
    texts = [n.value for top in kept for n in ast.walk(top) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return {name for text in texts for name in re.findall(r"(?:^| )(\w+\.yml)$", text)}


def core_playbooks() -> set[str]:
    """Playbooks that Molecule's core scenarios converge with, and those that their tests run."""
    found = {"site.yml", "destroy_lab.yml"}  # used by scenario default to create and destroy
    for scenario in tiers.scenarios("core"):
        settings = yaml.safe_load((PROJECT / f"molecule/{scenario}/molecule.yml").read_text())
        found.add(Path(settings["ansible"]["playbooks"]["converge"]).name)
        for file in PROJECT.glob(f"molecule/{scenario}/tests/*.py"):
            found |= played(str(file.relative_to(PROJECT)), file.read_text(), LISTED["tests"])
    return found & {f.name for f in PROJECT.glob("playbooks/*.yml")}


def test_every_playbook_and_role_is_covered_or_listed() -> None:
    playbooks, roles = reached(core_playbooks(), project())
    assert {f.name for f in PROJECT.glob("playbooks/*.yml")} - playbooks == set(LISTED["playbooks"])
    assert {f.name for f in (PROJECT / "roles").iterdir()} - roles == set(LISTED["roles"])


def test_reachability_depends_on_conditions_and_callers() -> None:
    read = {
        "playbooks/a.yml": [
            {"import_playbook": "b.yml"},
            {"tasks": [
                {"ansible.builtin.include_role": {"name": "one"}},
                {"when": "lab_provider == 'existing'", "ansible.builtin.include_role": {"name": "two"}},
                {"when": "istio_gateway_type != 'ClusterIP'", "ansible.builtin.include_tasks": "tasks/c.yml"},
            ]},
        ],
        "playbooks/b.yml": [{"roles": [{"role": "three"}, {"role": "four", "when": "lab_foreign"}]}],
        "playbooks/tasks/c.yml": [{"block": [{"include_role": {"name": "{{ lab_provider }}_cluster"}}]}],
        "playbooks/d.yml": [],
        **{f"roles/{name}": [] for name in ("one", "two", "three", "four", "kind_cluster")},
    }  # fmt: skip
    assert reached(["a.yml"], read) == ({"a.yml", "b.yml"}, {"one", "three", "kind_cluster"})


@pytest.mark.parametrize(
    ("listed", "playbooks"),
    [([], {"x.yml", "y.yml"}), (["t.py::test_one"], {"y.yml"}), (["t.py"], set()), (["t.py::test_on"], {"x.yml", "y.yml"})],
)
def test_playbooks_count_only_for_tests_that_run(listed: list[str], playbooks: set[str]) -> None:
    source = 'def test_one():\n    play("x.yml")\n\n\ndef test_two():\n    play("--check y.yml", "some words")\n'
    assert played("t.py", source, listed) == playbooks
