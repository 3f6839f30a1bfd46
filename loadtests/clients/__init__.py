"""Clients, one protocol per file."""
