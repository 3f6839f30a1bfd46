"""Serves verdicts to delivery tools over HTTP until interrupted: ``make open WHAT=gate``.

Flagger's webhooks read the status: 200 for PASS, 412 for anything else. Argo Rollouts' web metric reads ``verdict`` in a JSON
document: PASS, FAIL, or INCONCLUSIVE, which is also what every verdict becomes that is void, unknown, missing or too old.

- ``GET /argo/KIND/NAME`` and ``POST /flagger/KIND/NAME``: the last verdict; KIND is ``entries`` or ``namespaces``
- ``POST /argo/namespaces/NAME/judge`` and ``POST /flagger/namespaces/NAME/judge``: that of a run that is made now, where the
  namespace is the one that the gate was started for

Every request needs the token: ``Authorization: Bearer TOKEN``, or, as Flagger sends no headers, ``metadata.token`` in its body.
"""

from __future__ import annotations

import argparse
import hmac
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from gevent import subprocess
from gevent.pywsgi import WSGIServer

from loadtests import ending
from loadtests.verdict import Outcome

FOLDERS = {"entries": "results", "namespaces": "judged"}
"""What is judged -> folder of its reports in the lab's."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_AGE_SECONDS, OLDEST_SECONDS = 600.0, 86_400.0
"""How old a verdict may be unless ``max_age`` says so, and the largest value of that."""
SKEW_SECONDS, TICK_SECONDS = 1.0, 0.05
"""By how much a report may seem to be written after now, and before it was: the clock of files has ticks."""
MOST_BYTES = 65_536


@dataclass(frozen=True)
class Answer:
    """A verdict as delivery tools read it.

    :param verdict: PASS, FAIL or INCONCLUSIVE
    :param outcome: of the run; empty if there was none
    :param age: seconds since the report was written; None if there is none
    """

    subject: str
    verdict: str
    outcome: str
    age: float | None
    reasons: tuple[str, ...]


def inconclusive(subject: str, reason: str, outcome: str = "", age: float | None = None) -> Answer:
    """The answer where nothing is known."""
    return Answer(subject, Outcome.INCONCLUSIVE, outcome, age, (reason,))


def answer_of(subject: str, report: Mapping[str, Any], written: float, since: float) -> Answer:
    """What a report says, if it is not too old.

    :param report: as ``report.plain`` has it
    :param written: when it was, in seconds of the epoch
    :param since: when it may have been written at the earliest, likewise
    """
    outcome, reasons = str(report.get("outcome", "")), tuple(map(str, report.get("reasons", ())))
    age = round((now := time.time()) - written, 1)
    if written < since:
        return inconclusive(subject, f"the verdict is {age:.0f} s old, and may be {now - since:.0f} s", outcome, age)
    if age < -SKEW_SECONDS:
        return inconclusive(subject, "the report was written after now: the clock was set back", outcome, age)
    decided = outcome in (Outcome.PASS, Outcome.FAIL)
    return Answer(subject, outcome if decided else Outcome.INCONCLUSIVE, outcome, age, reasons)


def last(state: Path, kind: str, name: str, since: float) -> Answer:
    """The last verdict about an entry or a namespace.

    :param state: the lab's folder
    :param kind: one of ``FOLDERS``
    :param since: seconds of the epoch
    """
    subject, file = f"{kind}/{name}", state / FOLDERS[kind] / name / "verdict.json"
    try:
        written, report = file.stat().st_mtime, json.loads(file.read_text())
    except FileNotFoundError:
        return inconclusive(subject, "there is no verdict")
    except (OSError, ValueError) as error:
        return inconclusive(subject, f"{file.name} cannot be read: {' '.join(str(error).split())}")
    if not isinstance(report, dict):
        return inconclusive(subject, f"{file.name} is no report")
    return answer_of(subject, report, written, since)


def judged_now(state: Path, namespace: str, run: Callable[[], int]) -> Answer:
    """The verdict of a run that is made now.

    :param run: makes it, and returns its exit status
    """
    begun = time.time() - TICK_SECONDS
    status = run()
    found = last(state, "namespaces", namespace, begun)
    if status and found.outcome in ("", Outcome.PASS):
        return inconclusive(found.subject, f"the run ended with status {status}", found.outcome, found.age)
    return found


class BadRequestError(Exception):
    """A request that cannot be answered; the message is one line."""


def max_age_of(text: str | None) -> float:
    """:raises BadRequestError: if it is no number of seconds."""
    if text is None:
        return MAX_AGE_SECONDS
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= OLDEST_SECONDS:
        raise BadRequestError(f"max_age: {text!r} was given; accepted: 1 to {OLDEST_SECONDS:.0f} seconds")
    return float(text)


def token_given() -> str:
    """The token in the request's header, or in Flagger's body; '' if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    body = request.get_json(silent=True)
    metadata = body.get("metadata") if isinstance(body, dict) else None
    return str(metadata.get("token", "")) if isinstance(metadata, dict) else ""


