"""The console's tabs on a simulated cluster: content, both languages and color schemes, narrow pages, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from loadtests.console import judging
from loadtests.entries import entry
from scripts import console
from tests import lab
from tests.browser.actions import enter, overflow, serious, shot

PASSWORD = "played"
GUARDED = (
    "mesh/verdict",
    "mesh/catalogue",
    "mesh/judge",
    "mesh/judge/plan?namespace=shop",
    "mesh/topology/rates",
    "stats/requests",
)
READY = {
    "catalogue": "[data-name]", "verdict": "[data-chart] svg", "topology": ".react-flow__edge-textwrapper",
    "settings": "section[data-route]", "judge": "[data-check]", "start": "button[type=submit]",
}  # fmt: skip
"""Tab -> what is on it once it is complete."""
WORDS = json.loads((console.APP / "src/words.json").read_text(encoding="utf-8"))
TITLES = {"start": "load_test", "judge": "your_rules"}
"""Tab -> the text that names it, where that is another."""


@dataclass(frozen=True)
class Played:
    """A simulation, in a separate process, because playwright and gevent do not mix."""

    url: str
    pid: int

    def set(self, **scene: object) -> None:
        requests.post(f"{self.url}/played", json=scene, timeout=5).raise_for_status()

    def end(self) -> None:
        """End it, and wait until it has ended."""
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not answers(self.url))


@pytest.fixture(scope="module")
def simulations() -> Iterator[subprocess.Popen[str]]:
    """What starts them."""
    command = [sys.executable, "-m", "tests.browser.console.played"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=lab.PROJECT, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        yield process


@pytest.fixture(scope="module")
def application() -> Path:
    """The console's application, built."""
    made = console.folder_in(console.CACHE / "binaries")
    console.build(made, console.CACHE / "log/console.log")
    return made


@pytest.fixture
def played(simulations: subprocess.Popen[str], application: Path, tmp_path: Path) -> Iterator[Played]:
    (tmp_path / "password").write_text(PASSWORD)
    port = lab.free_port()
    assert simulations.stdin is not None
    assert simulations.stdout is not None
    print(port, application, tmp_path, file=simulations.stdin, flush=True)
    started = Played(f"http://127.0.0.1:{port}", int(simulations.stdout.readline()))
    try:
        wait_until(lambda: answers(started.url))
        yield started
    finally:
        started.end()


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/login", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def inside(page: Page, played: Played) -> Page:
    """Logged in, on no page yet."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    log_in_without_the_form(page, played)
    page.problems = problems  # type: ignore[attr-defined]
    return page


def log_in_without_the_form(page: Page, played: Played) -> None:
    session = requests.Session()
    session.post(f"{played.url}/login_submit", data={"password": PASSWORD}, allow_redirects=False, timeout=5)
    page.context.add_cookies([{"name": one.name, "value": one.value or "", "url": played.url} for one in session.cookies])


def opened(page: Page, played: Played, tab: str, **query: str) -> None:
    """Open a tab by its address."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    page.goto(f"{played.url}/?tab={tab}{more}")
    page.locator("main h1, main form").first.wait_for()


def test_the_types_are_right() -> None:
    console.check(console.CACHE / "log/console-check.log")


