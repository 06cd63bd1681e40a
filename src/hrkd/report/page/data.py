"""What a page says of the data and the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.page.figure import Figure, Segment, cut, stacked_bars
from hrkd.report.page.svg import ticks
from hrkd.support.text_table import PlainTable, or_nothing, percent

__all__ = ["data_figure", "recipe_table"]

Row = Mapping[str, Any]
PARTS = ("train", "dev", "test", "unlabelled")
COUNTS = {
    "repeated": "Repeated",
    "conflicting": "Conflicting labels",
    "in_other_domains": "In other domains too",
}

BEYOND = (
    "Findings are of the rows alone here; hrkd check with the run's recipe.yaml adds what models say of them: texts "
    "that are cut (D206), labels that words do not tell (D109), domains that words do not tell apart (D306), and how "
    "small a difference dev and test can show (D402)."
)


def data_figure(data: Row, domains: Sequence[str]) -> Figure:
    """Rows of each domain and part, and what is odd about them.

    Args:
        data: content of data.json, and ``findings`` (of each ``code``, ``domain``, ``found`` and ``advice``).
        domains: all names.
    """
    cells = {(part["domain"], part["split"]): part for part in data["parts"]}
    known = [name for name in PARTS if any((domain, name) in cells for domain in domains)]
    totals = {name: sum(_rows(cells, name, part) for part in known) for name in domains}
    shown = sorted(domains, key=lambda name: totals[name])
    bars = {
        name: [
            Segment(f"p-{part}", count, f"{part} {count:,}", f"{part}: {count:,}")
            for part in known
            for count in [_rows(cells, name, part)]
        ]
        for name in shown
    }
    canvas = stacked_bars("Rows by domain", bars, "rows", _counted)
    rows = tuple(_row(cells, name, known) for name in domains)
    columns = (
        "Domain",
        *(f"{part.capitalize()} rows" for part in known),
        "Most frequent label, %",
        "Words (median)",
        *COUNTS.values(),
    )
    return Figure(
        "data",
        "The data",
        "Rows of each domain by part, the fewest on top. "
        + " ".join([*(f"{note.rstrip('.')}." for note in data["notes"]), BEYOND]),
        (canvas,),
        (cut(PlainTable("", columns, rows), "domains"), *_findings(data["findings"])),
    )


def _counted(longest: float) -> list[tuple[float, str]]:
    return [(value, f"{value:,.0f}") for value in ticks(0, longest)]


def _findings(found: Sequence[Row]) -> list[PlainTable]:
    if not found:
        return []
    rows = tuple((each["code"], each["domain"] or "all", each["found"], each["advice"]) for each in found)
    note = ("hrkd explain CODE says more.",)
    columns = ("Code", "Domain", "Found", "What to do")
    return [cut(PlainTable("What is odd about the rows", columns, rows, note, keys=4), "findings")]


def _rows(cells: Mapping[tuple[str, str], Row], domain: str, part: str) -> int:
    return int(cells[domain, part]["rows"]) if (domain, part) in cells else 0


def _row(cells: Mapping[tuple[str, str], Row], domain: str, known: Sequence[str]) -> tuple[str, ...]:
    own = [cells[domain, part] for part in known if (domain, part) in cells]
    labels: dict[str, int] = {}
    for part in own:
        for label, count in part["labels"].items():
            labels[label] = labels.get(label, 0) + count
    train = cells.get((domain, "train"))
    words = train["words"]["median"] if train and train["words"] else None
    share = max(labels.values()) / max(1, sum(labels.values())) if labels else None
    return (
        domain,
        *(f"{_rows(cells, domain, part):,}" for part in known),
        or_nothing(share, percent),
        or_nothing(words, "{:,.0f}".format),
        *(f"{sum(part[name] for part in own):,}" for name in COUNTS),
    )


def recipe_table(recipe: Sequence[Row]) -> PlainTable:
    """Every field of the recipe; those that differ from the defaults first.

    Args:
        recipe: ``field``, ``value``, ``default`` and ``differs`` of each.
    """
    ordered = sorted(recipe, key=lambda each: not each["differs"])
    rows = tuple(
        (each["field"], each["value"], each["default"], "differs" if each["differs"] else "") for each in ordered
    )
    return PlainTable("", ("Field", "Value", "Default", "Differs"), rows, keys=3)
