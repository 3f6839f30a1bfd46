"""One run: Locust's listeners, users and workers."""
