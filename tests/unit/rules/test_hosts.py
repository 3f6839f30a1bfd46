"""Host names: which ones a name with a wildcard covers, and which of several is taken."""

from __future__ import annotations

import pytest

from loadtests.rules import hosts


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*", "a", True),
        ("*", "*.lab", True),
        ("a.lab", "a.lab", True),
        ("a.lab", "b.lab", False),
        ("a.lab", "*.lab", False),
        ("*.lab", "a.lab", True),
        ("*.lab", "b.a.lab", True),
        # The dot counts.
        ("*.lab", "alab", False),
        ("*.lab", "lab", False),
        ("*.lab", "a.slab", False),
        ("*.lab", "a.lab.internal", False),
        ("*.lab", "*.lab", True),
        ("*.lab", "*.a.lab", True),
        ("*.lab", "*.slab", False),
        ("*.lab", "*", False),
        ("*.a.lab", "*.lab", False),
    ],
)
def test_what_a_host_covers(pattern: str, host: str, covered: bool) -> None:
    assert hosts.covers(pattern, host) is covered
    assert hosts.overlap(pattern, host) is hosts.overlap(host, pattern)
    assert hosts.overlap(pattern, host) or not covered


@pytest.mark.parametrize(
    ("host", "specific", "domain"),
    [
        ("a.lab", "a.lab", "a.lab"),
        ("b.lab", "*.lab", "*.lab"),
        ("c.b.lab", "*.b.lab", "*.b.lab"),
        ("blab", "*", "*"),
        ("b.slab", "*", "*"),
        ("*.c.lab", "*.lab", "*.lab"),
        ("*.lab", "*.lab", "*.lab"),
    ],
)
def test_of_several_the_most_specific_is_taken(host: str, specific: str, domain: str) -> None:
    known = ("*", "*.lab", "a.lab", "*.b.lab")
    assert hosts.most_specific(known, host) == specific
    assert hosts.chosen_domain(known, host) == domain


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.shop", "reviews.shop"),
        ("*", "*"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_a_name_without_a_dot_is_a_service_of_the_rules_own_namespace(host: str, name: str) -> None:
    assert hosts.long_name(host, "shop", "cluster.local") == name
