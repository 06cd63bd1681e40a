"""Findings of ``hrkd check`` as lines for a person."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from hrkd.data.health.finding import Finding
from hrkd.recipe.codes import SEVERITIES
from hrkd.support.messages import count_of, visible

__all__ = ["findings_lines", "hanging"]

HEADED = re.compile(r"[^\s/]*\.[ct]sv(?:\.gz)?#(\d+)", re.IGNORECASE)
"""A row of a table whose first line is no row, and its number."""
INDENT = "  "


def findings_lines(name: str, findings: Sequence[Finding], left_out: Mapping[str, int]) -> Iterator[str]:
    """Groups by severity, each finding a line, and how many there are."""
    counts = {severity: sum(each.severity == severity for each in findings) for severity in SEVERITIES}
    for severity, meaning in SEVERITIES.items():
        if counts[severity]:
            yield f"{severity}s ({meaning}):"
            yield from (f"{INDENT}{each.line()}" for each in findings if each.severity == severity)
            yield ""
    if headed := next((place for each in findings if (place := HEADED.search(each.line()))), None):
        yield f"({headed[0]} is row {headed[1]} below the header)"
    told = [count_of(number, severity, f"{severity}s") for severity, number in counts.items() if number]
    yield visible(f"{name}: {', '.join(told) or 'nothing found'}")
    if left_out:
        listed = ", ".join(f"{code} ({number})" for code, number in sorted(left_out.items()))
        yield f"left out by data.ignore: {listed}"


def hanging(line: str, width: int) -> str:
    """A finding for a terminal of some width: what does not fit stands below its words, not below its code."""
    if not line.startswith(INDENT):
        return line
    return textwrap.fill(line, width, subsequent_indent=7 * " ", break_long_words=False, break_on_hyphens=False)
