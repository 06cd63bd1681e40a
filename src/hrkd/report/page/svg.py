"""Drawing as SVG elements: marks, lines, axes and cells, coloured by classes of the page's style sheet.

Texts and attributes are escaped by the library that writes the elements. Coordinates are in pixels, from the top left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from hrkd.support.messages import visible

__all__ = ["SERIES", "Canvas", "Scale", "colour", "shortened", "ticks"]

COLOURS = 6
"""Of series, in the page's style sheet."""

CROSS = (
    *((-1.2, -0.7), (-0.7, -1.2), (0, -0.5), (0.7, -1.2), (1.2, -0.7), (0.5, 0)),
    *((1.2, 0.7), (0.7, 1.2), (0, 0.5), (-0.7, 1.2), (-1.2, 0.7), (-0.5, 0)),
)
OUTLINES = {
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "cross": CROSS,
    "upside down": ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    "hourglass": ((-1, -1.1), (1, -1.1), (-1, 1.1), (1, 1.1)),
    "bow": ((-1.1, -1), (1.1, 1), (1.1, -1), (-1.1, 1)),
    "bar": ((-1.4, -0.45), (1.4, -0.45), (1.4, 0.45), (-1.4, 0.45)),
    "pillar": ((-0.45, -1.4), (0.45, -1.4), (0.45, 1.4), (-0.45, 1.4)),
    "half": ((-0.3, -1.2), (0.9, 0), (-0.3, 1.2)),
}
SERIES = (
    *("circle", "diamond", "square", "triangle", "cross", "ring"),
    *("upside down", "hourglass", "bow", "bar", "pillar", "half"),
)
"""Forms of marks, one for each series, so that none is told by its colour alone."""
ELLIPSIS = "…"
WIDE = 700
"""Pixels from which a picture shrinks with the page."""
TICK = 7
"""Pixels that a character of an axis takes at most."""


def shortened(name: str, most: int) -> str:
    """A name of at most ``most`` characters, its end given up for an ellipsis."""
    return name if len(name) <= most else name[: max(1, most - 1)] + ELLIPSIS


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them unless these are fewer than two."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span))
    step = next(step * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10) if span / (step * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def colour(series: int) -> str:
    """The class of a series' colour: of more than there are, several have one, in different forms."""
    return f"s{series % COLOURS}"


@dataclass(frozen=True)
class Scale:
    """From values between ``low`` and ``high`` to pixels between ``start`` and ``end``; ``log`` scales ratios."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels of a value; those outside go to the nearer end."""
        low, high, here = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        share = (here - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


class Canvas:
    """One picture that grows by its marks."""

    def __init__(self, width: float, height: float, title: str, *, description: str = "") -> None:
        """Begin an empty picture; ``title`` and ``description`` are what a screen reader says of it."""
        self.width, self.height = width, height
        said = f"{title}. {description}" if description else title
        self._root = ElementTree.Element(
            "svg",
            {"viewBox": f"0 0 {_number(width)} {_number(height)}", "width": _number(width), "role": "img"},
        )
        self._root.set("aria-label", visible(said))
        if width >= WIDE:
            self._root.set("class", "big")

    def __str__(self) -> str:
        return ElementTree.tostring(self._root, encoding="unicode")

    def line(self, one: tuple[float, float], other: tuple[float, float], look: str) -> None:
        """A straight line between two points."""
        places = zip(("x1", "y1", "x2", "y2"), (*one, *other), strict=True)
        self._add("line", look, **{name: _number(value) for name, value in places})

    def path(self, points: Iterable[tuple[float, float]], look: str) -> None:
        """A line through several points."""
        joined = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._add("polyline", look, points=joined)

    def text(self, x: float, y: float, words: str, look: str = "", *, anchor: str = "start") -> None:
        """Words at a place: ``anchor`` start, middle or end."""
        attributes = {} if anchor == "start" else {"text-anchor": anchor}
        self._add("text", look, x=_number(x), y=_number(y), **attributes).text = visible(words)

    def box(
        self, x: float, y: float, width: float, height: float, look: str, *, share: float | None = None, tip: str = ""
    ) -> None:
        """A rectangle, opaque by ``share``."""
        places = {"x": x, "y": y, "width": width, "height": height}
        attributes = {name: _number(value) for name, value in places.items()}
        if share is not None:
            attributes["fill-opacity"] = f"{share:.2f}"
        self._tipped(self._add("rect", look, **attributes), tip)

    def mark(self, x: float, y: float, series: int, *, size: float = 4.5, tip: str = "") -> None:
        """The mark of a series; ``tip`` is shown under a pointer."""
        form, look = SERIES[series % len(SERIES)], f"m {colour(series)}"
        if form in ("circle", "ring"):
            mark = self._add("circle", f"{look} {form}", cx=_number(x), cy=_number(y), r=_number(size))
        else:
            points = " ".join(f"{_number(x + size * dx)},{_number(y + size * dy)}" for dx, dy in OUTLINES[form])
            mark = self._add("polygon", look, points=points)
        self._tipped(mark, tip)

    def horizontal_axis(self, scale: Scale, y: float, top: float, labels: Sequence[tuple[float, str]]) -> None:
        """A grid of lines from ``top`` down to ``y``, with a label below each, moved inwards where it would be cut."""
        for value, words in labels:
            x = scale(value)
            self.line((x, top), (x, y), "grid")
            self.text(min(x, self.width - TICK * len(words) / 2), y + 14, words, "tick", anchor="middle")

    def vertical_axis(self, scale: Scale, x: float, right: float, labels: Sequence[tuple[float, str]]) -> None:
        """A grid of lines from ``x`` to ``right``, with a label at the left of each."""
        for value, words in labels:
            self.line((x, scale(value)), (right, scale(value)), "grid")
            self.text(x - 5, scale(value) + 3.5, words, "tick", anchor="end")

    def _add(self, tag: str, look: str, **attributes: str) -> ElementTree.Element:
        return ElementTree.SubElement(self._root, tag, {"class": look, **attributes} if look else attributes)

    def _tipped(self, mark: ElementTree.Element, tip: str) -> None:
        if tip:
            ElementTree.SubElement(mark, "title").text = visible(tip)


def _number(value: float) -> str:
    """With one decimal, without a zero behind the point."""
    return f"{value:.1f}".removesuffix(".0")
