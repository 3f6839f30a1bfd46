"""Users choose a traffic class that still needs requests."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.unit.test_inputs import PROJECT

# In a separate process: Locust patches the standard library.
SCRIPT = """
import json, sys
from types import SimpleNamespace
from loadtests.run import users
from loadtests.entries.question import ResponseCheck

settled, about_rate, found = (json.loads(argument) for argument in sys.argv[1:])
started, counted = [], []
class Traffic:
    def __init__(self, name): self.name = name
    def start(self, client): started.append((self.name, len(list(client.cookiejar))))
    def visit(self, client):
        client.cookiejar.set_cookie(cookie)
        return found
from http.cookiejar import Cookie
cookie = Cookie(0, "user", "jason", None, False, "lab", False, False, "/", False, False, None, False, None, None, {})
question = ResponseCheck(kinds=(), expectation=None, classes={}, about_rate=about_rate)
users.load = lambda name: SimpleNamespace(question=question, traffic={n: Traffic(n) for n in ("a", "b", "c")})
mesh = SimpleNamespace(epoch=1, spent=False, settled=frozenset(), count=lambda name, outcome: counted.append(name))
environment = SimpleNamespace(
    parsed_options=SimpleNamespace(entry="x"), mesh=mesh, events=SimpleNamespace(request=None))
users.MeshUser.host = "http://lab"
user = users.MeshUser(environment)
user.on_start()
user.visit()
mesh.settled = frozenset(settled)
user.visit()
user.visit()
print(json.dumps([started, counted]))
"""


@pytest.mark.parametrize(
    ("settled", "about_rate", "started", "counted"),
    [
        ([], False, ["a"], ["a", "a", "a"]),
        (["b"], False, ["a"], ["a", "a", "a"]),
        (["a", "c"], False, ["a", "b"], ["a", "b", "b"]),
        (["a", "b", "c"], False, ["a"], ["a", "a", "a"]),
        (["a", "c"], True, ["a"], ["a", "a", "a"]),
    ],
    ids=["none has passed", "another has passed", "its own has passed", "all have passed", "the number matters"],
)
def test_a_user_leaves_a_class_that_has_passed(
    settled: list[str], about_rate: bool, started: list[str], counted: list[str]
) -> None:
    command = [sys.executable, "-c", SCRIPT, json.dumps(settled), json.dumps(about_rate), '"HTTP 200"']
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    # A class starts without cookies, even if somebody was logged in before.
    assert json.loads(done.stdout) == [[[name, 0] for name in started], counted]


def test_each_outcome_of_a_visit_counts() -> None:
    command = [sys.executable, "-c", SCRIPT, "[]", "false", '["HTTP 200", "error"]']
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[1] == ["a"] * 6


PACES = """
import json, sys
from time import perf_counter
from types import SimpleNamespace
from loadtests.run import users
from loadtests.entries.question import ResponseCheck

question = ResponseCheck(kinds=(), expectation=None, classes={}, **json.loads(sys.argv[1]))
wait, waits = users.paced(question), []
for warming_up in (True, False):
    environment = SimpleNamespace(mesh=SimpleNamespace(warming_up=warming_up))
    waits.append(wait(SimpleNamespace(environment=environment, _cp_last_run=perf_counter(), _cp_last_wait_time=0)))
print(json.dumps(waits))
"""


@pytest.mark.parametrize(
    ("about", "warming_up", "counting"),
    [({}, 0.5, 0.1), ({"about_time": True}, 0.5, 0.5), ({"about_rate": True}, 0.2, 0.2)],
    ids=["a share", "a time", "a rate"],
)
def test_what_does_not_count_is_sent_slowly_unless_a_rate_is_judged(
    about: dict[str, bool], warming_up: float, counting: float
) -> None:
    command = [sys.executable, "-c", PACES, json.dumps(about)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx([warming_up, counting], abs=0.05)
