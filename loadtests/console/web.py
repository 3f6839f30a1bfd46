"""The browser part: a verdict tab in Locust's own page, the console's pages, a login, and protection against other sites."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, make_response, redirect, request, session, url_for
from flask_login import UserMixin, login_user

from loadtests.console import pages
from loadtests.entries import entry
from loadtests.reports import report
from loadtests.reports.report import Progress
from loadtests.verdict import Verdict

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

TAB = "mesh-verdict"
COLUMNS = {
    "traffic": "Traffic", "version": "Version", "expected": "Expected", "observed": "Observed", "low": "From",
    "high": "To", "requests": "Requests", "needed": "Still needed", "verdict": "Verdict",
}  # fmt: skip
OF_LOCUSTS_PAGE = {"host", "run_time", "user_classes", "profile"}
"""Options in Locust's form besides ``FIELDS``."""
READ_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Field:
    """A field in the form that starts a run."""

    accepted: str
    fits: Callable[[str], bool]
    required: bool = True


FIELDS = {
    "user_count": Field("1 to 500", lambda text: bool(re.fullmatch("[0-9]{1,3}", text)) and 1 <= int(text) <= 500),
    "spawn_rate": Field(
        "a number above 0, up to 500 users a second",
        lambda text: bool(re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", text)) and 0 < float(text) <= 500,
    ),
    "entry": Field("an entry of the catalogue", lambda text: text in entry.names(), required=False),
}


class Operator(UserMixin):
    """The page's only identity: Locust caches responses, which would leak sessions between several users."""

    id = "operator"


def rows(verdict: Verdict) -> list[dict[str, Any]]:
    """The tab's table: text and numbers only, because anything else breaks Locust's page."""
    table = [
        {
            "traffic": c.name, "version": s.version or "service", "expected": f"{s.expected:.1%}",
            "observed": f"{s.observed:.1%}", "low": f"{s.low:.1%}", "high": f"{s.high:.1%}", "requests": s.count,
            "needed": c.still_needed, "verdict": str(c.outcome),
        }
        for c in verdict.classes
        for s in c.shares
    ]  # fmt: skip
    whole = dict.fromkeys(COLUMNS, "") | {"traffic": "whole run", "requests": verdict.n, "verdict": str(verdict.outcome)}
    return [*table, whole | {"needed": verdict.still_needed}]


def extend(environment: Environment, progress: Callable[[], Progress]) -> None:
    """Add the tab, the login and the protection to Locust's web UI.

    :param progress: of the latest run
    """
    ui = environment.web_ui
    columns = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    ui.template_args["extended_tabs"] = [{"title": "Mesh verdict", "key": TAB}]
    ui.template_args["extended_tables"] = [{"key": TAB, "structure": columns}]
    target = environment.parsed_options.host or ""
    ui.app.before_request(refused)
    ui.app.before_request(lambda: elsewhere(target))
    ui.app.before_request(lambda: unfit(environment))
    ui.app.before_request(lambda: stop_beginning(environment, progress))
    ui.app.after_request_funcs.setdefault(None, []).insert(0, strip_cors)
    ui.app.after_request(lambda response: with_rows(response, progress))
    base = getattr(environment.parsed_options, "web_base_path", "") or ""
    blueprint = Blueprint("mesh", __name__, url_prefix=f"{base}/mesh", template_folder="templates", static_folder="static")

    @blueprint.get("/verdict")
    @ui.auth_required_if_enabled
    def verdict() -> Response:
        """The verdict as JSON; the page and tests poll it."""
        run = progress()
        now = run.verdict
        return jsonify(
            outcome=str(now.outcome), reasons=list(now.reasons), n=now.n, finished=run.finished, entry=run.entry, rows=rows(now)
        )

    @blueprint.get("/live")
    @ui.auth_required_if_enabled
    def live() -> Response:
        """The verdict with charts, as an HTML fragment in Locust's page."""
        return make_response(report.live(progress()))

    pages.add(blueprint, ui, environment)
    ui.app.after_request(with_console)
    ui.app.register_blueprint(blueprint)
    if ui.web_login:
        add_login(ui, base, Path(environment.parsed_options.secret_file).read_text().strip())


def refused() -> Response | None:
    """403 for an unexpected Host (DNS rebinding) and for a write from another site; otherwise None."""
    if (urlsplit(f"//{request.host}").hostname or "") not in ("127.0.0.1", "localhost", "::1"):
        return make_response("this host name is not served\n", 403)
    if request.method not in READ_METHODS:
        origin = request.headers.get("Origin")
        if origin is None and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return make_response("another site may not write here\n", 403)
        if origin is not None and urlsplit(origin).netloc != request.host:
            return make_response("another origin may not write here\n", 403)
    return None


def elsewhere(target: str) -> Response | None:
    """403 for a run against a host other than the lab's own gateway; otherwise None.

    :param target: the host that Locust was started with
    """
    if request.endpoint == "locust.swarm" and request.form.get("host", target).rstrip("/") not in ("", target.rstrip("/")):
        return make_response(f"load goes to this lab only: {target}\n", 403)
    return None


def unfit(environment: Environment) -> Response | None:
    """The refusal of a run that cannot be judged, in the format of Locust's page; otherwise None."""
    if request.endpoint != "locust.swarm":
        return None
    problems = [
        f"{name}: {request.form.get(name, '')!r} was given; accepted: {field.accepted}"
        for name, field in FIELDS.items()
        if (field.required or name in request.form) and not field.fits(request.form.get(name, ""))
    ]
    # Locust accepts any of its options from a form, even the kubeconfig.
    options = vars(environment.parsed_options).keys() - FIELDS.keys() - OF_LOCUSTS_PAGE
    problems += [f"{name}: was given; accepted: no such field" for name in request.form if name in options]
    return (
        jsonify(success=False, message=f"{'; '.join(problems)}; nothing was started", host=environment.parsed_options.host)
        if problems
        else None
    )


def stop_beginning(environment: Environment, progress: Callable[[], Progress]) -> None:
    """Stop a run that is still waiting for the proxies: for Locust it has not begun, so Locust's own stop ignores it."""
    if request.endpoint == "locust.stop" and progress().beginning:
        environment.runner.spawning_greenlet.kill(block=True)


def strip_cors(response: Response) -> Response:
    """Locust allows any origin; the console allows only its own."""
    for name in [n for n, _ in response.headers if n.lower().startswith("access-control-")]:
        del response.headers[name]
    return response


def with_console(response: Response) -> Response:
    """Add a link to the console's pages and the live verdict to Locust's page, which has no extension point for them."""
    if request.endpoint == "locust.index" and response.status_code == 200 and response.mimetype == "text/html":
        css, script = (url_for("mesh.static", filename=name) for name in ("live.css", "live.js"))
        section = f'id="istio-lab-live" data-live="{url_for("mesh.live")}" data-tab="{TAB}" aria-label="Mesh verdict" hidden'
        added = (
            f'<link rel="stylesheet" href="{css}"><script type="module" src="{script}"></script>'
            f"<section {section}></section>"
            f'<a id="istio-lab-console" href="{url_for("mesh.catalogue")}">istio-lab: catalogue</a></body>'
        )
        response.set_data(response.get_data(as_text=True).replace("</body>", added, 1))
    return response


def with_rows(response: Response, progress: Callable[[], Progress]) -> Response:
    """Add the table to the response that Locust's page polls."""
    if request.endpoint == "locust.request_stats" and response.status_code == 200 and response.is_json:
        data, run = response.get_json(), progress()
        data["extended_stats"] = [{"key": TAB, "data": rows(run.verdict)}]
        if run.pending:
            # Locust's page stops polling when a run stops, but the final verdict arrives a moment later.
            data["state"] = "running"
        response.set_data(json.dumps(data))
    return response


def add_login(ui: WebUI, base: str, password: str) -> None:
    """Add a login with one operator and one random password; the cookie is valid for this page only."""
    ui.app.config.update(
        SECRET_KEY=secrets.token_hex(32), SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_NAME=f"istio-lab-{secrets.token_hex(4)}",
    )  # fmt: skip
    ui.login_manager.user_loader(lambda uid: Operator() if uid == Operator.id else None)
    ui.auth_args = {"username_password_callback": f"{base}/login_submit", "title": "istio-lab"}

    @ui.app.post(f"{base}/login_submit")
    def login_submit() -> Any:
        """Check the password in constant time."""
        if hmac.compare_digest(request.form.get("password", "").encode(), password.encode()):
            login_user(Operator())
            return redirect(url_for("locust.index"))
        session["auth_error"] = "Wrong password"
        return redirect(url_for("locust.login"))
