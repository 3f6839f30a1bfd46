"""What `locust -f` is given: the user and the hooks."""

from locust import events

from loadtests.ending import hold_signals
from loadtests.run.hooks import install
from loadtests.run.users import MeshUser

__all__ = ["MeshUser"]
hold_signals()
install(events)
