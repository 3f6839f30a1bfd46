"""A client of Bookinfo is who it says it is, or its visit is not judged as that user's."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from loadtests.samples.bookinfo import ReadReviews, UserFetch
from loadtests.verdict import ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator

LATE = {"jason": "for jason", "": "for nobody"}


@dataclass
class Page:
    """Productpage, and one client of it; the first logins end with the statuses of ``refusals``."""

    refusals: list[int] = field(default_factory=list)
    cookiejar: list[Any] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def post(self, path: str, data: dict[str, str], **_: Any) -> Any:
        self.asked.append(path)
        code = self.refusals.pop(0) if self.refusals else 302
        if code == 302:
            self.cookiejar.append(SimpleNamespace(name="session", value=data["username"]))
        return SimpleNamespace(status_code=code, headers={"Location": "/productpage"})

    @contextmanager
    def answer(self, path: str) -> Iterator[Any]:
        self.asked.append(path)
        user = self.cookiejar[0].value if self.cookiejar else ""
        yield SimpleNamespace(
            status_code=200, headers={"user": LATE[user]}, success=lambda: None, json=lambda: {"podname": LATE[user]}
        )

    def request(self, method: str, path: str, **_: Any) -> Any:
        return self.answer(path)

    def get(self, path: str, **_: Any) -> Any:
        return self.answer(path)


def visits(traffic: Any, page: Page, count: int = 2) -> list[str]:
    traffic.start(page)
    return [traffic.visit(page) for _ in range(count)]


def fetch(user: str = "") -> UserFetch:
    return UserFetch("/api", label=lambda response: str(response.headers["user"]), user=user)


def test_a_client_logs_in_once() -> None:
    page = Page()
    assert visits(fetch("jason"), page) == ["for jason", "for jason"]
    assert page.asked == ["/login", "/api", "/api"]


def test_a_client_without_a_user_does_not_log_in() -> None:
    page = Page()
    assert visits(fetch(), page) == ["for nobody", "for nobody"]
    assert page.asked == ["/api", "/api"]


@pytest.mark.parametrize(("code", "outcome"), [(503, "login: HTTP 503"), (0, ERROR)])
def test_a_visit_whose_login_failed_is_nobody_elses(code: int, outcome: str) -> None:
    page = Page([code])
    assert visits(fetch("jason"), page) == [outcome, "for jason"]
    assert page.asked == ["/login", "/login", "/api"]


def test_reviews_are_read_by_the_user_or_not_at_all() -> None:
    page = Page([503])
    assert visits(ReadReviews(user="jason"), page) == [ERROR, "for jason"]
    assert visits(ReadReviews(), Page()) == ["for nobody", "for nobody"]
