"""The page in a browser: it draws, asks for nothing, fits a phone and paper, is used by keyboard.

A check gives what is wrong with a page: nothing of the page as it is, something of each page that
is broken on purpose here.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gmm_spark.report.page import missing_packages, page_of
from tests.report.test_page import EVIL, Page, found

pytestmark = pytest.mark.long

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDE, NARROW = 1100, 360
# How long a chart may take to be drawn, in milliseconds.
PATIENCE = 20_000

OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
UNDRAWN = "document.querySelectorAll('.chart:not([data-drawn])').length"
MARKS = """Array.from(document.querySelectorAll('.chart')).filter(chart => chart.querySelectorAll(
  '.mark-rect path, .mark-symbol path, .mark-rule line, .mark-line path, .mark-area path, ' +
  '.mark-bar path').length === 0).map(chart => chart.getAttribute('aria-label'))"""
UNFIT = """Array.from(document.querySelectorAll('.chart')).filter(chart => {
  const width = chart.querySelector('svg').getBoundingClientRect().width;
  return width < 100 || width > chart.clientWidth + 1; }).map(c => c.getAttribute('aria-label'))"""
# Tables of what sets segments apart of which a part is not seen.
CUT = """Array.from(document.querySelectorAll('#differences .table')).filter(table =>
  table.scrollWidth > table.clientWidth + 1).map(table => table.getAttribute('aria-label'))"""
# Charts whose letters are smaller than they were made.
SHRUNK = """Array.from(document.querySelectorAll('.chart svg')).filter(svg =>
  svg.getBoundingClientRect().width < 0.9 * svg.viewBox.baseVal.width).map(svg =>
  svg.closest('.chart').getAttribute('aria-label'))"""

# Texts of a chart that lie on one another, or are cut at its edge; blocks on one another.
OVERLAPS = """() => {
  const found = [], name = chart => chart.getAttribute('aria-label').slice(0, 40);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  document.querySelectorAll('.chart').forEach(chart => {
    const frame = chart.querySelector('svg').getBoundingClientRect();
    const texts = Array.from(chart.querySelectorAll('text')).filter(one =>
      one.textContent.trim() && getComputedStyle(one).opacity !== '0').map(one =>
      [one.textContent, one.getBoundingClientRect()]).filter(([_, box]) => box.width > 0);
    texts.forEach(([text, box], i) => {
      if (box.left < frame.left - 3 || box.right > frame.right + 3 || box.top < frame.top - 3 ||
          box.bottom > frame.bottom + 3) { found.push(`${name(chart)}: ${text} is cut`); }
      // The same twice is a text on its halo.
      texts.slice(i + 1).forEach(([other, its]) => {
        if (over(box, its) && !(text === other && Math.abs(box.left - its.left) < 1)) {
          found.push(`${name(chart)}: ${text} on ${other}`); } }); });
  });
  document.querySelectorAll('header, main, section, figure, .cards').forEach(block => {
    const parts = Array.from(block.children).map(one => [one, one.getBoundingClientRect()])
      .filter(([one, box]) => box.width > 1 && box.height > 1);
    parts.forEach(([one, box], i) => parts.slice(i + 1).forEach(([other, its]) => {
      if (over(box, its)) { found.push(`${one.textContent.slice(0, 40)}: blocks overlap`); } }));
  });
  return found; }"""

# Texts of less contrast than 4.5, large ones 3, with what is drawn, or coloured, behind them.
PALE = """() => {
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v =>
    v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const isSeen = colour => { const n = numbers(colour);
    return n.length >= 3 && (n.length < 4 || n[3] > 0.5); };
  const behind = one => { for (let e = one; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (isSeen(colour)) { return colour; } } return 'rgb(255, 255, 255)'; };
  const under = (one, cells) => { const box = one.getBoundingClientRect();
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    const hit = cells.filter(([_, b]) =>
      b.left <= x && x <= b.right && b.top <= y && y <= b.bottom);
    return hit.length ? getComputedStyle(hit[hit.length - 1][0]).fill : behind(one); };
  const found = [];
  const judge = (one, colour, ground) => {
    const [a, b] = [light(numbers(colour)), light(numbers(ground))].sort((x, y) => y - x);
    const large = parseFloat(getComputedStyle(one).fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) {
      found.push(`${one.textContent.trim().slice(0, 40)}: ${colour} on ${ground}`); } };
  document.querySelectorAll('body *').forEach(one => {
    const own = Array.from(one.childNodes).some(n => n.nodeType === 3 && n.data.trim());
    if (!own || one.closest('svg, script, style') || !one.getClientRects().length) { return; }
    judge(one, getComputedStyle(one).color, behind(one)); });
  document.querySelectorAll('.chart svg').forEach(svg => {
    const cells = Array.from(svg.querySelectorAll('.mark-rect path'))
      .map(one => [one, one.getBoundingClientRect()]);
    svg.querySelectorAll('text').forEach(one => {
      const style = getComputedStyle(one);
      if (one.textContent.trim() && style.opacity !== '0' && one.getClientRects().length) {
        judge(one, style.fill, under(one, one.closest('.mark-text.role-mark') ? cells : [])); } });
  });
  return found; }"""

# Every text that is shown.
TEXTS = """() => Array.from(document.querySelectorAll('body *')).filter(one =>
  Array.from(one.childNodes).some(n => n.nodeType === 3 && n.data.trim()) &&
  !one.closest('script, style, nav, .skip, .slider') && one.getClientRects().length &&
  getComputedStyle(one).visibility === 'visible').map(one => one.textContent.trim())"""

# What is wrong with the sorting of any table: both ways, by every column, by a click.
UNSORTED = """() => {
  const found = [];
  document.querySelectorAll('table').forEach(table => {
    const name = table.caption.textContent;
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      ['descending', 'ascending'].forEach(way => {
        const button = head.querySelector('button');
        if (!button) { found.push(`${name}: no button`); return; }
        button.click();
        if (head.getAttribute('aria-sort') !== way ||
            table.querySelectorAll('[aria-sort]').length !== 1) {
          found.push(`${name}: ${head.textContent} is not said to be ${way}`); }
        const cells = Array.from(table.tBodies[0].rows).map(row => row.cells[column]);
        const values = cells.map(cell => cell.dataset.value === undefined ? null :
          Number(cell.dataset.value));
        const known = values.filter(value => value !== null);
        if (known.length && known.length < values.length && values.some((v, i) =>
            v === null && ['', '-'].includes(cells[i].textContent.trim()) &&
            values.slice(i + 1).some(w => w !== null))) {
          found.push(`${name}: ${head.textContent} has gaps before numbers`); }
        if (known.length === values.length && known.some((v, i) =>
            i && (way === 'ascending' ? v < known[i - 1] : v > known[i - 1]))) {
          found.push(`${name}: ${head.textContent} is not ${way}`); }
      });
    });
  });
  return found; }"""

TAGS_OF = """([place, tags]) => Array.from(document.querySelector(place).querySelectorAll(tags))
  .map(one => one.outerHTML)"""

# What Tab has to reach: what is shown of it, by its place among all.
CONTROLS = """() => Array.from(document.querySelectorAll(
  'a[href], button, input, select, textarea, summary, [tabindex="0"]')).filter(one =>
  one.checkVisibility() && !one.disabled).map((one, i) => {
    one.dataset.place = i; return `${one.tagName} ${one.textContent.trim().slice(0, 30)}`; })"""
FOCUSED = """() => { const one = document.activeElement, style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return [one.dataset.place === undefined ? null : Number(one.dataset.place),
    style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 &&
    box.right > 0 && box.width > 0]; }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def html() -> str:
    if missing := missing_packages():
        pytest.skip(f"{', '.join(missing)} not installed")
    return page_of(found())


