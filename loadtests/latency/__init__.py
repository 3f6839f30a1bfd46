"""Latency at a given rate: generator, statistics, hops and charts."""
