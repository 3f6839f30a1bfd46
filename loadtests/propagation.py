"""Waits until the proxies hold an entry's rules: ``python -m loadtests.propagation ENTRY``."""

from __future__ import annotations

import argparse
import sys

from loadtests import entry
from loadtests.cluster import Cluster, ClusterError


def main() -> int:
    """0 once every caller's proxy holds the rules; else 1, with what each one holds instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entry")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", default="bookinfo")
    parser.add_argument("--timeout", type=float, default=60.0)
    options = parser.parse_args()
    cluster = Cluster(options.kubeconfig, options.namespace)
    try:
        question = entry.load(options.entry).question
        rules = question.read(cluster)
        late = list(rules.declared.broken) or question.wait_in_step(cluster, rules, options.timeout)
    except (ClusterError, KeyError) as error:
        late = [str(error)]
    if late:
        print(f"the proxies do not hold the rules after {options.timeout:.0f} s: {'; '.join(late)}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
