"""Calls echo from client, which has a sidecar, and from legacy, which has none."""

from loadtests.samples.echo import CALLERS, ENCRYPTED

QUESTION = ENCRYPTED
TRAFFIC = CALLERS
