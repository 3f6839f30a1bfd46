"""Pays, and counts which release of svcb handled the call."""

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.promises import released
from loadtests.samples.billing import PAY, TO_SVCA, TO_SVCB, paid, release

QUESTION = ResponseCheck(
    namespace="billing",
    kinds=ROUTING,
    promise=released,
    classes={"pay": {"call": TO_SVCB, **TO_SVCA}},
)
TRAFFIC = {"pay": paid(PAY, release)}
