"""Which entries `make verify` judges on a cluster, and which it skips, with the reason."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests import ending
from loadtests.clients.traced import ZIPKIN
from loadtests.entries import entry, policy
from loadtests.rules.gateway_api import is_of_gateway_api

UNREACHABLE = "pods of this cluster cannot reach what their sample runs outside the cluster"
NO_TELEMETRY = "they look traces up in Zipkin, which make telemetry installs"
NO_KIND = "the Gateway API of this cluster lacks kinds of their rules"
NO_IMAGE = "the image of their sample is built locally, and no lab_registry was given"


@dataclass(frozen=True)
class Choice:
    """What a run judges.

    :param judged: entry -> the namespace of its sample
    :param skipped: reason -> entries
    """

    judged: Mapping[str, str]
    skipped: Mapping[str, Sequence[str]]


def kinds_of(name: str) -> set[str]:
    """Kinds of the Gateway API that an entry's rules have."""
    return {rule["kind"] for rule in policy.read(entry.CATALOGUE / name / "policy.yaml") if is_of_gateway_api(rule)}


def choose(
    namespaces: Mapping[str, str], unreachable: Collection[str], without_image: Collection[str], without: Mapping[str, str]
) -> Choice:
    """Skip what cannot run on the cluster.

    :param namespaces: entry -> the namespace of its sample
    :param unreachable: samples whose external service is out of reach of the cluster's pods
    :param without_image: samples whose image does not reach the cluster's nodes
    :param without: entry -> why it cannot run, of entries that miss something else than their sample
    """
    reasons = {name: reason for name, reason in without.items() if name in namespaces} | {
        name: UNREACHABLE if namespace in unreachable else NO_IMAGE
        for name, namespace in namespaces.items()
        if namespace in {*unreachable, *without_image}
    }
    skipped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        skipped.setdefault(reason, []).append(name)
    return Choice({name: namespace for name, namespace in namespaces.items() if name not in reasons}, skipped)


def main() -> int:
    """``python -m loadtests.entries.choice``: the choice as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--entries", default="", help="those asked for, separated by commas; all if empty")
    parser.add_argument("--samples", type=Path, required=True, help="folder of the samples")
    parser.add_argument("--no-external-services", action="store_true", help="pods cannot reach containers of this machine")
    parser.add_argument("--no-telemetry", action="store_true", help="Zipkin is not in the cluster")
    parser.add_argument("--gateway-api", help="the kinds of v1 that the cluster serves, separated by commas; all if not given")
    parser.add_argument("--without-image", default="", help="samples whose image does not reach the nodes, separated by commas")
    given = parser.parse_args()
    asked = given.entries.split(",") if given.entries else entry.names()
    if unknown := [name for name in asked if name not in entry.names()]:
        print(f"{', '.join(unknown)} was given; accepted: names that make catalogue lists", file=sys.stderr)
        return 1
    external = {file.parent.name for file in given.samples.glob("*/outside.yml")} if given.no_external_services else set()
    questions = {name: entry.load(name).question for name in entry.names() if name in asked}
    namespaces = {name: question.namespace for name, question in questions.items()}
    without = {name: NO_TELEMETRY for name, question in questions.items() if given.no_telemetry and ZIPKIN in question.requires}
    if given.gateway_api is not None:
        without |= {name: NO_KIND for name in questions if kinds_of(name) - {*given.gateway_api.split(",")}}
    choice = choose(namespaces, external, given.without_image.split(","), without)
    skipped = [f"not judged, because {reason}: {', '.join(names)}" for reason, names in choice.skipped.items()]
    print(json.dumps({"namespaces": choice.judged, "skipped": skipped}))
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
