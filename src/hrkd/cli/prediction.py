"""What `hrkd predict` does with texts, lines of standard input and tables; its flags for tables; texts with dashes."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter

from hrkd.cli.output import print_json
from hrkd.cli.terminal import heavy_imports, progress, result_console
from hrkd.data.readers.places import TABLE_SUFFIXES, check_source_is_there
from hrkd.deploy.checks import ask, numbers_of
from hrkd.deploy.streams import NAME, Answer, Lines, answer_line, answers_to, json_line, label_lines, stream_table
from hrkd.errors import RecipeError
from hrkd.support.folder_names import fault_of_path
from hrkd.support.messages import count_of

if TYPE_CHECKING:
    from hrkd.deploy.label_table import Labelling
    from hrkd.deploy.predict import Predictor
    from hrkd.models.open_model import ModelFacts

__all__ = ["TableFlags", "guarded", "predict_lines", "predict_table", "predict_texts", "standard_input", "unguarded"]

logger = logging.getLogger("hrkd.predict")

StreamFormat = Literal["csv", "tsv", "jsonl"]
FILES = (*TABLE_SUFFIXES, ".txt")
STREAMS = ("/dev/stdin", "/dev/stdout")
FLAG = re.compile(r"--?[A-Za-z][\w.-]*(=.*)?", re.DOTALL)
Given = TypeVar("Given", str, str | None, list[str] | None)
GUARD = "\0"
"""Stands before a text that begins with a dash, so that it is not taken for a flag; no argument of a process has it."""


@Parameter(name="*")
@dataclass(frozen=True)
class TableFlags:
    """What is read of a table and added to it."""

    text_column: Annotated[
        str | None, Parameter(name=["--text-column", "--data.text"], help="Column with the text; default: the model's.")
    ] = None
    pair_column: Annotated[
        str | None,
        Parameter(
            name=["--pair-column", "--data.text_pair"], help="With the second text of a pair; default: as there."
        ),
    ] = None
    domain_column: Annotated[
        str | None,
        Parameter(
            name=["--domain-column", "--data.domain"], help="With the domain, without --domain; default: as there."
        ),
    ] = None
    prefix: Annotated[str, Parameter(help="Put before the names of added columns, such as predicted_.")] = ""
    on_bad_row: Annotated[
        Literal["stop", "skip", "blank"],
        Parameter(help="Rows without text or of an unknown domain: an error, left out, or kept without a label."),
    ] = "stop"
    overwrite: Annotated[
        bool, Parameter(negative=(), help="Replace a table that is there already, once the new one is whole.")
    ] = False
    input_format: Annotated[
        StreamFormat | None, Parameter(help="What `--input -` holds; default: jsonl if it begins with a brace.")
    ] = None
    output_format: Annotated[
        StreamFormat | None, Parameter(help="What `--output -` gets; default: that of the input.")
    ] = None

    def labelling(self, domain: str | None, all_labels: bool) -> Labelling:
        """The same for the library."""
        from hrkd.deploy.label_table import Labelling

        return Labelling(
            domain=domain,
            text=unguarded(self.text_column),
            text_pair=unguarded(self.pair_column),
            domain_column=unguarded(self.domain_column),
            all_labels=all_labels,
            prefix=unguarded(self.prefix),
            on_bad_row=self.on_bad_row,
        )


def guarded(tokens: Sequence[str]) -> list[str]:
    """Arguments of the verb with a mark before those that begin with a dash and are no flags: ``-``, or with blanks."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    return [GUARD + token if i < end and _is_text(token) else token for i, token in enumerate(tokens)]


def _is_text(token: str) -> bool:
    return token == "-" or (token.startswith("-") and not FLAG.fullmatch(token) and any(map(str.isspace, token)))


def unguarded(given: Given) -> Given:
    """The argument, or each of several, as it was given."""
    if isinstance(given, str):
        return given.removeprefix(GUARD)
    return None if given is None else [text.removeprefix(GUARD) for text in given]