def plain(words: str, status: int) -> Response:
    """A line of text."""
    return Response(words, status, mimetype="text/plain")


def for_flagger(answer: Answer) -> Response:
    """200 for PASS, else 412 with the reason, which Flagger puts into its event."""
    if answer.verdict == Outcome.PASS:
        return plain("PASS\n", 200)
    return plain(f"{answer.verdict}: {'; '.join(answer.reasons) or answer.subject}\n", 412)


FORMS: dict[str, Callable[[Answer], Response]] = {"argo": lambda answer: jsonify(asdict(answer)), "flagger": for_flagger}
METHODS = {"argo": "GET", "flagger": "POST"}
"""By which each asks for a verdict."""


def gate(state: Path, token: str, namespace: str, run: Callable[[], int]) -> Flask:
    """The application.

    :param state: the lab's folder
    :param namespace: that may be judged; '' for none
    :param run: judges it, and returns the exit status
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    running: list[str] = []

    @app.before_request
    def refused() -> Response | None:
        """401 without the token, compared in constant time."""
        if hmac.compare_digest(token_given().encode(), token.encode()):
            return None
        return plain("the token is missing or wrong\n", 401)

    @app.route("/<any(argo, flagger):form>/<any(entries, namespaces):kind>/<name>", methods=["GET", "POST"])
    def verdict(form: str, kind: str, name: str) -> Response:
        """The last verdict."""
        if request.method != METHODS[form]:
            return plain(f"{form} asks with {METHODS[form]}\n", 405)
        if not NAME.fullmatch(name):
            return plain("no such name\n", 404)
        try:
            since = time.time() - max_age_of(request.args.get("max_age"))
            return FORMS[form](last(state, kind, name, since))
        except BadRequestError as error:
            return plain(f"{error}\n", 400)

    @app.post("/<any(argo, flagger):form>/namespaces/<name>/judge")
    def judge(form: str, name: str) -> Response:
        """The verdict of a run that is made now; there is one at a time."""
        if not namespace or name != namespace:
            return plain(f"this gate was not started with NAMESPACE={name if NAME.fullmatch(name) else ''}\n", 403)
        if running:
            return FORMS[form](inconclusive(f"namespaces/{name}", "another run is in flight"))
        running.append(name)
        try:
            return FORMS[form](judged_now(state, name, run))
        finally:
            running.clear()

    return app


def main() -> int:
    """0 when interrupted; 1 if it was refused, with one line."""
    parser = argparse.ArgumentParser(description="Serves verdicts to delivery tools.")
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1", help="that the gate listens on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--namespace", default="", help="that may be judged by a request")
    parser.add_argument("command", nargs="*", help="that judges the namespace, with its arguments")
    options = parser.parse_args()
    if options.namespace and not NAME.fullmatch(options.namespace):
        print(f"NAMESPACE: {options.namespace!r} was given; accepted: a namespace's name; nothing was changed", file=sys.stderr)
        return 1
    token = options.token_file.read_text().strip()
    if not token:
        print(f"{options.token_file} is empty, which would let everybody in; remove it, and start again", file=sys.stderr)
        return 1
    app = gate(options.state, token, options.namespace, lambda: int(subprocess.call(options.command)))
    server = WSGIServer((options.address, options.port), app, log=None)
    try:
        server.start()
    except (OSError, ValueError) as error:
        given = f"{options.address}:{options.port} was given"
        print(f"HOST, UI_PORT: {given}: {error}; accepted: an address of this machine and a free port", file=sys.stderr)
        return 1
    print(f"gate: http://{options.address}:{options.port}   token: {options.token_file}   (Ctrl-C to stop)", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main, lambda: "the gate is closed, and a run that it had started has ended", status=0))
