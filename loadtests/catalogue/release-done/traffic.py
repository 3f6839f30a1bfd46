"""Pays, and counts which release of svcb handled the call."""

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import released
from loadtests.samples.billing import BY_SVCB, PAY, paid, release

QUESTION = ResponseCheck(
    namespace="billing",
    kinds=ROUTING,
    expectation=released,
    classes={"pay": BY_SVCB},
)
TRAFFIC = {"pay": paid(PAY, release)}
