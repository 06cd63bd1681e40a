"""The page of a run in Chromium without a screen (make test-browser): light, dark, print, narrow, keyboard, axe."""

import shutil

import pytest

from hrkd.report.page.page import run_page
from hrkd.report.page.several import several_page
from pages import HOSTILE, report_content

pytestmark = pytest.mark.browser

CONTENTS = {
    "usual": lambda: report_content(("books", "dvd", "films")),
    "many": lambda: report_content([f"domain number {i}" for i in range(64)], levels=4, steps=3000),
    "hostile": lambda: report_content((HOSTILE[0], HOSTILE[1]), (HOSTILE[2], HOSTILE[3]), text=" ".join(HOSTILE)),
}


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens a page as a file; what it asks for, and what goes wrong in it, stands in ``troubles``."""
    pages = []

    def of(html, *, width=1100, scheme="light", media="screen"):
        file = tmp_path / f"page-{len(pages)}.html"
        file.write_text(html, encoding="utf-8")
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.troubles = []
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("console", lambda message: page.troubles.append(message.text))
        page.on("dialog", lambda dialog: page.troubles.append("dialog") or dialog.dismiss())
        page.on("request", lambda r: r.url == file.as_uri() or page.troubles.append(f"asks for {r.url}"))
        page.emulate_media(media=media, color_scheme=scheme)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield of
    for page in pages:
        assert page.troubles == []
        page.close()


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", CONTENTS)
def test_axe_finds_nothing(opened, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(run_page(CONTENTS[name]()), scheme=scheme)
    unfold(page)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_axe_finds_nothing_where_runs_stand_side_by_side(opened):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(several_page({"a": report_content(), "b": report_content()}, "Made."))
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [320, 700, 1600])
@pytest.mark.parametrize("name", CONTENTS)
def test_nothing_is_wider_than_the_screen(opened, name, width):
    page = opened(run_page(CONTENTS[name]()), width=width)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", CONTENTS)
def test_no_words_of_a_picture_are_cut(opened, name):
    page = opened(run_page(CONTENTS[name]()))
    unfold(page)
    cut = """[...document.querySelectorAll('figure svg')].flatMap(picture => {
        const frame = picture.getBoundingClientRect()
        return [...picture.querySelectorAll('text')].filter(words => {
            const box = words.getBoundingClientRect()
            return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 3
        }).map(words => picture.getAttribute('aria-label') + ': ' + words.textContent)
    })"""
    found = page.evaluate(cut)
    assert not found, "\n".join(found)


def test_dark_and_light_differ_and_ink_is_told_from_paper(opened):
    colours = "getComputedStyle(document.body).color + getComputedStyle(document.body).backgroundColor"
    light, dark = (opened(run_page(report_content()), scheme=scheme).evaluate(colours) for scheme in ("light", "dark"))
    assert light != dark


def test_on_paper_numbers_are_unfolded_and_links_left_out(opened):
    page = opened(run_page(report_content()), media="print")
    assert page.locator("#accuracy table").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.querySelector('#accuracy details').open") is False


def test_the_keyboard_reaches_links_and_folds(opened):
    page = opened(run_page(report_content()))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#accuracy"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#accuracy"
    page.locator("#accuracy summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#accuracy table").is_visible()


def test_hostile_texts_are_seen_as_texts(opened):
    page = opened(run_page(CONTENTS["hostile"]()))
    unfold(page)
    shown = page.locator("#texts blockquote").first.inner_text()
    for text in HOSTILE[:2]:
        assert text in shown
    assert page.locator("#texts script, #texts img, #texts b").count() == 0


def test_series_have_marks_of_their_own(opened):
    page = opened(run_page(report_content()))
    forms = page.evaluate(
        "[...document.querySelectorAll('#accuracy .legend svg > *')]"
        ".map(each => each.tagName + each.getAttribute('points'))"
    )
    assert len(set(forms)) == len(forms) == 3
