"""The simulator's page in a real Chromium, as a person reads it: no AWS here, only a browser and the simulator."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from local.simulator.faults import Fault, FaultKind
from local.simulator.page import keepsake
from local.simulator.pagerduty import DeadLetter, PagerDuty
from local.simulator.server import SimulatorServer
from tests.lab.browser import Browser, Page, find_chromium

KEY = "0123456789abcdef0123456789abcdef"
ROW = "[...document.querySelectorAll('.incident')].find((row) => row.textContent.includes({}))"
CONTRAST = """(() => {
  const channels = (colour) => {
    const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    return [r, g, b, alpha];
  };
  const over = (top, under) => top.slice(0, 3).map((value, i) => value * top[3] + under[i] * (1 - top[3]));
  const groundOf = (element) => {
    const own = channels(getComputedStyle(element).backgroundColor);
    if (own[3] === 1) return own.slice(0, 3);
    return over(own, element.parentElement ? groundOf(element.parentElement) : [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, style = getComputedStyle(element);
    const text = texts.currentNode.textContent.trim().slice(0, 40);
    if (!text || !element.checkVisibility() || element.matches("script, style")) continue;
    const ground = groundOf(element);
    const [one, other] = [light(over(channels(style.color), ground)), light(ground)].sort((a, b) => b - a);
    found.push({ ratio: (one + 0.05) / (other + 0.05), text, element: element.outerHTML.slice(0, 90) });
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of this file."""
    path = find_chromium()
    if path is None:
        pytest.skip("no chromium on the PATH: install it (Debian: apt-get install chromium) to test the page")
    with Browser(path) as browser:
        yield browser


class Open(Protocol):
    """Opens the page in a tab."""

    def __call__(self, **view: Any) -> Page: ...


class Simulator:
    """A simulator that serves, stops and serves again at the same address."""

    def __init__(self) -> None:
        self.pagerduty = PagerDuty(time.time)
        self.port = 0
        self.start()

    def start(self) -> None:
        """Serve."""
        self._server = SimulatorServer(self.pagerduty, port=self.port).__enter__()
        self.url = self._server.url
        self.port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Hang up, and serve no more."""
        self._server.__exit__(None, None, None)

    def post(self, path: str, **event: Any) -> None:
        """Send an event, whatever becomes of it."""
        self.pagerduty.handle("POST", path, json.dumps({"routing_key": KEY, **event}).encode())

    def trigger(self, dedup_key: str, summary: str = "", severity: str = "error", **more: Any) -> None:
        """Send a trigger; what is not known as the event's own belongs to its payload."""
        event = {name: more.pop(name) for name in ("links", "images", "client", "client_url") if name in more}
        payload = {"summary": summary or f"summary of {dedup_key}", "source": "db-1", "severity": severity, **more}
        self.post("/v2/enqueue", event_action="trigger", dedup_key=dedup_key, payload=payload, **event)

    def acknowledge(self, dedup_key: str) -> None:
        """Send an acknowledge."""
        self.post("/v2/enqueue", event_action="acknowledge", dedup_key=dedup_key)

    def resolve(self, dedup_key: str) -> None:
        """Send a resolve."""
        self.post("/v2/enqueue", event_action="resolve", dedup_key=dedup_key)

    def change(self, summary: str, **more: Any) -> None:
        """Send a change event."""
        links = more.pop("links", [])
        self.post("/v2/change/enqueue", payload={"summary": summary, **more}, links=links)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator of the test's own."""
    simulator = Simulator()
    yield simulator
    simulator.stop()


@pytest.fixture
def opened(browser: Browser, simulator: Simulator) -> Iterator[Open]:
    """The page, in tabs that ask the simulator and nobody else, and complain of nothing."""
    pages: list[Page] = []

    def open_page(**view: Any) -> Page:
        page = browser.open(f"{simulator.url}/", **view)
        pages.append(page)
        page.wait_for("document.getElementById('connection').dataset.is === 'live'")
        return page

    yield open_page
    for page in pages:
        page.close()
        assert [url for url in page.requested if not url.startswith((simulator.url, "data:,"))] == []
        assert [said for said in page.complaints if "ERR_CONNECTION_REFUSED" not in said] == []


def row(text: str) -> str:
    """Return the JavaScript for the row that has this text in it."""
    return ROW.format(json.dumps(text))


def open_row(page: Page, text: str) -> None:
    """Open a row by its summary, as a click does."""
    page.run(f"{row(text)}.querySelector('summary').click()")
    page.wait_for(f"{row(text)}.querySelector('.body').textContent")


def text_of(page: Page, selector: str) -> str:
    """Return what a person reads there."""
    return str(page.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def titles(page: Page) -> list[str]:
    """Return the summaries of the rows, from the top."""
    found: list[str] = page.run("[...document.querySelectorAll('.incident h3')].map((title) => title.textContent)")
    return found


def counts(page: Page) -> list[str]:
    """Return the numbers at the top: triggered, acknowledged, resolved, change events, refused."""
    found: list[str] = page.run(
        "[...document.querySelectorAll('.counts > li:not([hidden]) b')].map((number) => number.textContent)"
    )
    return found


def fill(simulator: Simulator) -> None:
    """Send something of every kind."""
    simulator.pagerduty.set_faults(Fault(FaultKind.STATUS, status=429))
    simulator.trigger("orders/cpu")
    simulator.trigger(
        "orders/cpu",
        "CPU at 97 %",
        "critical",
        component="postgres",
        group="prod",
        **{"class": "cloudwatch-alarm"},
        custom_details={
            "labels": {"cluster": "prod", "long": "x" * 300},
            "steps": [{"n": n, "text": f"step {n}"} for n in range(9)],
        },
        links=[{"href": "https://wiki.example.com/orders", "text": "Runbook"}],
        images=[{"src": "https://grafana.example.com/1.png", "alt": "CPU, last hour"}],
        client="CloudWatch",
        client_url="https://console.example.com/alarm",
    )
    simulator.trigger("orders/cpu", "CPU at 99 %", "critical", custom_details={"labels": {"cluster": "prod"}})
    simulator.acknowledge("orders/cpu")
    for severity in ("warning", "error", "info", "critical"):
        simulator.trigger(f"open/{severity}", severity=severity)
    simulator.trigger("done", severity="critical")
    simulator.resolve("done")
    simulator.resolve("never opened")
    simulator.post("/v2/enqueue", event_action="trigger", dedup_key="bad", payload={"summary": "no source"})
    simulator.change("checkout 2.4.1 deployed", source="CodePipeline", custom_details={"commit": "8f39fb5"})


def test_an_empty_page_says_how_to_send_an_incident(opened: Open, simulator: Simulator) -> None:
    """Who opens the page first is told what to do, with this simulator's own address."""
    page = opened()
    assert text_of(page, "h1") == "No incidents yet"
    assert f"curl -s {simulator.url}/v2/enqueue" in text_of(page, "#empty")
    assert counts(page) == ["0"] * 5


def test_incidents_are_shown_as_they_came(opened: Open, simulator: Simulator) -> None:
    """Open first, most severe first, newest first; an incident opens to all that is known of it."""
    fill(simulator)
    page = opened()
    assert titles(page) == [
        "summary of open/critical",
        "CPU at 99 %",
        "summary of open/error",
        "summary of open/warning",
        "summary of open/info",
        "summary of done",
    ]
    assert counts(page) == ["4", "1", "1", "1", "2"]
    assert text_of(page, "h1") == "5 open incidents"
    assert page.run("document.title") == "(5) PagerDuty simulator"
    assert "Acknowledged" in page.run(f"{row('CPU at 99 %')}.innerText")
    assert "Critical" in page.run(f"{row('CPU at 99 %')}.innerText")
    open_row(page, "CPU at 99 %")
    shown = page.run(f"{row('CPU at 99 %')}.querySelector('.body').innerText")
    for expected in ("CPU at 97 %", "db-1", "orders/cpu", "cluster"):
        assert expected in shown
    timeline = page.run(f"[...{row('CPU at 99 %')}.querySelectorAll('.timeline li')].map((line) => line.innerText)")
    words = [("trigger", "Refused"), ("trigger", "Accepted"), ("trigger", "Merged"), ("acknowledge", "Accepted")]
    for line, (action, outcome) in zip(timeline, words, strict=True):
        assert action in line
        assert outcome in line
    assert "429" in timeline[0]
    assert "deployed" in text_of(page, "#changes")
    refused = text_of(page, "#refused")
    assert "'payload.source' is missing" in refused
    assert "no incident with this dedup key is open" in refused
    assert KEY[:4] not in page.run("document.body.textContent")


def test_links_images_and_client_can_be_followed_safely(opened: Open, simulator: Simulator) -> None:
    """Each is a link in a tab of its own, which learns nothing of this one."""
    simulator.trigger(
        "linked",
        links=[{"href": "https://wiki.example.com/orders", "text": "Runbook"}],
        images=[{"src": "https://grafana.example.com/1.png", "alt": "CPU"}],
        client="CloudWatch",
        client_url="https://console.example.com/alarm",
        custom_details={"dashboard": "https://grafana.example.com/d/1"},
    )
    page = opened()
    open_row(page, "linked")
    links = page.run("[...document.querySelectorAll('.body a')].map((a) => [a.textContent, a.href, a.rel, a.target])")
    assert [(text, href) for text, href, _, _ in links] == [
        ("CloudWatch", "https://console.example.com/alarm"),
        ("Runbook", "https://wiki.example.com/orders"),
        ("CPU", "https://grafana.example.com/1.png"),
        ("https://grafana.example.com/d/1", "https://grafana.example.com/d/1"),
    ]
    assert {(rel, target) for _, _, rel, target in links} == {("noopener noreferrer", "_blank")}


HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>" onfocus="window.hit=1" autofocus="'


def test_no_alert_can_run_a_script_or_make_an_unsafe_link(opened: Open, simulator: Simulator) -> None:
    """Markup in any field is shown as the text that it is; links to scripts and data are no links."""
    bad = ["javascript:window.hit=1", " JaVaScRiPt:window.hit=1", "data:text/html,<script>1</script>", "//x.example"]
    hostile_details = {
        HOSTILE: HOSTILE,
        "__proto__": {"polluted": HOSTILE},
        "url": bad[0],
        "list": [HOSTILE, {HOSTILE: [HOSTILE]}],
    }
    simulator.trigger(
        HOSTILE,
        HOSTILE,
        source=HOSTILE,
        component=HOSTILE,
        group=HOSTILE,
        **{"class": HOSTILE},
        custom_details=hostile_details,
        client=HOSTILE,
        links=[{"href": "https://example.com/?q=" + HOSTILE.replace(" ", "%20"), "text": HOSTILE}],
    )
    simulator.change(HOSTILE, source=HOSTILE, custom_details=hostile_details)
    simulator.post("/v2/enqueue", event_action=HOSTILE, dedup_key=HOSTILE)
    page = opened()
    # the simulator refuses such links as PagerDuty does: give them to the page by its own feed
    page.run(
        f"""(() => {{
          const data = structuredClone(incidents.get(1).data);
          const bad = {json.dumps(bad)};
          data.links.push(...bad.map((href) => ({{ href, text: "click" }})));
          data.images = bad.map((src) => ({{ src, href: src, alt: "look" }}));
          data.client_url = bad[0];
          data.severity = data.state = {json.dumps(HOSTILE)};
          data.timeline = [{{ at: data.opened_at, action: bad[0], outcome: bad[1], note: {json.dumps(HOSTILE)} }}];
          incidents.get(1).update(data);
        }})()"""
    )
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for("document.querySelector('.incident .of-details')")
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    time.sleep(0.1)
    assert HOSTILE in titles(page)
    assert page.run("window.hit ?? null") is None
    assert page.run("({}).polluted ?? null") is None
    assert page.run("document.querySelectorAll('main img, main script, [onerror], [onfocus], [autofocus]').length") == 0
    protocols = page.run("[...new Set([...document.querySelectorAll('a[target]')].map((a) => a.protocol))]")
    assert protocols == ["https:"]
    assert page.run(
        "[...document.querySelectorAll('ul.links')].map((l) => l.innerText.match(/not a link/g).length)"
    ) == [
        4,
        8,
    ]


def test_the_policy_stops_what_the_page_would_not(opened: Open, browser: Browser, simulator: Simulator) -> None:
    """Even markup that got in could neither run nor load nor send anything."""
    opened()
    page = browser.open(f"{simulator.url}/")
    page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://x.example/ onerror=\"window.hit=1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.hit=1'; document.body.append(s);"
        "fetch('https://x.example/').catch(() => { window.stopped = 1; })"
    )
    page.wait_for("window.stopped")
    assert page.run("window.hit ?? null") is None
    assert len([said for said in page.complaints if "Content Security Policy" in said]) >= 3
    page.close()


def test_news_comes_without_a_reload_and_takes_nothing_from_the_reader(opened: Open, simulator: Simulator) -> None:
    """What is open stays open, unfolded, focused and where it is on the screen, while rows come above it."""
    for n in range(60):
        simulator.trigger(f"w/{n:02}", severity="warning")
    simulator.trigger("read", severity="warning", custom_details={"deep": {f"field {n}": n for n in range(9)}})
    simulator.trigger("z", severity="warning")
    page = opened(height=700)
    page.run("window.same = true")
    open_row(page, "of read")
    page.run(f"{row('of read')}.querySelector('[data-path=\"//deep\"]').open = true")
    page.run(f"{row('of read')}.querySelector('[data-path=\"//deep\"] > summary').focus(); scrollTo(0, 160)")
    where = f"{row('of read')}.getBoundingClientRect().top"
    before = page.run(where)
    for n in range(20):
        simulator.trigger(f"c/{n}", severity="critical")
    simulator.acknowledge("read")
    page.wait_for("document.getElementById('count-triggered').textContent === '81'")
    assert page.run(where) == pytest.approx(before, abs=1)
    assert page.run("scrollY") > 160
    place = titles(page).index("summary of read")
    simulator.trigger("read", severity="warning", custom_details={"deep": {f"field {n}": n for n in range(10)}})
    simulator.resolve("read")
    simulator.change("deployed")
    page.wait_for("document.getElementById('count-resolved').textContent === '1'")
    assert page.run(where) == pytest.approx(before, abs=1)
    assert titles(page).index("summary of read") == place
    assert page.run(f"{row('of read')}.querySelectorAll('.timeline li').length") == 4
    assert "field 9" in page.run(f"{row('of read')}.innerText")
    assert page.run(f"{row('of read')}.querySelector('[data-path=\"//deep\"]').open")
    assert page.run("document.activeElement.textContent.startsWith('deep')")
    assert page.run("window.same")
    page.wait_for("document.getElementById('announcer').textContent")
    # once closed, it goes where it belongs
    page.run(f"{row('of read')}.querySelector('summary').click()")
    page.wait_for("!document.querySelector('.incident > details[open]')")
    assert titles(page)[-1] == "summary of read"


def test_a_lost_connection_is_shown_and_so_is_its_return(opened: Open, simulator: Simulator) -> None:
    """The page keeps what it had, says since when it knows no more, and goes on when the simulator is back."""
    simulator.trigger("before")
    page = opened()
    assert page.run("document.getElementById('lost').hidden")
    simulator.stop()
    page.wait_for("!document.getElementById('lost').hidden")
    assert "Connection to the simulator lost at" in text_of(page, "[role=alert]")
    assert text_of(page, "#connection") == "Not connected"
    assert titles(page) == ["summary of before"]
    simulator.trigger("meanwhile")
    simulator.start()
    page.wait_for("document.getElementById('lost').hidden")
    assert text_of(page, "#connection").startswith("Live, last event ")
    assert titles(page) == ["summary of meanwhile", "summary of before"]


def test_another_simulator_at_the_same_address_replaces_what_was_shown(opened: Open, simulator: Simulator) -> None:
    """After a reset the page shows what there is now, and nothing of before."""
    simulator.trigger("before")
    simulator.change("before, too")
    page = opened()
    simulator.pagerduty.reset()
    simulator.trigger("after")
    page.wait_for("document.querySelector('.incident h3')?.textContent === 'summary of after'")
    assert counts(page) == ["1", "0", "0", "0", "0"]
    assert text_of(page, "#changes").endswith("None yet.")


def test_filters_leave_what_was_asked_for(opened: Open, simulator: Simulator) -> None:
    """By state, by severity and by every word of a text, together; and back with one button."""
    fill(simulator)
    page = opened()
    press: Callable[[str], Any] = lambda value: page.run(f"document.querySelector('[data-value={value}]').click()")  # noqa: E731
    press("triggered")
    assert len(titles(page)) == 4
    press("critical")
    assert titles(page) == ["summary of open/critical"]
    assert "Showing 1 of 6" in text_of(page, "#showing")
    press("triggered")
    press("resolved")
    assert titles(page) == ["summary of done"]
    page.run("document.getElementById('clear').click()")
    assert len(titles(page)) == 6
    assert page.run("document.querySelectorAll('[aria-pressed=true]').length") == 0
    page.run("document.getElementById('text').focus()")
    page.command("Input.insertText", text="PROD cpu")
    assert titles(page) == ["CPU at 99 %"]
    page.command("Input.insertText", text=" nowhere")
    assert titles(page) == []
    assert "No incident matches" in text_of(page, "#some")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_text_can_be_read(opened: Open, simulator: Simulator, scheme: str, width: int) -> None:
    """Each contrasts 4.5 : 1 with what is behind it (WCAG AA), open or closed; nothing is wider than the screen."""
    fill(simulator)
    simulator.trigger("arn:aws:cloudwatch:" + "x" * 230, "unbroken" * 100, source="s" * 200, component="c" * 99)
    simulator.change("https://example.com/" + "y" * 300)
    page = opened(width=width, scheme=scheme)
    unfold = "document.querySelectorAll('.incident:not(:last-child) details, .change details')"
    page.run(f"{unfold}.forEach((each) => {{ each.open = true; }})")
    page.wait_for("document.querySelectorAll('.incident .body h4').length >= 5")
    for value in ("triggered", "critical", "error"):
        page.run(f"document.querySelector('[data-value={value}]').click()")
    page.run("Object.assign(document.getElementById('lost'), { hidden: false, textContent: 'lost' })")
    measured = page.run(CONTRAST)
    page.run("document.getElementById('clear').click(); document.querySelector('#connection').dataset.is = 'lost'")
    measured += page.run(CONTRAST)
    assert len(measured) > 100
    assert [text for text in measured if text["ratio"] < 4.5] == []
    assert page.run("document.documentElement.scrollWidth") <= width
    cut = "each.clientWidth && each.scrollWidth > each.clientWidth + 1 && !each.matches('.unseen')"
    everything = "[...document.querySelectorAll('main *')]"
    assert page.run(f"{everything}.filter((each) => {cut}).map((each) => each.outerHTML.slice(0, 90))") == []
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")


def test_the_keyboard_reaches_and_opens_everything(opened: Open, simulator: Simulator) -> None:
    """Tab goes through counts, search, filters and rows in the order of reading; Enter opens; focus is to be seen."""
    fill(simulator)
    page = opened()
    path = []
    for _ in range(13):
        page.press("Tab")
        path.append(page.run("document.activeElement.textContent || document.activeElement.id"))
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert path[0] == "Skip to the incidents"
    assert path[1].endswith("Triggered")
    assert path[6:11] == ["text", "Critical", "Error", "Warning", "Info"]
    assert "open/critical" in path[11]
    page.press("Enter")
    page.wait_for("document.querySelector('.incident details[open] .timeline')")
    assert "CPU at 99 %" in path[12]


def test_assistive_technology_is_told_what_the_eye_sees(opened: Open, simulator: Simulator) -> None:
    """Everything that can be operated has a name, headings are in order, times can be read, news is announced."""
    fill(simulator)
    page = opened()
    open_row(page, "CPU at 99 %")
    page.command("Accessibility.enable")
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    roles = {
        role: [n["name"]["value"] for n in nodes if not n["ignored"] and n["role"]["value"] == role]
        for role in ("button", "link", "searchbox", "heading", "list", "main", "search", "DisclosureTriangle")
    }
    for role in ("button", "link", "searchbox", "heading", "DisclosureTriangle"):
        assert roles[role]
        assert all(name.strip() for name in roles[role])
    levels = page.run(
        "[...document.querySelectorAll('h1, h2, h3, h4')].filter((h) => h.checkVisibility()).map((h) => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert page.run("[...document.querySelectorAll('time')].every((t) => !isNaN(Date.parse(t.dateTime)))")
    simulator.trigger("news")
    page.wait_for("document.getElementById('announcer').textContent === '1 new incident.'")
    assert page.run("document.getElementById('announcer').ariaLive") == "polite"
    page.command("Accessibility.disable")


def test_a_thousand_incidents_stay_fluid(opened: Open, simulator: Simulator) -> None:
    """A hundred rows are drawn and the rest offered; a change of one moves one row; a redraw takes a frame or two."""
    for n in range(1010):
        severity = ("critical", "error", "warning", "info")[n % 4]
        simulator.trigger(f"storm/{n}", severity=severity, custom_details={"labels": {"n": str(n), "text": "x" * 200}})
    page = opened()
    assert text_of(page, "#showing").startswith("Showing 100 of 1,010")
    assert len(titles(page)) == 100
    assert text_of(page, "#incident-more") == "Show 100 more of 910"
    page.run("document.getElementById('incident-more').click()")
    assert len(titles(page)) == 200
    page.run(
        "window.moved = 0; new MutationObserver((seen) => {"
        " for (const each of seen) window.moved += each.addedNodes.length + each.removedNodes.length;"
        "}).observe(document.getElementById('incident-rows'), { childList: true })"
    )
    simulator.resolve("storm/1008")  # the first of all
    page.wait_for("document.getElementById('count-resolved').textContent === '1'")
    assert titles(page)[0] == "summary of storm/1004"
    assert page.run("window.moved") <= 4
    for n in range(0, 1010, 2):
        simulator.resolve(f"storm/{n}")
    page.wait_for("document.getElementById('count-resolved').textContent === '505'")
    page.run("document.getElementById('text').focus()")
    page.command("Input.insertText", text="storm/1007")
    assert titles(page) == ["summary of storm/1007"]
    page.run("document.getElementById('clear').click()")
    redraw = "(() => { const start = performance.now(); drawIncidents(); return performance.now() - start; })()"
    assert min(page.run(redraw) for _ in range(9)) < 50  # the best of some: others use this machine, too


def test_a_copy_can_be_read_when_the_simulator_is_gone(browser: Browser, simulator: Simulator, tmp_path: Path) -> None:
    """The copy is one file that asks nobody, shows the same, and says that it is a copy."""
    fill(simulator)
    file = tmp_path / "incidents.html"
    file.write_text(keepsake(simulator.pagerduty), encoding="utf-8")
    page = browser.open(file.as_uri())
    assert len(titles(page)) == 6
    assert counts(page) == ["4", "1", "1", "1", "2"]
    assert text_of(page, "#connection").startswith("A copy, last event")
    open_row(page, "CPU at 99 %")
    page.run("document.querySelector('[data-value=resolved]').click()")
    assert titles(page) == ["summary of done"]
    assert {url for url in page.requested if not url.startswith("data:,")} == {file.as_uri()}
    assert page.complaints == []
    page.close()


def test_dead_letters_come_and_go(opened: Open, simulator: Simulator) -> None:
    """Hidden until somebody looks for them; then each with its error, and away again when they are redriven."""
    page = opened()
    assert page.run("document.getElementById('letters').hidden && document.getElementById('tile-letters').hidden")
    letters = [DeadLetter(time.time(), "invalid_alert", f"{HOSTILE} {number}", HOSTILE) for number in (1, 2)]
    simulator.pagerduty.show_dead_letters(letters)
    page.wait_for("document.getElementById('count-letters').textContent === '2'")
    assert text_of(page, "#letters").count("invalid_alert") == 2
    assert page.run("window.hit ?? null") is None
    assert page.run("document.querySelectorAll('#letters img, #letters script').length") == 0
    simulator.pagerduty.show_dead_letters([])
    page.wait_for("document.getElementById('count-letters').textContent === '0'")
    assert "None: everything was delivered, or waits." in text_of(page, "#letters")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_line_below_a_summary_breaks_between_its_parts(opened: Open, simulator: Simulator, width: int) -> None:
    """A part is on one line, unless it is wider than the screen; the dots between parts are inside the line."""
    words = {"component": "orders database primary", "group": "production", "class": "DatabaseHighCPU"}
    simulator.trigger("a", "OrdersDatabaseHighCPU", source="orders-db-1.eu-west-1.rds.amazonaws.com", **words)
    simulator.trigger("a", "OrdersDatabaseHighCPU", source="orders-db-1.eu-west-1.rds.amazonaws.com", **words)
    page = opened(width=width)
    parts = "[...document.querySelectorAll('.incident .meta > span')]"
    assert page.run(f"{parts}.length") == 6
    assert page.run(f"{parts}.filter((part) => part.getClientRects().length !== 1).length") == 0
    height = "parseFloat(getComputedStyle(document.querySelector('.incident .meta')).lineHeight)"
    assert page.run(f"{parts}.filter((part) => part.offsetHeight > 1.5 * ({height} || 19)).length") == 0
    assert page.run("document.documentElement.scrollWidth") <= width
