"""Routing as istiod translates it: what the lab's reader of rules is set against."""
