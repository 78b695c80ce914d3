"""The site in a browser: Chromium by Playwright, from disk, as a reader with a mouse, a keyboard or a phone has it."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsbench.board.site import write_site
from tests.board.results import LABELS, make_result
from tests.board.test_site import HOSTILE

pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def site(board, put, tmp_path) -> Path:
    leaked = {"files": (next(iter(LABELS)),)}
    good = make_result("good", wrong=2)
    put(dataclasses.replace(good, model=dataclasses.replace(good.model, title=HOSTILE)), leaked)
    put(make_result("poor", wrong=30), leaked)
    put(make_result("poor", seed=1, wrong=31), leaked)
    for number in range(3):
        put(make_result(f"other{number}", wrong=12 + number), leaked)
    write_site(board, tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def page(browser, site) -> Iterator[Any]:
    """A page of a window whose faults, and requests of anything but the site's files, fail the test."""
    window = browser.new_page(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    window.on("pageerror", lambda error: faults.append(str(error)))
    window.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    window.on("request", lambda request: re.match("file:|data:", request.url) or faults.append(request.url))
    window.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    window.goto((site / "index.html").as_uri())
    yield window
    window.close()
    assert faults == []


def names(page: Any) -> list[str]:
    return page.locator("#board tbody th code").all_inner_texts()


def test_rows_are_sorted_and_filtered(page):
    assert names(page) == ["good", "other0", "other1", "other2", "poor"]
    page.get_by_role("button", name="Accuracy").click()
    assert names(page)[0] == "poor"
    page.get_by_role("searchbox").fill("other")
    assert set(names(page)) == {"other0", "other1", "other2"}
    assert page.locator("#count").inner_text() == "3 of 5 rows"
    page.get_by_label("Test objects").select_option("files")
    assert page.locator("#board tbody td.number").all_inner_texts()
    page.get_by_role("searchbox").fill("nothing of the kind")
    assert names(page) == []


def test_all_of_it_works_by_keyboard(page):
    page.get_by_role("searchbox").focus()
    page.keyboard.type("o")
    page.keyboard.press("Tab")  # the button is disabled: on to the head of the table
    for _ in range(12):
        if page.evaluate("document.activeElement.textContent") == "Accuracy":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Accuracy")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_two_ticked_rows_are_compared(page):
    for name in ("good", "poor"):
        page.locator("tr", has=page.locator(f"code:text-is('{name}')")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare two ticked rows").click()
    page.wait_for_url("**/compare.html#*")
    text = page.inner_text("main")
    assert "A 96.7 %, B 49.2 %: B gets 28.5 objects fewer of 60 right" in text
    assert "B right, A wrong (1)\nObject\tClass\nbathtub_0000\tbathtub" in text
    assert "A right, B wrong (30)" in text


def test_an_entry_opens_and_leads_back(page):
    page.locator("tbody th a").first.click()
    assert "Confusion" in page.inner_text("body") or "confusion" in page.inner_text("body")
    page.locator("nav a, header a").first.click()
    assert page.title() == "gsbench board"


def test_texts_of_others_stay_texts(page):
    assert HOSTILE[:40] in page.inner_text("#board")
    assert page.locator("#board img, #board script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page, scheme):
    page.emulate_media(color_scheme=scheme)
    shades = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    inks = page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
    assert (sum(shades) > sum(inks)) == (scheme == "light")
    assert abs(sum(shades) - sum(inks)) > 450, "enough contrast to read"


def test_a_phone_shows_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert names(page)[0] == "good"


def test_a_thousand_rows_open_at_once(browser, board, put, tmp_path):
    """The page shows the first rows and more on demand; that it opens in a second is measured, not tested."""
    put(make_result("net", wrong=1))
    write_site(board, tmp_path / "site")
    index = tmp_path / "site/index.html"
    text = index.read_text()
    rows = re.search(r'"rows":\s*\[(\{.*?\})\]', text)
    assert rows is not None
    many = ", ".join(re.sub(r'"id":\s*0', f'"id": {number}', rows[1]) for number in range(1000))
    index.write_text(text.replace(rows[1], many))
    window = browser.new_page()
    window.goto(index.as_uri())
    assert window.locator("#count").inner_text() == "1000 of 1000 rows"
    assert window.locator("#board tbody tr").count() == 200
    window.get_by_role("button", name="Show more").click()
    assert window.locator("#board tbody tr").count() == 400
    window.close()
