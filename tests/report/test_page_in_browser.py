"""The page in a browser: it draws, asks for nothing, sorts by keyboard, fits a phone and paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gmm_spark.report.page import missing_packages, page_of
from tests.report.test_page import CHARTS, found

pytestmark = pytest.mark.long

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
DRAWN = "document.querySelectorAll('.chart[data-drawn] svg').length"
# Texts of the page that have the colour of what is behind them.
UNSEEN = """() => {
  const paper = getComputedStyle(document.body).backgroundColor;
  return Array.from(document.querySelectorAll('main *')).filter(one =>
    one.childNodes.length && one.firstChild.nodeType === 3 && one.textContent.trim() &&
    getComputedStyle(one)[one.closest('svg') ? 'fill' : 'color'] === paper &&
    !(one.closest('svg') && one.closest('.mark-text'))).length; }"""


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
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    if missing := missing_packages():
        pytest.skip(f"{', '.join(missing)} not installed")
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(found()), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_and_asks_for_nothing(browser: Any, address: str, scheme: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate(OPEN_ALL)
    page.wait_for_function(f"{DRAWN} === {CHARTS}", timeout=30_000)
    assert said == []
    assert asked == [address]
    # Nothing sticks out of a phone: tables scroll by themselves.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate(
        "Array.from(document.querySelectorAll('.chart')).map(c =>"
        " [c.querySelector('svg').getBoundingClientRect().width, c.clientWidth])"
    )
    assert all(100 < picture <= room for picture, room in sizes)
    assert page.evaluate(UNSEEN) == 0
    context.close()


def test_tables_sort_by_keyboard(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.evaluate(OPEN_ALL)
    table = page.locator("table", has=page.locator("caption", has_text="left by segment")).first
    head = table.get_by_role("button", name="rate", exact=True)
    cell = "rows => rows.map(row => Number(row.cells[3].dataset.value))"
    orders = []
    for _ in range(2):
        head.focus()
        page.keyboard.press("Enter")
        orders.append(table.locator("tbody tr").evaluate_all(cell))
    assert orders == [sorted(orders[0], reverse=True), sorted(orders[0])]
    assert head.locator("xpath=..").get_attribute("aria-sort") == "ascending"
    page.close()


def test_on_paper_it_is_light_whatever_the_screen(browser: Any, address: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(address)
    page.emulate_media(media="print")
    colours = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert page.evaluate(UNSEEN) == 0
    page.close()


def test_without_a_script_each_chart_is_there(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".chart svg").count() == CHARTS
    assert page.locator("th button").count() == 0
    assert page.locator(".cards > li").count() == 3
    context.close()
