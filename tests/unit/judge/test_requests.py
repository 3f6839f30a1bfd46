"""Values that regular expressions take, and conditions that cover one another."""

from __future__ import annotations

import re

import pytest

from loadtests.judge.requests import values_of
from loadtests.judge.shadows import covers
from loadtests.rules.layers import Layers, Part
from loadtests.rules.view import View


@pytest.mark.parametrize(
    "pattern",
    ["/api/v[0-9]+/.*", ".*", "(foo|bar)+", "/[^/]+/x", "^/a$", r"\d{3}-\w+", "(?i)firefox", "[A-Z]{2,4}", "/(a|b)?c", ".+@.+"],
)
def test_a_sampled_value_is_taken_by_its_expression_and_the_shortest_comes_first(pattern: str) -> None:
    values = values_of(pattern)
    assert values
    assert [value for value in values if re.fullmatch(pattern, value) is None or not value.isascii()] == []
    assert [len(value) for value in values] == sorted(len(value) for value in values)
    assert values == values_of(pattern)


def test_of_what_is_no_expression_there_is_no_value() -> None:
    assert values_of("(") == []
    assert values_of("a(?!a)a") == []


def layers(condition: dict[str, object]) -> Layers:
    spec = {"http": [{"match": [condition]}]}
    rule = View({"kind": "VirtualService", "metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    return Layers(Part(rule["spec"]["http"][0]["match"][0], rule))


@pytest.mark.parametrize(
    ("one", "other", "does"),
    [
        ({"uri": {"prefix": "/"}}, {"uri": {"exact": "/a"}}, True),
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/"}}, False),
        ({"uri": {"prefix": "/"}, "headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"exact": "1"}}}, True),
        ({"headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"exact": "2"}}}, False),
        ({"headers": {"x": {}}}, {"headers": {"x": {"regex": "a+"}}}, True),
        ({"headers": {"x": {"exact": "1"}}}, {"uri": {"exact": "/a"}}, False),
        ({"uri": {"regex": "/a"}}, {"uri": {"exact": "/a"}}, False),
        ({"withoutHeaders": {"x": {}}}, {"withoutHeaders": {"x": {}}, "uri": {"exact": "/a"}}, True),
        ({"withoutHeaders": {"x": {}}}, {"uri": {"exact": "/a"}}, False),
        ({"uri": {"exact": "/a"}, "ignoreUriCase": True}, {"uri": {"exact": "/a"}}, False),
        ({"queryParams": {"q": {"exact": "1"}}}, {"queryParams": {"q": {"exact": "1"}, "r": {"exact": "2"}}}, True),
    ],
    ids=str,
)
def test_a_condition_covers_only_what_it_surely_does(one: dict[str, object], other: dict[str, object], does: bool) -> None:
    assert covers(layers(one), layers(other)) is does
    assert covers(None, layers(other))
    assert covers(layers(one), None) is (one == {"uri": {"prefix": "/"}})
