"""The card of an export: what it is, how to use it, how it was checked, and what is known of its student."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from yaml import YAMLError

from hrkd.data.cutting import KEPT
from hrkd.models.open_model import ModelFacts
from hrkd.recipe.schema import Keep
from hrkd.report.model_card import TAGS
from hrkd.report.tables import export_table
from hrkd.support.atomic_files import write_text
from hrkd.support.messages import first_line

__all__ = ["write_export_card", "write_plain_card"]

logger = logging.getLogger("hrkd")

TEMPLATE = Path(__file__).with_suffix(".md")
PLAIN = Path(__file__).with_name("plain_card.md")
OF_STUDENT = ("model-index", "metrics")
"""Metadata of the student's own figures, which are not those of the export."""
FIRST_TOKENS = {"head": "room", "tail": "0", "head_tail": "room - room // 2"}
"""How many tokens from the beginning of a long text are read, the rest being from its end; as a program says it."""
ABOUT = ("\n## Intended use", "\n## Results")
"""Where a student's own card begins to tell what it is like; older cards have the second alone."""


def write_export_card(folder: Path, record: dict[str, Any], student: Path, *, what: str) -> Path:
    """Write ``README.md`` into the folder of an export.

    Args:
        folder: of the export.
        record: as :meth:`hrkd.deploy.export_folder.ExportRecord.to_dict` gives it.
        student: folder of the student, whose own card is taken over if there is one.
        what: the form in words.
    """
    facts, target = record["facts"], record["target"]
    first = repr(facts["domains"][0])
    keep: Keep = "tail" if facts["keep"] == "head" and record["truncation_side"] == "left" else facts["keep"]
    pairs = (facts["columns"] or {}).get("text_pair") is not None
    return _written(
        folder,
        TEMPLATE,
        student,
        library=target.partition("-")[0],
        tags=target.split("-"),
        target=target,
        what=what,
        domains=facts["domains"],
        labels=facts["labels"],
        first_domain=first,
        asked=("" if facts["one_head"] else f", domain={first}") + (', text_pairs=["...", "..."]' if pairs else ""),
        chooses=not facts["one_head"],
        onnx=target.startswith("onnx") and not pairs and keep in FIRST_TOKENS,
        reads=KEPT[keep],
        first_tokens=FIRST_TOKENS.get(keep),
        checks=export_table(record, folder, student).to_markdown().rstrip(),
    )


def write_plain_card(
    folder: Path, facts: ModelFacts, folders: Mapping[str, str], student: Path, record: Mapping[str, Any]
) -> Path:
    """Write ``README.md`` into a plain export.

    Args:
        folder: of the export.
        facts: what the student says of itself.
        folders: that of each domain's classifier, by name.
        student: its folder.
        record: what the export's ``checks.json`` says.
    """
    return _written(
        folder,
        PLAIN,
        student,
        library="transformers",
        one=facts.one_head,
        domains=facts.domains,
        labels=facts.labels,
        first_folder=folders[facts.domains[0]],
        asked='{"text": "Some text.", "text_pair": "Another."}' if facts.pairs else '"Some text."',
        keep=facts.keep,
        checks=export_table(record, folder, student).to_markdown().rstrip(),
        reads=KEPT[facts.keep],
        max_tokens=facts.max_tokens,
    )


def _written(
    folder: Path, template: Path, student: Path, *, library: str, tags: Sequence[str] = (), **values: Any
) -> Path:
    """The card in ``folder``, with ``values`` and what the student's own card says in the ``template``."""
    known, about = _card_of(student)
    name = str(known.get("model_name") or student.parent.name or "student")
    data = ModelCardData(**{
        **known,
        "model_name": name,
        "library_name": library,
        "pipeline_tag": "text-classification",
        "tags": [*TAGS, *tags],
    })  # fmt: skip
    card = ModelCard.from_template(data, template_path=str(template), name=name, about=about, **values)
    write_text(folder / "README.md", f"{card}\n")
    return folder / "README.md"


def _card_of(student: Path) -> tuple[dict[str, Any], str]:
    """The metadata of a student's card, and what it tells of the student; nothing where it has none."""
    file = student / "README.md"
    if not file.is_file():
        return {}, ""
    try:
        card = ModelCard.load(file, ignore_metadata_errors=True)
    except (OSError, ValueError, YAMLError) as error:  # people edit cards
        logger.warning("%s: left out of the export's card: %s", file, first_line(error))
        return {}, ""
    text = card.text.partition(next((heading for heading in ABOUT if heading in card.text), ABOUT[-1]))
    known = {name: value for name, value in card.data.to_dict().items() if name not in OF_STUDENT}
    return known, (text[1] + text[2]).strip()