def test_the_catalogue_has_groups_and_a_filter(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    expect(inside.get_by_role("heading", name="Catalogue", exact=True)).to_be_visible()
    rows = inside.locator("[data-name]")
    expect(rows).to_have_count(len(entry.names()))
    expect(inside.get_by_role("heading", name=re.compile("^Resilience "))).to_be_visible()
    inside.get_by_label("Filter").fill("reviews-80")
    expect(rows).to_have_count(1)
    expect(inside.get_by_role("heading", name=re.compile("^Resilience "))).to_have_count(0)
    inside.get_by_label("Filter").fill("no such entry")
    expect(inside.get_by_text("No entry matches the filter.")).to_be_visible()


def test_starting_an_entry_applies_its_rules_and_shows_the_verdict(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    inside.get_by_role("button", name="Start reviews-80-20").click()
    expect(inside.get_by_role("tab", name="Mesh verdict", selected=True)).to_be_visible(timeout=20_000)
    played.set(run="early")
    expect(inside.locator("[data-outcome]")).to_have_text("INCONCLUSIVE")


def test_several_entries_are_run_one_after_another_and_stopped(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    expect(inside.get_by_role("button", name="Run selected (0)")).to_be_disabled()
    for name in ("reviews-80-20", "reviews-90-10"):
        inside.get_by_role("checkbox", name=f"Select {name}").check()
    inside.get_by_role("button", name="Run selected (2)").click()
    shown = inside.locator("[data-series=active]")
    expect(shown).to_contain_text("One after another: 0 / 2, 0 PASS; reviews-80-20")
    expect(inside.get_by_role("button", name="Start reviews-v1")).to_be_disabled()
    shot(inside, "console-catalogue-series")
    shown.get_by_role("button", name="Stop").click()
    ended = inside.locator("[data-series=ended]")
    expect(ended).to_contain_text("reviews-90-10: not run: stopped")
    inside.get_by_label("Filter").fill("reviews-v1")
    expect(inside.get_by_role("button", name="Run all shown (1)")).to_be_enabled()


def test_the_verdict_is_one_table_a_chart_and_the_rules(inside: Page, played: Played) -> None:
    opened(inside, played, "verdict")
    expect(inside.get_by_text("No run yet.")).to_be_visible()
    played.set(run="beginning")
    expect(inside.get_by_text("Waiting until the proxies have the rules")).to_be_visible()
    played.set(run="passed")
    expect(inside.locator("[data-outcome]")).to_have_text("PASS")
    row = inside.locator('tr[data-share="visitors>v1"]')
    expect(row).to_contain_text(re.compile(r"v180\.0 %80\.0 %7\d\.\d % . 8\d\.\d %1440"))
    expect(inside.locator("main table")).to_have_count(1)
    chart = inside.get_by_role("img", name=re.compile("visitors: v1 7.*v3"))
    expect(chart.locator("svg")).to_be_visible()
    # Two versions: a band and a line each, a dashed expected share and a margin around it.
    assert chart.locator("svg path[stroke-dasharray]").count() >= 2
    expect(inside.get_by_role("region", name="VirtualService reviews")).to_contain_text("weight: 80")
    expect(inside.get_by_text("the access logs: v1 1440, v3 360")).to_be_visible()
    answer = inside.locator("[data-answer=reviews]")
    expect(answer).to_contain_text("reviews: v1 80 %, v3 20 % — holds")
    expect(answer).to_contain_text(re.compile(r"Observed: v1 80\.0 % \(7\d\.\d % . 8\d\.\d %\), v3 20\.0 %"))
    played.set(run="failed")
    expect(inside.locator("[data-outcome]")).to_have_text("FAIL")
    expect(answer).to_contain_text("reviews: v1 80 %, v3 20 % — does not hold")


def test_the_topology_shows_calls_shares_and_services_without_traffic(inside: Page, played: Played) -> None:
    opened(inside, played, "topology")
    row = inside.locator('tr[data-edge="productpage v1>reviews v3"]')
    expect(row).to_contain_text("20.0 %21.4 %2.1 /s4.0 %12 msmutual TLS")
    answer = inside.locator("[data-answer=reviews]")
    expect(answer).to_contain_text("reviews: v1 80 %, v3 20 % — not judged")
    expect(answer).to_contain_text("observed in the last 30 seconds, productpage v1: v1 78.6 %, v3 21.4 %")
    played.set(run="passed")
    expect(answer).to_contain_text("reviews: v1 80 %, v3 20 % — holds")
    expect(inside.locator('tr[data-edge="ratings v1>nowhere.example"]')).to_contain_text("blocked")
    graph = inside.get_by_role("region", name="Call graph")
    expect(graph.locator(".react-flow__node-version", has_text="v2")).to_be_visible()
    expect(graph.locator(".react-flow__node-service", has_text="details")).to_be_visible()
    expect(graph.get_by_text("21.4 % / 20.0 %")).to_be_visible()
    expect(graph.locator(".react-flow__edge.blocked")).to_be_attached()
    expect(graph.get_by_label(re.compile("productpage v1 → reviews v3: .*/s"))).to_be_attached()
    before = graph.locator(".react-flow__viewport").get_attribute("style")
    graph.get_by_role("button", name="Zoom In").click()
    expect(graph.locator(".react-flow__viewport")).not_to_have_attribute("style", before or "")
    row.click()
    rules = inside.get_by_role("region", name="VirtualService reviews")
    expect(rules).to_contain_text("weight: 80")
    expect(inside.get_by_role("heading", name="Applied rules: productpage v1 → reviews v3")).to_be_visible()
    rates = inside.get_by_role("img", name="Requests over the last 30 minutes: productpage v1 → reviews v3: at most 7.0 /s")
    expect(rates.locator("svg path").first).to_be_attached()
    shot(inside, "console-topology-edge")
    inside.locator('tr[data-edge="ratings v1>nowhere.example"]').click()
    expect(inside.get_by_text("No rule allows this host.")).to_be_visible()
    expect(rules).to_have_count(0)
    row.click()
    inside.get_by_role("button", name="Traffic settings of reviews").click()
    expect(inside.get_by_label("Service", exact=True)).to_have_value("reviews")


def test_a_namespace_with_thirty_services_stays_readable(inside: Page, played: Played) -> None:
    played.set(many=True)
    opened(inside, played, "topology")
    boxes = inside.locator(".react-flow__node-service")
    expect(boxes).to_have_count(30, timeout=30_000)
    places = boxes.evaluate_all(
        "nodes => nodes.map(n => n.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    overlapping = [
        (one, other)
        for n, one in enumerate(places)
        for other in places[n + 1 :]
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]
    assert overlapping == []
    height = inside.locator(".react-flow__node-version b").first.evaluate("node => node.getBoundingClientRect().height")
    assert height >= 9, "names are too small to be read"
    expect(inside.locator("tr[data-edge]")).to_have_count(100)
    assert cropped(inside) != [], "all of them would be too small"
    shot(inside, "console-topology-many")


LINES = """(rows) => rows.map((row) => {
  const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) if (texts.currentNode.data === row.dataset.name) break;
  const range = document.createRange();
  range.selectNode(texts.currentNode);
  return [row.dataset.name, range.getClientRects().length];
})"""
"""Each row's name, and how many lines it takes."""


def broken_names(page: Page) -> list[str]:
    """Entries whose name stands on more than two lines."""
    return [name for name, lines in page.locator("[data-name]").evaluate_all(LINES) if lines > 2]


def cropped(page: Page) -> list[str]:
    """Services that the call graph does not show as a whole."""
    found: list[str] = page.evaluate(
        """() => {
          const frame = document.querySelector(".react-flow").getBoundingClientRect();
          const within = (r) =>
            frame.left <= r.left && r.right <= frame.right && frame.top <= r.top && r.bottom <= frame.bottom;
          const boxes = [...document.querySelectorAll(".react-flow__node-service")];
          return boxes.filter((box) => !within(box.getBoundingClientRect())).map((box) => box.dataset.id);
        }"""
    )
    return found


def weight(page: Page, version: str) -> int:
    return int(page.get_by_role("spinbutton", name=version, exact=True).input_value())


def test_weights_keep_their_sum(inside: Page, played: Played) -> None:
    opened(inside, played, "settings")
    expect(inside.get_by_role("spinbutton", name="v1", exact=True)).to_have_value("80")
    slider = inside.get_by_role("slider", name="Weight of v1")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowLeft")
    assert {version: weight(inside, version) for version in ("v1", "v2", "v3")} == {"v1": 75, "v2": 0, "v3": 25}
    for version, value in (("v2", "33"), ("v3", "1"), ("v1", "0"), ("v2", "100"), ("v1", "7")):
        inside.get_by_role("spinbutton", name=version, exact=True).fill(value)
        assert sum(weight(inside, one) for one in ("v1", "v2", "v3")) == 100
        assert weight(inside, version) == int(value)


def test_a_change_is_shown_as_yaml_applied_and_undone(inside: Page, played: Played) -> None:
    opened(inside, played, "settings")
    expect(inside.locator("[data-unknown]")).to_contain_text("VirtualService reviews: spec.http[0].corsPolicy")
    box = inside.get_by_role("spinbutton", name="v1", exact=True)
    box.fill("50")
    after = inside.locator('[data-object="VirtualService reviews"] [data-side=after]').first
    expect(after).to_contain_text("+         weight: 50", use_inner_text=True)
    expect(after).to_contain_text("corsPolicy")
    inside.get_by_role("button", name="Show the difference").click()
    expect(inside.get_by_label("then judge reviews-80-20")).to_be_checked()
    inside.get_by_label("then judge reviews-80-20").uncheck()
    inside.get_by_role("button", name="Apply").click()
    expect(inside.get_by_role("status").get_by_text("4 / 4 proxies in sync")).to_be_visible()
    expect(box).to_have_value("50")
    inside.get_by_role("button", name="Undo 1").click()
    expect(box).to_have_value("80")
    expect(inside.get_by_role("button", name="Undo 1")).to_have_count(0)
    expect(inside.locator('tr[data-change="2"]')).to_contain_text("undoes 1")


def test_rules_are_edited_as_yaml(inside: Page, played: Played) -> None:
    opened(inside, played, "settings")
    inside.get_by_role("button", name="Edit the YAML").click()
    text = inside.get_by_role("textbox", name="YAML")
    written = text.input_value()
    text.fill(written.replace("maxAge: 1h", "maxAge: 2h"))
    after = inside.locator('[data-object="VirtualService reviews"] [data-side=after]').first
    expect(after).to_contain_text("+         maxAge: 2h", use_inner_text=True)
    shot(inside, "console-settings-yaml")
    assert overflow(inside) <= 0
    assert serious(inside) == []
    text.fill(written.replace("kind: VirtualService", "kind: Secret"))
    expect(inside.get_by_text(re.compile("v1/Secret was given; accepted: networking")).first).to_be_visible()
    text.fill(written.replace("maxAge: 1h", "maxAge: 2h"))
    inside.get_by_role("button", name="Show the difference").click()
    inside.get_by_label("then judge reviews-80-20").uncheck()
    inside.get_by_role("button", name="Apply").click()
    expect(inside.get_by_role("status").get_by_text("4 / 4 proxies in sync")).to_be_visible()
    expect(inside.locator("section[data-route]").first).to_be_visible()
    expect(inside.locator('tr[data-change="1"]')).to_be_visible()


def test_a_namespace_is_judged_beside_a_run_of_locusts(inside: Page, played: Played) -> None:
    played.set(run="early")
    opened(inside, played, "judge", namespace="shop")
    rows = inside.locator("tr[data-check]")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("GET http://reviews.shop.svc.cluster.local:9080/, from a pod app=istio-lab-probe")
    expect(rows.nth(1)).to_contain_text("v180.0 %")
    expect(inside.locator("[data-gap]")).to_contain_text("UNKNOWNno requests are planned for this kind yet")
    expect(inside.get_by_text("at most 10000 requests, 50 /s, 300 s")).to_be_visible()
    everything = inside.get_by_role("button", name="Judge all")
    expect(everything).to_be_disabled()
    inside.get_by_label("Type the namespace's name").fill("sho")
    expect(everything).to_be_disabled()
    inside.get_by_label("Type the namespace's name").fill("shop")
    everything.click()
    active = inside.locator("[data-judging=active]")
    expect(active).to_contain_text(re.compile(r"shop: \d+ requests, \d / 2 decided"), timeout=20_000)
    expect(everything).to_be_disabled()
    shot(inside, "console-judge-active")
    expect(inside.locator("[data-judged]")).to_have_text("FAIL", timeout=20_000)
    expect(rows.nth(0)).to_contain_text("PASS")
    expect(rows.nth(1)).to_contain_text("FAIL")
    expect(rows.nth(1)).to_contain_text("72.0 %")
    assert serious(inside) == []
    shot(inside, "console-judge-ended")
    inside.get_by_role("button", name="Judge VirtualService reviews: spec.http[0]").click()
    expect(active).to_contain_text("shop, VirtualService reviews: spec.http[0]", timeout=20_000)
    active.get_by_role("button", name="Stop").click()
    expect(inside.locator("[data-judging=ended]")).to_contain_text(
        "stopped: make judge has ended without a verdict", timeout=20_000
    )
    inside.get_by_role("tab", name="Mesh verdict").click()
    expect(inside.locator("[data-outcome]")).to_have_text("INCONCLUSIVE")


def test_a_namespace_that_cannot_be_judged_says_why(inside: Page, played: Played) -> None:
    opened(inside, played, "judge", namespace="books")
    expect(inside.get_by_text("NAMESPACE: there are no rules for books")).to_be_visible(timeout=20_000)
    expect(inside.get_by_role("button", name="Judge all")).to_be_disabled()
    inside.get_by_label("Namespace").select_option("bookinfo")
    expect(inside.locator("tr[data-check]")).to_have_count(3)
    expect(inside.get_by_role("button", name="Judge all")).to_be_enabled()


def test_a_console_in_the_cluster_says_why_it_does_not_judge(inside: Page, played: Played) -> None:
    inside.route("**/mesh/judge", lambda route: route.fulfill(json={"active": False, "not_here": judging.NOT_HERE}))
    opened(inside, played, "judge")
    expect(inside.get_by_text(judging.NOT_HERE)).to_be_visible()
    expect(inside.get_by_role("button", name="Judge all")).to_have_count(0)
    expect(inside.get_by_role("progressbar")).to_have_count(0)


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_fits_and_is_accessible(language: str, scheme: str, inside: Page, played: Played) -> None:
    inside.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    played.set(run="passed")
    for tab, ready in READY.items():
        for width in (1920, 1440, 768, 360):
            inside.set_viewport_size({"width": width, "height": 900})
            if width in (1920, 360):  # a wide and a narrow page, as they are when they are opened, and another width after that
                opened(inside, played, tab, lang=language)
                name = WORDS[language][TITLES.get(tab, tab)]
                expect(inside.get_by_role("tab", name=name, exact=True, selected=True)).to_be_visible()
                assert inside.evaluate("document.documentElement.lang") == language
            inside.locator(ready).first.wait_for(state="attached")
            shot(inside, f"console-{tab}-{language}-{scheme}-{width}")
            assert overflow(inside) <= 0, f"{tab} scrolls sideways at {width} px"
            assert tab != "catalogue" or broken_names(inside) == [], f"names are broken at {width} px"
            assert tab != "topology" or cropped(inside) == [], f"the call graph is cropped at {width} px"
            # Locust's own form is not the console's; what axe finds depends little on the width.
            assert tab == "start" or width not in (1440, 360) or serious(inside) == [], f"{tab}, {width} px"
    assert inside.problems == []  # type: ignore[attr-defined]


def test_the_languages_are_changed_on_the_page(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    inside.get_by_role("button", name="中文").click()
    expect(inside.get_by_role("heading", name="条目目录")).to_be_visible()
    inside.reload()
    expect(inside.get_by_role("heading", name="条目目录")).to_be_visible()
    inside.get_by_role("button", name="English").click()
    expect(inside.get_by_role("heading", name="Catalogue")).to_be_visible()


LOST = {"verdict": "[data-chart] svg", "topology": "tr[data-edge]", "settings": "section[data-route]"}
"""Tab that reads the cluster all the time -> what it goes on showing."""
RETRY_MILLISECONDS = 16_000
"""After which every tab has asked again."""


@pytest.mark.parametrize(
    ("scene", "words"),
    [("gone", r"GET /\S*: connection refused"), ("deleted", "bookinfo (is not in the cluster|has no services)")],
)
def test_a_lost_cluster_and_a_deleted_namespace_are_named_and_recover(
    scene: str, words: str, inside: Page, played: Played
) -> None:
    inside.clock.install()
    played.set(run="passed")
    named = inside.locator("main").get_by_text(re.compile(words))
    for tab, ready in LOST.items():
        opened(inside, played, tab)
        expect(inside.locator(ready).first).to_be_visible(timeout=20_000)
        played.set(**{scene: True})
        inside.clock.fast_forward(RETRY_MILLISECONDS)
        expect(named.first).to_be_visible()
        assert scene == "deleted" or inside.locator(ready).count(), "what was read before stays"
        opened(inside, played, tab)
        expect(named.first).to_be_visible()
        expect(inside.get_by_role("progressbar")).to_have_count(0)
        shot(inside, f"console-{tab}-{scene}")
        played.set(**{scene: False})
        inside.clock.fast_forward(RETRY_MILLISECONDS)
        expect(inside.locator(ready).first).to_be_visible()
        expect(named).to_have_count(0)


@pytest.mark.parametrize(
    ("scene", "words"),
    [("gone", "POST /api/v1/token: connection refused"), ("deleted", "there is no namespace bookinfo in this cluster")],
)
def test_rules_of_a_lost_cluster_or_a_deleted_namespace_cannot_be_judged(
    scene: str, words: str, inside: Page, played: Played
) -> None:
    inside.clock.install()
    opened(inside, played, "judge")
    checks = inside.locator("[data-check]")
    expect(checks).to_have_count(3)
    played.set(**{scene: True})
    inside.get_by_role("button", name="Judge all").click()
    expect(inside.get_by_text(words)).to_be_visible()
    expect(checks).to_have_count(3)
    opened(inside, played, "judge")
    expect(inside.get_by_text(words).first).to_be_visible()
    expect(inside.get_by_role("progressbar")).to_have_count(0)
    played.set(**{scene: False})
    inside.clock.fast_forward(RETRY_MILLISECONDS)
    expect(checks).to_have_count(3)


def test_an_entry_is_not_started_on_a_lost_cluster_and_its_run_is_void(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    played.set(gone=True)
    start = inside.get_by_role("button", name="Start reviews-80-20")
    start.click()
    expect(inside.get_by_text(re.compile("reviews-80-20: .*connection refused"))).to_be_visible()
    played.set(gone=False)
    start.click()
    expect(inside.get_by_role("tab", name="Mesh verdict", selected=True)).to_be_visible(timeout=20_000)
    # The cluster goes in the middle of the run.
    played.set(run="void")
    expect(inside.locator("[data-outcome]")).to_have_text("VOID")
    expect(inside.get_by_text("GET /version: connection refused")).to_be_visible()
    expect(inside.locator("[data-chart] svg")).to_be_visible()
    shot(inside, "console-verdict-void")


def test_missing_metrics_are_named_and_services_stay(inside: Page, played: Played) -> None:
    played.set(notice="no metrics (x); run: make telemetry")
    opened(inside, played, "topology")
    expect(inside.get_by_text("run: make telemetry")).to_be_visible()
    expect(inside.locator(".react-flow__node-service", has_text="reviews")).to_be_visible()


def named_on_every_tab(page: Page, words: str) -> None:
    """A problem is named above every tab, none of which is blank or waits without end."""
    for tab in READY:
        page.get_by_role("tab", name=WORDS["en"][TITLES.get(tab, tab)], exact=True).click()
        expect(page.get_by_text(words)).to_be_visible()
        expect(page.locator("main h1, main form").first).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_count(0)


def test_an_expired_session_leads_to_the_login(page: Page, played: Played) -> None:
    enter(page, played.url, PASSWORD)
    page.context.clear_cookies()
    expect(page.get_by_text("The session has expired.")).to_be_visible()
    shot(page, "console-expired")
    named_on_every_tab(page, "The session has expired.")
    log_in_without_the_form(page, played)  # as in another window
    expect(page.get_by_text("The session has expired.")).to_have_count(0)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
    page.context.clear_cookies()
    page.get_by_role("link", name="Log in").click()
    expect(page.locator("input[name=password]")).to_be_visible()


def test_without_a_session_nothing_is_answered(played: Played) -> None:
    for path in GUARDED:
        answer = requests.get(f"{played.url}/{path}", allow_redirects=False, timeout=5)
        assert (answer.status_code, answer.json()) == (401, {"error": "the session has expired: log in again"})
    for path in ("mesh/judge", "mesh/judge/stop"):
        assert (
            requests.post(f"{played.url}/{path}", json={"namespace": "shop", "confirm": "shop"}, timeout=5).status_code == 401
        )
        crossed = requests.post(f"{played.url}/{path}", headers={"Origin": "http://evil.example"}, timeout=5)
        assert (crossed.status_code, crossed.text) == (403, "another origin may not write here\n")
        assert requests.post(f"{played.url}/{path}", headers={"Host": "evil.example"}, timeout=5).status_code == 403
    assert requests.get(f"{played.url}/", allow_redirects=False, timeout=5).headers["Location"].startswith("/login")


def test_locust_that_has_ended_is_named(inside: Page, played: Played) -> None:
    opened(inside, played, "catalogue")
    inside.locator("[data-name]").first.wait_for()
    played.end()
    expect(inside.get_by_text("Locust does not respond.")).to_be_visible()
    shot(inside, "console-unreachable")
    named_on_every_tab(inside, "Locust does not respond.")
