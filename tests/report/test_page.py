"""The page as text: it holds all figures, nothing from elsewhere, stays small, and shows hostile texts as texts."""

import re
from html.parser import HTMLParser

import pytest

from hrkd.report.page.page import run_page
from hrkd.report.page.several import several_page, shown_names
from hrkd.report.page.svg import SERIES, Canvas
from hrkd.run.report import TEXTS
from pages import HOSTILE, report_content

FIGURES = {
    *("accuracy", "flips", "confusion", "calibration", "ratios", "levels", "hierarchy", "relations"),
    *("learning", "frontier", "cost", "data"),
}
LARGEST = 500_000


class Read(HTMLParser):
    """Ids, links, names of tags and attributes, and all text of a page."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.tags, self.attributes, self.text = set(), set(), [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *each) for each in attrs]
        self.ids |= {value for name, value in attrs if name == "id"}
        self.links |= {value for name, value in attrs if name in ("href", "src", "action", "data", "srcset")}

    def handle_data(self, data):
        self.text.append(data)


def test_every_figure_is_named_described_and_has_its_numbers():
    page = run_page(report_content())
    read = Read(page)
    assert read.ids >= FIGURES
    assert {link.removeprefix("#") for link in read.links} <= read.ids
    for name in FIGURES:
        body = re.search(rf'<figure id="{name}".*?</figure>', page, re.DOTALL)[0]
        assert re.search(r"<h2[^>]*>[^<]+</h2>\s*<p>[^<]+</p>", body), name
        assert "<svg" in body, name
        assert "<table>" in body, name
    names = [value for tag, name, value in read.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(names) == read.tags.count("svg") - 1  # but that which holds a pattern alone
    assert all(names)


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    page = run_page(report_content())
    read = Read(page)
    assert all(link.startswith("#") for link in read.links)
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(read.tags)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\((?!#)", page)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_and_names_are_shown_as_they_are(text):
    content = report_content(domains=(text, "dvd"), labels=(text, "good"), text=text)
    content |= {"name": text, "verdict": [text], "remarks": [text], "next": text}
    plain = Read(run_page(report_content()))
    read = Read(run_page(content))
    assert sorted(set(read.tags)) == sorted(set(plain.tags))
    assert {name for _, name, _ in read.attributes} == {name for _, name, _ in plain.attributes}
    shown = "".join(read.text)
    assert "\x1b" not in shown
    assert "\x00" not in shown
    assert text.split("\x1b")[0] in shown


@pytest.mark.parametrize("count", [8, 60])
def test_a_page_of_many_domains_labels_and_steps_stays_small(count):
    domains, labels = [f"domain number {i}" for i in range(64)], [f"a rather long label {i}" for i in range(count)]
    large = report_content(domains, labels, levels=5, steps=20_000, texts=2, text="long words " * 27)
    large["flips"]["texts"] = large["flips"]["texts"][:TEXTS]
    page = run_page(large)
    assert len(page.encode()) < LARGEST
    assert Read(page).ids >= FIGURES
    for name in domains:
        assert name in page


def test_thousands_of_domains_are_cut_with_a_word_about_it():
    large = report_content([f"d{i}" for i in range(1500)], levels=2, steps=60, texts=0)
    large["history"] |= {"relations": None}
    page = run_page(large)
    assert "1,351 more domains in report.json" in page  # 150 of the domains and their mean


def test_the_worst_domain_stands_first_and_is_marked():
    content = report_content(domains=("books", "dvd", "films"))
    for name, value in {"books": 0.9, "dvd": 0.5, "films": 0.7}.items():
        content["models"]["student"]["test"]["domains"][name]["accuracy"] = value
    page = run_page(content)
    figure = re.search(r'<figure id="accuracy".*?</figure>', page, re.DOTALL)[0]
    names = re.findall(r">(books|dvd|films|Mean|worst domain)<", figure)
    assert names[:5] == ["dvd", "worst domain", "films", "books", "Mean"]


def test_of_equal_ratios_the_page_says_so():
    content = report_content()
    content["history"] |= {"ratios": None, "last_ratios": None, "hierarchy": None, "relations": None}
    page = run_page(content)
    assert "All domains count the same" in page
    assert not {"ratios", "relations", "hierarchy"} & Read(page).ids


def test_runs_side_by_side_show_what_differs_and_what_they_share_once():
    one, other = report_content(), report_content()
    other["models"]["student"]["test"]["mean"]["accuracy"] = 0.123
    other["recipe"][0] = other["recipe"][0] | {"value": "2"}
    page = several_page({"a": one, "b": other}, "Made.")
    assert "a: Teacher" in page
    assert "b: Teacher" not in re.search(r'<figure id="accuracy".*?</figure>', page, re.DOTALL)[0]
    assert "b: Student" in page
    assert "12.3" in page
    recipes = re.search(r'<figure id="recipes".*?</figure>', page, re.DOTALL)[0]
    assert "run.seed" in recipes
    assert "data.max_length" not in recipes
    assert "other test rows" not in page
    other["data_digest"] = "y"
    assert "other test rows" in several_page({"a": one, "b": other}, "Made.")


def test_runs_are_called_by_the_ends_of_their_paths_that_tell_them_apart():
    assert shown_names(["runs/a/x", "runs/b/x"]) == ["a/x", "b/x"]
    assert shown_names(["runs/a", "runs/b"]) == ["a", "b"]


def test_as_many_series_as_there_are_forms_are_told_without_colour():
    drawn = []
    for number in range(len(SERIES)):
        canvas = Canvas(20, 20, "a mark")
        canvas.mark(10, 10, number)
        drawn.append(re.sub(r"\bs\d\b", "", str(canvas)))
    assert len(set(drawn)) == len(SERIES) >= 12
