"""Pays while no rule registers msgd, the external last hop; msgd's own count is the second source."""

from loadtests.samples.billing import MSGD_REACHED, PAY, paid

QUESTION = MSGD_REACHED
TRAFFIC = {"pay": paid(PAY)}
