"""What `locust -f` is given: the user and the hooks."""

from locust import events

from loadtests.hooks import install
from loadtests.users import MeshUser

__all__ = ["MeshUser"]
install(events)
