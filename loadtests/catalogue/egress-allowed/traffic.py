"""Pays while a ServiceEntry registers msgd."""

from loadtests.samples.billing import MSGD_REACHED, PAY, paid

QUESTION = MSGD_REACHED
TRAFFIC = {"pay": paid(PAY)}