class Reader:
    """Somebody who reads pages: a browser, and a file for the page."""

    def __init__(self, browser: Any, folder: Any) -> None:
        self.browser = browser
        self.path = folder / "report.html"

    @contextmanager
    def opened(self, html: str, width: int = WIDE, scheme: str = "light", **how: Any) -> Any:
        """A page with the network off, all of it unfolded, and what was said and asked for."""
        self.path.write_text(html, "utf-8")
        context = self.browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True, **how
        )
        page = context.new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.goto(self.path.as_uri())
        yield page
        context.close()

    @contextmanager
    def drawn(self, html: str, width: int = WIDE, scheme: str = "light") -> Any:
        with self.opened(html, width, scheme) as page:
            page.evaluate(OPEN_ALL)
            page.wait_for_function(f"() => {UNDRAWN} === 0", timeout=PATIENCE)
            yield page


@pytest.fixture(scope="module")
def reader(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(browser, tmp_path_factory.mktemp("page"))


Check = Callable[[Reader, str], list[Any]]


def is_quiet(reader: Reader, html: str) -> list[Any]:
    """Nothing is asked for, nothing said in the console, no script of a name runs."""
    with reader.opened(html) as page:
        page.evaluate(OPEN_ALL)
        page.wait_for_timeout(1000)
        return [*page.said, *(url for url in page.asked if url != reader.path.as_uri())]


def draws(reader: Reader, html: str) -> list[Any]:
    """Every chart is drawn by its script, with marks."""
    with reader.opened(html) as page:
        page.evaluate(OPEN_ALL)
        try:
            page.wait_for_function(f"() => {UNDRAWN} === 0", timeout=5000)
        except Exception:
            return [f"{page.evaluate(UNDRAWN)} charts are not drawn", *page.said]
        return list(page.evaluate(MARKS))


def fits(reader: Reader, html: str) -> list[Any]:
    """Nothing sticks out of a phone: tables scroll by themselves."""
    with reader.drawn(html, NARROW) as page:
        wide = page.evaluate("document.documentElement.scrollWidth")
        return [*([f"{wide} pixels wide"] if wide > NARROW else []), *page.evaluate(UNFIT)]


def lies_apart(*widths: int) -> Check:
    def check(reader: Reader, html: str) -> list[Any]:
        """No text or block lies on another."""
        for width in widths:
            with reader.drawn(html, width) as page:
                if said := page.evaluate(OVERLAPS):
                    return list(said)
        return []

    return check


def has_contrast(scheme: str) -> Check:
    def check(reader: Reader, html: str) -> list[Any]:
        """All texts are told from what is behind them."""
        with reader.drawn(html, scheme=scheme) as page:
            return list(page.evaluate(PALE))

    return check


def prints(reader: Reader, html: str) -> list[Any]:
    """On paper it is black on white whatever the screen, and has all texts that the screen has."""
    with reader.drawn(html, scheme="dark") as page:
        on_screen = page.evaluate(TEXTS)
        page.emulate_media(media="print")
        on_paper = page.evaluate(TEXTS)
        said = [f"not on paper: {text}" for text in sorted(set(on_screen) - set(on_paper))]
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        said += [] if ground == "rgb(255, 255, 255)" else [f"paper is {ground}"]
        return [*said, *page.evaluate(PALE), *page.evaluate(OVERLAPS)]


def sorts(reader: Reader, html: str) -> list[Any]:
    """Tables sort by every column, and say how."""
    with reader.opened(html) as page:
        page.evaluate(OPEN_ALL)
        return list(page.evaluate(UNSORTED))


def is_used_by_keyboard(reader: Reader, html: str) -> list[Any]:
    """Tab reaches every control, which shows that it is reached; Enter and Space do what a click
    does."""
    said = []
    with reader.opened(html) as page:
        page.wait_for_function(f"() => {UNDRAWN} < document.querySelectorAll('.chart').length")
        controls = page.evaluate(CONTROLS)
        reached = set()
        for _ in range(len(controls) + 5):
            page.keyboard.press("Tab")
            place, is_shown = page.evaluate(FOCUSED)
            if place is None or place in reached:
                break
            reached.add(place)
            if not is_shown:
                said.append(f"focus is not seen: {controls[place]}")
        said += [f"not reached: {c}" for i, c in enumerate(controls) if i not in reached]
        summary = page.locator("summary", has_text="Numbers: left by segment").first
        for key, is_open in [("Enter", True), ("Space", False), ("Enter", True)]:
            summary.press(key)
            if summary.evaluate("one => one.parentNode.open") is not is_open:
                said.append(f"{key} does not fold")
        table = page.locator("table", has=page.locator("caption", has_text="left by segment")).first
        head = table.locator("th", has_text="rate").first
        for key, way in [("Enter", "descending"), ("Space", "ascending")]:
            head.locator("button").press(key, timeout=2000)
            if head.get_attribute("aria-sort") != way:
                said.append(f"{key} does not sort")
        link = page.locator("nav a").last
        link.press("Enter")
        if page.evaluate("location.hash") != link.get_attribute("href"):
            said.append("a link does not lead")
    return said


def is_accessible(*widths: int) -> Check:
    def check(reader: Reader, html: str) -> list[Any]:
        """axe-core finds nothing serious, or worse."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        for width, scheme in itertools.product(widths, ["light", "dark"]):
            with reader.drawn(html, width, scheme) as page:
                said = [
                    f"{one['id']} ({width}, {scheme}): {one['nodes'][0]['html'][:120]}"
                    for one in axe.run(page).response["violations"]
                    if one["impact"] in ("serious", "critical")
                ]
                if said:
                    return said
        return []

    return check


def is_there_without_a_script(reader: Reader, html: str) -> list[Any]:
    """Words, tables and a picture of each chart, in the file itself."""
    said = []
    with reader.opened(html, java_script_enabled=False) as page:
        charts = page.locator(".chart")
        for i in range(charts.count()):
            if charts.nth(i).locator("svg path, svg line").count() < 2:
                said.append(f"no picture: {charts.nth(i).get_attribute('aria-label')}")
        tables = Page(html).tables
        if page.locator("table").count() != len(tables) or page.locator("tbody tr").count() != sum(
            len(rows) - 1 for rows in tables.values()
        ):
            said.append("tables are missing")
        if page.locator(".cards > li:visible").count() != len(found().segments):
            said.append("segments are missing")
        if page.locator("th button").count():
            said.append("a button that does nothing")
    return said


def shows_names_as_they_are(reader: Reader, html: str) -> list[Any]:
    """Names and values that are HTML are texts on the page, also of what hovers over a chart."""
    with reader.drawn(html) as page:
        said = page.evaluate(TAGS_OF, ["body", "img, u, main script:not([type])"])
        if EVIL not in page.locator("main").inner_text():
            said.append("the name is not shown")
        mark = page.locator(".chart[aria-label*=alert] .mark-rect path").first
        mark.hover()
        tip = page.locator("#vg-tooltip-element.visible")
        tip.wait_for(timeout=3000)
        said += page.evaluate(TAGS_OF, ["#vg-tooltip-element", "b, i, img, script"])
        return [*said, *page.said]


def slides(reader: Reader, html: str) -> list[Any]:
    """The slider of the map moves ellipses and says where it is; Play goes on by itself."""
    with reader.drawn(html) as page:
        slider = page.locator(".slider input")
        chart = page.locator("figure", has=slider).locator(".chart")
        output = page.locator(".slider output")

        def seen() -> tuple[str, str, str]:
            page.wait_for_timeout(300)
            return chart.inner_html(), output.inner_text(), slider.get_attribute("aria-valuetext")

        moves = []
        slider.focus()
        last = seen()
        for key in ("Home", "ArrowRight", "End"):
            page.keyboard.press(key)
            moves.append(seen())
        said = [] if moves[-1] == last else ["the end is another"]
        said += [f"{key} changes nothing" for key, a, b in zip(
            ("Home", "ArrowRight", "End"), [last, *moves], moves, strict=False)
            if any(x == y for x, y in zip(a, b, strict=True))]  # fmt: skip
        page.keyboard.press("Home")
        page.locator(".slider button").press("Enter")
        page.wait_for_timeout(1000)
        return [*said, *([] if seen()[0] != moves[0][0] else ["it does not play"]), *page.said]


def shown_again_after_a_turn(reader: Reader, html: str) -> list[Any]:
    """Charts are drawn anew for another width, as of a phone that is turned."""
    with reader.drawn(html, WIDE) as page:
        page.set_viewport_size({"width": NARROW, "height": 800})
        page.wait_for_timeout(1500)
        return [*page.evaluate(SHRUNK), *page.evaluate(UNFIT), *page.evaluate(OVERLAPS)]


STYLE = "</style>"
# A check, and pages broken on purpose: what is put in place of what.
CHECKS: dict[str, tuple[Check, list[tuple[str, str]]]] = {
    "quiet": (
        is_quiet,
        [
            ("<main>", '<main><img src="https://example.org/x.png" alt="">'),
            (
                '<meta http-equiv="Content-Security-Policy"',
                '<link rel="stylesheet" href="https://example.org/x.css"><meta name="x"',
            ),
            ('"use strict";', '"use strict"; console.log("here");'),
        ],
    ),
    "draws": (draws, [('"mark":', '"mrk":'), ("ast: true", "ast: false")]),
    "fits": (
        fits,
        [
            (STYLE, "body { min-width: 500px; }</style>"),
            ("max-width: 100%", ""),
        ],
    ),
    "apart, narrow": (
        lies_apart(NARROW),
        [(STYLE, ".chart text { font-size: 30px !important; }</style>")],
    ),
    "apart, wide": (
        lies_apart(800, WIDE, 1500),
        [(STYLE, "figcaption { margin-bottom: -3rem; }</style>")],
    ),
    "contrast, light": (
        has_contrast("light"),
        [("--strong: #ffffff", "--strong: #1c2126"), ("--soft: #56606b", "--soft: #96a0ab")],
    ),
    "contrast, dark": (
        has_contrast("dark"),
        [("--ink: #e8eaed", "--ink: #2a2f36"), ("--weak: #e8eaed", "--weak: #2a2f36")],
    ),
    "print": (
        prints,
        [
            (STYLE, "@media print { figcaption p { display: none; } }</style>"),
            ("--ink: #000000", "--ink: #dddddd"),
            ("--weak: #000000", "--weak: #eeeeee"),
            ("--paper: #ffffff; --card: #ffffff;", "--card: #ffffff;"),
        ],
    ),
    "sorts": (
        sorts,
        [
            ("sign * compare(a, b)", "compare(a, b)"),
            ("return isEmpty(a) - isEmpty(b)", "return 0"),
            ('head.setAttribute("aria-sort"', 'head.setAttribute("data-sort"'),
        ],
    ),
    "keyboard": (
        is_used_by_keyboard,
        [
            ('button.type = "button";', 'button.type = "button"; button.tabIndex = -1;'),
            (":focus-visible { outline: 3px", ":focus-visible { outline: 0px"),
            ('button.addEventListener("click"', 'button.addEventListener("mousedown"'),
            (".skip:focus { position: static; }", ""),
        ],
    ),
    "axe": (
        is_accessible(WIDE, NARROW),
        [
            ('<html lang="en">', "<html>"),
            ("--link: #0a558c", "--link: #a0c8e8"),
            ('class="chart" role="img" aria-label=', 'class="chart" role="img" data-label='),
        ],
    ),
    "no script": (is_there_without_a_script, [("<svg", "<svg hidden><!--")]),
    "names": (shows_names_as_they_are, [("&lt;script&gt;alert(1)&lt;/script&gt;", EVIL)]),
    "slides": (
        slides,
        [
            ('.signal("iteration", at)', '.signal("iteration", 0)'),
            ('input.addEventListener("input"', 'input.addEventListener("x"'),
            ('input.setAttribute("aria-valuetext", said[at]);', ""),
            ("}, 350);", "}, 350000);"),
        ],
    ),
    "turned": (
        shown_again_after_a_turn,
        [('window.addEventListener("resize"', '(function () {})("resize"')],
    ),
}


def test_on_a_phone_what_sets_segments_apart_is_seen_whole(reader: Reader) -> None:
    segments = found()
    name = "total_international_minutes"
    difference = (
        segments.segments[0]
        .sets_apart[0]
        .model_copy(update={"column": name, "segment": 3096.0, "rest": 14787.0})
    )
    for one in segments.segments:
        one.sets_apart[:] = [difference]
    made = page_of(segments)
    for style, cut in (("", 0), ("#differences td { min-width: 6rem; }", len(segments.segments))):
        with reader.opened(made.replace(STYLE, f"{style}{STYLE}"), NARROW) as page:
            assert len(page.evaluate(CUT)) == cut


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_wrong_with(reader: Reader, html: str, check: str) -> None:
    assert CHECKS[check][0](reader, html) == []


@pytest.mark.parametrize(
    ("check", "there", "broken"),
    [(check, *pair) for check, (_, pairs) in CHECKS.items() for pair in pairs],
)
def test_a_check_sees(reader: Reader, html: str, check: str, there: str, broken: str) -> None:
    assert there in html
    assert CHECKS[check][0](reader, html.replace(there, broken)) != []
