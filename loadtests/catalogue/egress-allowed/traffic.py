"""Pays while a ServiceEntry knows msgd."""

from loadtests.samples.billing import MSGD_REACHED, PAY, paid

QUESTION = MSGD_REACHED
TRAFFIC = {"pay": paid(PAY)}
