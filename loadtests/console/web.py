"""The browser part: what the application in ``app/`` asks Locust's web UI for, a login, and protection against other sites."""

from __future__ import annotations

import dataclasses
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

from loadtests.console import pages, series, settings_page
from loadtests.console.series import Series
from loadtests.entries import entry
from loadtests.reports import report
from loadtests.reports.report import Progress
from loadtests.verdict import FAIL_ALPHA, PASS_ALPHA

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and no script in a page; the component library writes its styles into the page."""
OF_LOCUSTS_PAGE = {"host", "run_time", "user_classes", "profile"}
"""Options in Locust's form besides ``FIELDS``."""
RUN = ("entry", "beginning", "pending", "finished", "generator", "margin", "remarks", "epoch")
"""Fields of a run's progress that its page shows as they are."""
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


def shown(run: Progress, epoch: int = -1, since: int = 0) -> dict[str, Any]:
    """A run as its page shows it, with the part of its history that the page does not have yet.

    :param epoch: of the history that the page has
    :param since: how many moments of it the page has
    """
    known = since if epoch == run.epoch else 0
    fields = dataclasses.asdict(run.verdict) | {"still_needed": run.verdict.still_needed}
    fields |= {name: getattr(run, name) for name in RUN}
    fields |= {"known": known, "history": [dataclasses.asdict(moment) for moment in run.history[known:]]}
    fields |= {"namespace": pages.namespace_of(run.entry), "service": pages.service_of(run.entry)}
    fields |= {"fail_alpha": FAIL_ALPHA, "pass_alpha": PASS_ALPHA}
    found: dict[str, Any] = report.jsonable(fields)
    return found


def extend(environment: Environment, progress: Callable[[], Progress]) -> None:
    """Add the console's endpoints, the login and the protection to Locust's web UI.

    :param progress: of the latest run
    """
    ui = environment.web_ui
    options = environment.parsed_options
    ui.template_args["console"] = {
        "namespaces": pages.namespaces(), "others": pages.others(options.judged), "fields": settings_page.fields(),
        "login": ui.web_login,
    }  # fmt: skip
    target = options.host or ""
    ui.app.before_request(refused)
    ui.app.before_request(lambda: elsewhere(target))
    ui.app.before_request(lambda: unfit(environment))
    ui.app.before_request(lambda: stop_beginning(environment, progress))
    ui.app.after_request_funcs.setdefault(None, []).insert(0, strip_cors)
    ui.app.after_request(lambda response: with_state(response, progress))
    ui.app.after_request(with_policy)
    base = getattr(options, "web_base_path", "") or ""
    blueprint = Blueprint("mesh", __name__, url_prefix=f"{base}/mesh")

    @blueprint.get("/verdict")
    @ui.auth_required_if_enabled
    def verdict() -> Response:
        """The current run; the page and tests poll it."""
        epoch, since = (request.args.get(name, default, type=int) for name, default in (("epoch", -1), ("since", 0)))
        return jsonify(shown(progress(), epoch, since))

    entries = pages.add(blueprint, ui, environment, progress)
    ui.app.before_request(lambda: yields(entries))
    ui.app.register_blueprint(blueprint)
    if ui.web_login:
        add_login(ui, base, Path(options.secret_file).read_text().strip())


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


def yields(entries: Series) -> Response | None:
    """409 for a run beside a series of entries, which Locust's own stop ends; otherwise None."""
    if request.endpoint == "locust.stop":
        entries.stop()
    if request.endpoint == "locust.swarm" and entries.active:
        return make_response(jsonify(success=False, message=series.ACTIVE), 409)
    return None


def stop_beginning(environment: Environment, progress: Callable[[], Progress]) -> None:
    """Stop a run that is still waiting for the proxies: for Locust it has not begun, so Locust's own stop ignores it."""
    if request.endpoint == "locust.stop" and progress().beginning:
        environment.runner.spawning_greenlet.kill(block=True)


def strip_cors(response: Response) -> Response:
    """Locust allows any origin; the console allows only its own."""
    for name in [n for n, _ in response.headers if n.lower().startswith("access-control-")]:
        del response.headers[name]
    return response


def with_policy(response: Response) -> Response:
    """Let the page load nothing from elsewhere, and nobody frame it."""
    if request.endpoint == "locust.index":
        response.headers["Content-Security-Policy"] = POLICY
    return response


def with_state(response: Response, progress: Callable[[], Progress]) -> Response:
    """Let Locust's page poll for as long as there is something to come.

    For Locust, a run has not begun while it waits for the proxies, and has ended before its final verdict arrives.
    """
    if request.endpoint == "locust.request_stats" and response.status_code == 200 and response.is_json:
        data, run = response.get_json(), progress()
        if run.beginning or run.pending:
            data["state"] = "spawning" if run.beginning else "running"
            response.set_data(json.dumps(data))
    return response


def logged_out() -> Any:
    """The login instead of the page; 401 for its requests, which a redirection would answer with the login's HTML."""
    if request.endpoint == "locust.index":
        return redirect(url_for("locust.login"))
    return jsonify(error="the session has expired: log in again"), 401


def add_login(ui: WebUI, base: str, password: str) -> None:
    """Add a login with one operator and one random password; the cookie is valid for this page only."""
    ui.app.config.update(
        SECRET_KEY=secrets.token_hex(32), SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_NAME=f"istio-lab-{secrets.token_hex(4)}",
    )  # fmt: skip
    ui.login_manager.user_loader(lambda uid: Operator() if uid == Operator.id else None)
    ui.login_manager.unauthorized_handler(logged_out)
    ui.auth_args = {"username_password_callback": f"{base}/login_submit", "title": "istio-lab"}

    @ui.app.post(f"{base}/login_submit")
    def login_submit() -> Any:
        """Check the password in constant time."""
        if hmac.compare_digest(request.form.get("password", "").encode(), password.encode()):
            login_user(Operator())
            return redirect(url_for("locust.index"))
        session["auth_error"] = "Wrong password"
        return redirect(url_for("locust.login"))
