"""Judges the rules of any namespace: plans requests from them, sends them, and reads who answered from the caller's proxy."""