def standard_input() -> Lines | None:
    """What a pipe or file gives; None where nothing is given but a terminal's keyboard."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return None
    return Lines(sys.stdin.buffer)


def predict_texts(
    student: Path,
    facts: ModelFacts,
    texts: Sequence[str],
    text_pair: Sequence[str] | None,
    *,
    domain: str | None,
    all_labels: bool,
    as_json: bool = False,
) -> None:
    """Print label, score and text of texts that are arguments."""
    _check_domain(domain, facts)
    for text in texts:
        if text.lower().removesuffix(".gz").endswith(FILES) and not fault_of_path(text) and Path(text).is_file():
            raise RecipeError(f"{text}: is a file, not a text; label it with --input {text} --output OUTPUT")
    asked = ask(texts, domain, text_pair, facts)
    for text, answer in zip(texts, answers_to(_predictor(student), asked), strict=True):
        sys.stdout.write(_form(as_json)(text, answer, facts, all_labels))


def predict_lines(
    student: Path,
    facts: ModelFacts,
    lines: Lines,
    *,
    domain: str | None,
    all_labels: bool,
    flags: TableFlags,
    as_json: bool = False,
) -> None:
    """Print label, score and text of each line of standard input, as they come."""
    _check_domain(domain, facts)
    if domain is not None:
        numbers_of([domain], facts)
    if facts.pairs:
        raise RecipeError(
            f"{NAME}: the model takes pairs of texts; give them as a table (--input - --input-format tsv)"
        )
    if not lines.peek():
        raise RecipeError(f"{NAME}: empty; give either texts to classify, or --input and --output for a file of them")
    _check_no_table(lines, facts)
    predictor = _predictor(student)
    label_lines(
        predictor,
        lines,
        sys.stdout,
        domain=domain,
        all_labels=all_labels,
        on_bad_row=flags.on_bad_row,
        answer=_form(as_json),
    )


def _form(as_json: bool) -> Answer:
    return json_line if as_json else answer_line


def _check_no_table(lines: Lines, facts: ModelFacts) -> None:
    """Whether the first line names the model's column of texts beside others, as the header of a table does."""
    line, column = lines.peek().decode(errors="replace").strip(), (facts.columns or {}).get("text") or "text"
    splits = {"csv": line.split(","), "tsv": line.split("\t")}
    kinds = [kind for kind, fields in splits.items() if len(fields) > 1 and column in (f.strip(' "') for f in fields)]
    if line.startswith("{") and f'"{column}"' in line:
        kinds.append("jsonl")
    if not kinds:
        return
    raise RecipeError(
        f"{NAME}: its first line has a field {column!r}, as a table does; label it with --input - --input-format "
        f"{kinds[0]} --output -"
    )


def predict_table(
    student: Path,
    facts: ModelFacts,
    source: str,
    target: str,
    *,
    domain: str | None,
    all_labels: bool,
    flags: TableFlags,
    as_json: bool = False,
) -> None:
    """Label a table; a dash stands for standard input and output."""
    source, target = ("-" if place in STREAMS else place for place in (source, target))
    if as_json and target == "-":
        raise RecipeError("--json: what --output - writes is data already; leave it out (--output-format jsonl)")
    for flag, given, place in (("input", flags.input_format, source), ("output", flags.output_format, target)):
        if given and place != "-":
            raise RecipeError(f"--{flag}-format is for --{flag} -; of a file the name says what it is")
    if source != "-":
        check_source_is_there(source, "table")
    from hrkd.deploy.label_table import check_output, check_replaceable, label_file, label_stream, look_through, plan

    how = flags.labelling(domain, all_labels)
    kind = f".{flags.output_format}" if flags.output_format else None
    if source == "-":
        lines = Lines(sys.stdin.buffer) if sys.stdin is not None else None
        if lines is None:
            raise RecipeError("--input -: there is no standard input")
        if target != "-":
            check_output(Path(target).expanduser())
            check_replaceable(Path(target).expanduser(), overwrite=flags.overwrite)
        job = plan(stream_table(lines, flags.input_format and f".{flags.input_format}"), facts, how)
    else:
        job = look_through(source, None if target == "-" else target, facts, how, kind=kind, overwrite=flags.overwrite)
    if target != "-":
        count = label_file(_predictor(student), job, target, progress=progress())
        told = f"{count_of(count, 'text', 'texts')} labelled: {target}"
        result_console(data_only=as_json).print(told, soft_wrap=True)
        if as_json:
            print_json({"texts": count, "output": target})
        return
    kind = kind or job.table.kind
    if kind == ".parquet":
        raise RecipeError("--output -: say what to write: --output-format csv, tsv or jsonl")
    predictor = _predictor(student)
    count = label_stream(predictor, job, sys.stdout.buffer, kind)
    logger.info("%s labelled", count_of(count, "text", "texts"))


def _check_domain(domain: str | None, facts: ModelFacts) -> None:
    if domain is None and not facts.one_head:
        raise RecipeError(f"--domain: missing; name the domain of the texts ({', '.join(facts.domains)})")


def _predictor(student: Path) -> Predictor:
    with heavy_imports():
        from hrkd.deploy.predict import Predictor

        return Predictor.from_pretrained(student)
