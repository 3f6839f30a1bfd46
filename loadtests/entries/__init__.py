"""Catalogue entries: the loader, their questions, apply and verify."""
