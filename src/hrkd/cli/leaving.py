"""Verbs by which a student leaves the house: predict, export, serve."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hrkd.cli.flags import Flags, takes_fields
from hrkd.cli.output import print_json
from hrkd.cli.parameters import Json, RecipeArgument, data_recipe, offered
from hrkd.cli.prediction import TableFlags, predict_lines, predict_table, predict_texts, standard_input, unguarded
from hrkd.cli.terminal import heavy_imports, prepare, prepare_process, progress
from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, TARGETS, check_target
from hrkd.deploy.export_folder import exported_facts, facts_of_any
from hrkd.errors import RecipeError
from hrkd.run.first_look import (
    read_student,
    student_in,
)

if TYPE_CHECKING:
    Target = str
else:
    Target = offered(TARGETS)

__all__ = ["export", "predict", "serve"]


def predict(
    student: Annotated[Path, Parameter(help="Folder of a student (or teacher), of its run, or of an export.")],
    /,
    *texts: Annotated[str, Parameter(help="Texts to classify; default: the lines of standard input, one text each.")],
    domain: Annotated[
        str | None,
        Parameter(
            help="Domain of the texts; for a table, it goes before the column. auto: found by the student itself. One "
            "head for all needs none."
        ),
    ] = None,
    text_pair: Annotated[
        list[str] | None, Parameter(negative=(), help="Second text of a pair task; repeat the flag, one for each text.")
    ] = None,
    all_labels: Annotated[
        bool, Parameter(negative=(), help="The scores of all labels, not of the best alone.")
    ] = False,
    input_file: Annotated[
        str | None, Parameter(name="--input", help="Table to label: csv, tsv, jsonl, parquet; - is standard input.")
    ] = None,
    output_file: Annotated[
        str | None, Parameter(name="--output", help="Table to write, label and score added; - is standard output.")
    ] = None,
    table: TableFlags | None = None,
    as_json: Json = False,
) -> None:
    """Classify texts with a student.

    Prints label, score and text, one text a line (line breaks and tabs in it become blanks).
    With `--input` and `--output` it labels a table; an interrupted one goes on where it stopped. A text that begins
    with a dash stands behind `--`, or in quotes if it has blanks.
    """
    flags = table or TableFlags()
    given, pairs, domain = list(map(unguarded, texts)), unguarded(text_pair), unguarded(domain)
    input_file, output_file = unguarded(input_file), unguarded(output_file)
    _check_what_to_predict(given, pairs, input_file, output_file, flags)
    lines = None if given or input_file is not None else standard_input()
    if not given and input_file is None and lines is None:
        raise RecipeError("give either texts to classify, or --input and --output for a file of them")
    student = student_in(student)
    facts = facts_of_any(student)
    prepare_process()
    how: dict[str, Any] = {"domain": domain, "all_labels": all_labels, "as_json": as_json}
    if input_file is not None and output_file is not None:
        predict_table(student, facts, input_file, output_file, flags=flags, **how)
    elif lines is not None:
        predict_lines(student, facts, lines, flags=flags, **how)
    else:
        predict_texts(student, facts, given, pairs, **how)


def _check_what_to_predict(
    texts: list[str], pairs: list[str] | None, input_file: str | None, output_file: str | None, flags: TableFlags
) -> None:
    if (input_file is None) != (output_file is None):
        raise RecipeError("--input and --output belong together: the table to label and the table to write")
    if texts and input_file is not None:
        raise RecipeError("give either texts to classify, or --input and --output for a file of them")
    if pairs and not texts:
        raise RecipeError(
            "--text-pair belongs to texts that are arguments; of a table, name the column (--pair-column)"
        )
    of_tables = flags if texts else replace(flags, on_bad_row="stop")
    if input_file is None and of_tables != TableFlags():
        names = [
            f"--{name.replace('_', '-')}"
            for name, value in vars(TableFlags()).items()
            if vars(of_tables)[name] != value
        ]
        raise RecipeError(f"{', '.join(names)}: for a table that --input names")


@takes_fields("data", "evaluation", "run", listed=False)
def export(
    student: Annotated[Path, Parameter(help="Folder of a run, or of a student (or teacher) that hrkd wrote.")],
    output: Annotated[Path, Parameter(help="Folder to write.")],
    recipe: RecipeArgument = None,
    /,
    *,
    to: Annotated[Target, Parameter(help=f"What to make: {', '.join(TARGETS)}.", show_choices=False)] = PLAIN,
    domain: Annotated[str | None, Parameter(help="A graph of this domain alone; default: of all, in one.")] = None,
    vocabulary: Annotated[
        int | None,
        Parameter(help="How often a piece must stand in the training texts to be kept; default: all pieces are."),
    ] = None,
    allowance: Annotated[
        float,
        Parameter(
            help="Points of accuracy that a form that rounds, or reads less of long texts, may lose on the mean over "
            "domains; a domain that loses more fails it too, unless that may be chance (McNemar, p from 0.05)."
        ),
    ] = ALLOWANCE,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace an earlier export.")] = False,
    push_to_hub: Annotated[
        str | None,
        Parameter(help="Upload the finished folder to this repository of the Hugging Face Hub, made private."),
    ] = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Write the student in a form that runs elsewhere, and check it.

    plain: a folder for each domain that AutoModelForSequenceClassification and AutoTokenizer of transformers load as
    it is. onnx, onnx-int8, openvino, openvino-int8: one graph for all domains with its tokenizer, which hrkd predict
    runs without torch. What is written has been held against the student: its logits, and where it rounds its accuracy
    on dev rows of the student's run, or of the recipe that is given. Fields of the recipe are flags too, such as
    `--data.source`; `hrkd evaluate --help` shows them.
    """
    checked = data_recipe(recipe, flags)
    check_target(to)
    read_student(student)
    console = prepare(data_only=as_json)
    with heavy_imports():
        from hrkd.run import export as exporting

    exporting.export(
        student,
        output,
        to,
        checked,
        domain=domain,
        vocabulary=vocabulary,
        allowance=allowance,
        overwrite=overwrite,
        push_to=push_to_hub,
        show=console.print,
        progress=progress(),
    )
    if as_json:
        print_json(exported_facts(output))


