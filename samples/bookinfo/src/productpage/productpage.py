"""Bookinfo's front end: one page and a small API over details, reviews and ratings.

API-compatible with Istio's Bookinfo 1.20: same paths, environment, headers, timeout and strings on the page.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from flask import Flask, Response, redirect, render_template, request, session
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

TIMEOUT_SECONDS = 3.0
REVIEWS_ATTEMPTS = 2
JSON_TYPE = {"Content-Type": "application/json"}

# Headers that a mesh or a common tracer needs on the next hop to correlate calls.
FORWARDED_HEADERS = (
    "x-request-id", "x-ot-span-context", "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority",
    "traceparent", "tracestate", "baggage", "x-cloud-trace-context", "grpc-trace-bin", "x-b3-traceid", "x-b3-spanid",
    "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "sw8", "user-agent", "cookie", "authorization", "jwt",
)  # fmt: skip

PRODUCTS = [
    {
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": (
            "Two pairs of twins, parted by a shipwreck, come to the same town on the same day; "
            "nobody, the twins included, knows who is who until the last act."
        ),
    }
]


def _service(name: str, path: str) -> str:
    """Base URL of a back end: ``<NAME>_HOSTNAME`` and ``<NAME>_SERVICE_PORT`` from the environment."""
    host = os.environ.get(f"{name.upper()}_HOSTNAME", name)
    domain = os.environ.get("SERVICES_DOMAIN", "")
    port = os.environ.get(f"{name.upper()}_SERVICE_PORT", "9080")
    return f"http://{host}{'.' + domain if domain else ''}:{port}/{path}"


DETAILS, REVIEWS, RATINGS = _service("details", "details"), _service("reviews", "reviews"), _service("ratings", "ratings")

app = Flask(__name__)
# Signs the login cookie. Every replica must share it, and there is nothing here to protect: any password will do.
app.secret_key = os.environ.get("SESSION_SECRET", "bookinfo")
http = requests.Session()
http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
request_result_total = Counter("request_result", "Results of calls to the back ends", ["destination_app", "response_code"])


def forward_headers() -> dict[str, str]:
    """Headers for the next hop. ``end-user`` comes from the login only, so that clients cannot set it."""
    headers = {name: request.headers[name] for name in FORWARDED_HEADERS if name in request.headers}
    if "user" in session:
        headers["end-user"] = session["user"]
    return headers


def fetch(app_name: str, url: str, headers: dict[str, str], attempts: int, error: str) -> tuple[int, Any]:
    """GET ``url`` as JSON.

    :return: HTTP status and body; 200 only with the back end's JSON, else ``{"error": error}``
    """
    status = 500
    for _ in range(attempts):
        try:
            response = http.get(url, headers=headers, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as problem:
            app.logger.warning("%s: %s", app_name, problem)
            request_result_total.labels(destination_app=app_name, response_code=500).inc()
            continue
        status = response.status_code
        request_result_total.labels(destination_app=app_name, response_code=status).inc()
        if status == 200:
            return 200, response.json()
    return status or 500, {"error": error}


def get_details(product_id: int, headers: dict[str, str]) -> tuple[int, Any]:
    """Details of one book."""
    error = "Sorry, product details are currently unavailable for this book."
    return fetch("details", f"{DETAILS}/{product_id}", headers, 1, error)


def get_reviews(product_id: int, headers: dict[str, str]) -> tuple[int, Any]:
    """Reviews of one book; tried twice, as upstream does (its fault tests rely on that)."""
    error = "Sorry, product reviews are currently unavailable for this book."
    return fetch("reviews", f"{REVIEWS}/{product_id}", headers, REVIEWS_ATTEMPTS, error)


def get_ratings(product_id: int, headers: dict[str, str]) -> tuple[int, Any]:
    """Ratings of one book."""
    error = "Sorry, product ratings are currently unavailable for this book."
    return fetch("ratings", f"{RATINGS}/{product_id}", headers, 1, error)


@app.get("/")
@app.get("/index.html")
def index() -> str:
    """Links, and the back ends that this replica calls."""
    return render_template("index.html", services={"details": DETAILS, "reviews": REVIEWS, "ratings": RATINGS})


@app.get("/health")
def health() -> str:
    """For probes."""
    return "Product page is healthy"


@app.post("/login")
def login() -> Response:
    """Start a session as ``username`` and go back to where the user came from."""
    session["user"] = request.values.get("username", "")
    return redirect(request.referrer or "/productpage")  # type: ignore[return-value]


@app.get("/logout")
def logout() -> Response:
    """End the session."""
    session.pop("user", None)
    return redirect(request.referrer or "/productpage")  # type: ignore[return-value]


def flood(factor: int, headers: dict[str, str]) -> None:
    """Call reviews ``factor`` more times in parallel, and discard the responses (FLOOD_FACTOR)."""
    with ThreadPoolExecutor(max_workers=max(1, min(factor, 32))) as pool:
        list(pool.map(lambda _: get_reviews(0, headers), range(factor)))


@app.get("/productpage")
def productpage() -> str:
    """The page: product 0 with its details and reviews."""
    headers = forward_headers()
    if (factor := int(os.environ.get("FLOOD_FACTOR", "0"))) > 0:
        flood(factor, headers)
    details_status, details = get_details(0, headers)
    reviews_status, reviews = get_reviews(0, headers)
    return render_template(
        "productpage.html", product=PRODUCTS[0], user=session.get("user", ""),
        details_status=details_status, details=details, reviews_status=reviews_status, reviews=reviews,
    )  # fmt: skip


@app.get("/api/v1/products")
def products() -> tuple[str, int, dict[str, str]]:
    """All products."""
    return json.dumps(PRODUCTS), 200, JSON_TYPE


def answer(status: int, body: Any) -> tuple[str, int, dict[str, str]]:
    """A back end's status and body as this API's response."""
    return json.dumps(body), status, JSON_TYPE


@app.get("/api/v1/products/<int:product_id>")
def product(product_id: int) -> tuple[str, int, dict[str, str]]:
    """Details of one product."""
    return answer(*get_details(product_id, forward_headers()))


@app.get("/api/v1/products/<int:product_id>/reviews")
def product_reviews(product_id: int) -> tuple[str, int, dict[str, str]]:
    """Reviews of one product, with the pod that served them."""
    return answer(*get_reviews(product_id, forward_headers()))


@app.get("/api/v1/products/<int:product_id>/ratings")
def product_ratings(product_id: int) -> tuple[str, int, dict[str, str]]:
    """Ratings of one product."""
    return answer(*get_ratings(product_id, forward_headers()))


@app.get("/metrics")
def metrics() -> Response:
    """Counters in Prometheus's text format."""
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(sys.argv[1]) if len(sys.argv) > 1 else 9080, threaded=True)  # noqa: S104 - a pod
