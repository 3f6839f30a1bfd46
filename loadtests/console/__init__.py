"""The browser part of the load tests."""
