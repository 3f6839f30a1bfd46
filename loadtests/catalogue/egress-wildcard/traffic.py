"""Pays while a wildcard registers msgd."""

from loadtests.samples.billing import MSGD_REACHED, PAY, paid

QUESTION = MSGD_REACHED
TRAFFIC = {"pay": paid(PAY)}
