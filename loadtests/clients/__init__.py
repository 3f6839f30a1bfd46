"""Clients, one protocol a file."""
