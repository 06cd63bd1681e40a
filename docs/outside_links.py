"""An extension of Sphinx for links that leave `docs/`: records become pages of the site, other files downloads.

So every page reads well in the repository too, where its links are ordinary ones.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RECORDS = ROOT / "benchmarks" / "results"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def setup(app: Any) -> dict[str, bool]:
    """Bring the records in, and rewrite links as pages are read."""
    _bring_records()
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True}


def _bring_records() -> None:
    target = HERE / "records"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    pages = sorted(RECORDS.glob("*.md"), reverse=True)
    for file in (*pages, *RECORDS.glob("*.svg")):
        shutil.copy(file, target / file.name)
    listed = "\n".join(page.stem for page in pages)
    (target / "index.md").write_text(
        "# Records\n\nWhat was measured, with commands, versions and machines; the newest first.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n",
        encoding="utf-8",
    )


def _rewrite(_: Any, name: str, source: list[str]) -> None:
    home = RECORDS if name.startswith("records/") else (HERE / name).parent
    source[0] = LINK.sub(lambda found: _link(found, home), source[0])


def _link(found: re.Match[str], home: Path) -> str:
    words, target, anchor = found[1], (home / found[2]).resolve(), found[3] or ""
    if not target.exists() or not target.is_relative_to(ROOT):
        return found[0]
    if target.is_relative_to(RECORDS) and target.suffix in ("", ".md"):
        return f"[{words}](/records/{target.name if target.is_file() else 'index.md'}{anchor})"
    if target.is_relative_to(HERE):
        return f"[{words}](/{target.relative_to(HERE)}{anchor})" if target.suffix == ".md" else found[0]
    if target.is_file():
        inside = "/".join((*(".." for _ in HERE.relative_to(ROOT).parts), str(target.relative_to(ROOT))))
        return f"{{download}}`{words.replace('`', '')} </{inside}>`"
    return f"{words} (`{target.relative_to(ROOT)}`)"
