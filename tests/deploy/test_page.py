"""The page of `hrkd serve`, in Chromium without a screen (make test-browser)."""

import shutil

import pytest
import torch

from hrkd.deploy.predict import Predictor
from served import start

pytestmark = pytest.mark.browser

TEXTS = ["a good book", "the film is bad", "very good"]
COLUMNS = {"text": "text", "text_pair": None, "label": "label", "domain": "domain"}


@pytest.fixture(scope="module")
def page():
    """A page of a browser; what it wants from elsewhere than this machine is an error."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda r: "127.0.0.1" in r.url or page.errors.append(f"asks for {r.url}"))
        yield page
        browser.close()


@pytest.fixture
def opened(page, request):
    """A function that serves a folder and opens its page."""

    def of(folder, *options):
        server = start(folder, *options)
        request.addfinalizer(server.process.kill)
        page.errors.clear()
        page.goto(server.url)
        page.wait_for_function("document.getElementById('about').textContent.includes('Labels')")
        return page

    yield of
    assert page.errors == []


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def shown(page):
    """Text, labels, widths and numbers of each answer, as they stand on the page."""
    page.wait_for_selector("#answers article, #problem:not(:empty)")
    return [
        {
            "texts": article.locator("blockquote").all_inner_texts(),
            "labels": article.locator(".row > span:first-child").all_inner_texts(),
            "best": article.locator(".best > span:first-child").all_inner_texts(),
            "numbers": [float(text.removesuffix(" %")) for text in article.locator(".number").all_inner_texts()],
            "bars": [bar.evaluate("e => e.getBoundingClientRect().width") for bar in article.locator(".bar").all()],
            "tracks": [bar.evaluate("e => e.getBoundingClientRect().width") for bar in article.locator(".track").all()],
        }
        for article in page.locator("#answers article").all()
    ]


def test_bars_show_what_the_predictor_says_of_the_chosen_domain(opened, exported):
    page, predictor = opened(exported), Predictor.from_pretrained(exported)
    assert page.locator("#domain option").all_inner_texts() == predictor.facts.domains
    for domain in ("books", "music"):
        page.fill("#texts", "\n\n".join(TEXTS))
        page.select_option("#domain", domain)
        with page.expect_response("**/predict"):
            page.click("button")
        page.wait_for_function(f"document.querySelectorAll('#answers article').length == {len(TEXTS)}")
        for answer, text, expected in zip(
            shown(page), TEXTS, predictor(TEXTS, domain=domain, all_labels=True), strict=True
        ):
            assert answer["texts"] == [text]
            assert answer["labels"] == [each["label"] for each in expected]
            assert answer["best"] == answer["labels"][:1]
            assert answer["numbers"] == pytest.approx([100 * each["score"] for each in expected], abs=0.06)
            shares = [100 * bar / track for bar, track in zip(answer["bars"], answer["tracks"], strict=True)]
            assert shares == pytest.approx(answer["numbers"], abs=1)


def test_what_the_server_refuses_is_said_and_goes_away(opened, exported):
    page = opened(exported, "--texts", "2")
    page.fill("#texts", "good\nbad\nvery good")
    page.click("button")
    page.wait_for_selector("#problem:not(:empty)")
    assert page.inner_text("#problem") == "texts: 3 are more than the 2 of a question; ask in parts"
    page.fill("#texts", "good")
    page.click("button")
    page.wait_for_selector("#answers article")
    assert page.inner_text("#problem") == ""


def test_text_is_never_taken_for_markup(opened, exported):
    page = opened(exported)
    text = "<img src=x onerror=\"document.title='broken'\"> good & bad"
    page.fill("#texts", text)
    page.click("button")
    assert shown(page)[0]["texts"] == [text]
    assert page.title() != "broken"


def test_pairs_stay_together_where_lines_are_blank(opened, new_student, tokenizer, tmp_path):
    model = new_student()
    model.config.columns = {**COLUMNS, "text_pair": "second"}
    folder = save(model, tokenizer, tmp_path / "pairs")
    page, predictor = opened(folder), Predictor.from_pretrained(folder)
    assert page.is_visible("#pairs")
    page.fill("#texts", "good book\n\nbad film\n")
    page.fill("#pairs", "bad\n\nvery good\n")
    page.click("button")
    answers = shown(page)
    assert [answer["texts"] for answer in answers] == [["good book", "bad"], ["bad film", "very good"]]
    expected = predictor(["good book", "bad film"], domain="books", text_pairs=["bad", "very good"])
    assert [answer["best"] for answer in answers] == [[each["label"]] for each in expected]
    page.fill("#pairs", "bad")
    page.click("button")
    page.wait_for_selector("#problem:not(:empty)")
    assert "text pair 2" in page.inner_text("#problem")


def test_one_head_asks_for_no_domain_and_a_router_offers_to_find_it(
    opened, shared_head_folder, new_student, tokenizer, tmp_path
):
    page = opened(shared_head_folder)
    assert not page.is_visible("#domain")
    page.click("button")
    assert len(shown(page)) == 1
    model = new_student()
    model.add_router(1, 4.0)
    torch.nn.init.normal_(next(model.router.buffers()))
    page = opened(save(model, tokenizer, tmp_path / "routed"))
    assert page.locator("#domain option").all_inner_texts()[0] == "unknown (let it find out)"
    page.select_option("#domain", "auto")
    page.click("button")
    assert len(shown(page)) == 1


def test_it_fits_a_narrow_screen_and_works_by_keyboard(opened, exported):
    page = opened(exported)
    page.set_viewport_size({"width": 320, "height": 640})
    page.fill("#texts", "good " * 30)
    page.press("#texts", "Tab")
    page.press("#domain", "Tab")
    page.keyboard.press("Enter")
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 720})