def serve(
    folder: Annotated[Path, Parameter(help="Folder of a student, of its run, or of an export that hrkd runs.")],
    /,
    *,
    host: Annotated[str, Parameter(help="Address to listen at; whoever reaches it may ask.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port; 0: any that is free.")] = 8000,
    threads: Annotated[int | None, Parameter(help="Threads of an export; default: all.")] = None,
    texts: Annotated[int, Parameter(help="Most texts of a question.")] = 256,
    characters: Annotated[int, Parameter(help="Most characters of a text.")] = 100_000,
    batch_size: Annotated[int, Parameter(help="Most texts in a forward pass.")] = BATCH_SIZE,
    as_json: Json = False,
) -> None:
    """Answer questions over HTTP.

    POST /predict takes {"texts": [...], "domain": ...}; /model, /health, /metrics (Prometheus) and /openapi.json say
    the rest, and / is a page to try sentences. What is asked while the model is busy is answered together. Ctrl-C or
    SIGTERM ends it once all is answered, a second one at once.
    """
    folder = student_in(folder)
    facts_of_any(folder)
    console = prepare(data_only=as_json)
    from hrkd.deploy.serving import server

    def listens(url: str) -> None:
        console.print(f"{folder}: served at {url}", soft_wrap=True)
        sys.stdout.flush()  # who has started it waits for this line
        if as_json:
            print_json({"url": url, "folder": str(folder)}, in_a_line=True)

    sizes = {"texts": texts, "characters": characters, "batch_size": batch_size}
    server.serve(folder, host=host, port=port, threads=threads, **sizes, listens=listens)
