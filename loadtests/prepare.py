"""Makes what an entry needs beside its rules (certificates, keys): ``python -m loadtests.prepare ENTRY``."""

from __future__ import annotations

import argparse
import sys

from loadtests import entry
from loadtests.cluster import Cluster, ClusterError


def main() -> int:
    """0 when all is there, with the word ``made`` if anything was not; else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entry")
    parser.add_argument("--kubeconfig", required=True)
    options = parser.parse_args()
    try:
        found = entry.load(options.entry)
        if found.prepare and found.prepare(Cluster(options.kubeconfig, found.question.namespace)):
            print("made")
    except (ClusterError, KeyError) as error:
        print(f"{options.entry}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
