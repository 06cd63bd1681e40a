"""The verbs. Each checks its recipe before anything heavy is imported, then calls one function of the library."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of, takes_fields
from hrkd.cli.prediction import TableFlags, predict_lines, predict_table, predict_texts, standard_input, unguarded
from hrkd.cli.terminal import heavy_imports, prepare, prepare_process, progress
from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, TARGETS, check_target
from hrkd.deploy.export_folder import facts_of_any
from hrkd.errors import ArtifactError, RecipeError, TrainingError
from hrkd.recipe.loading import load_recipe, packaged_recipe_text, packaged_recipes, recipe_json_schema
from hrkd.recipe.schema import Recipe
from hrkd.run.first_look import (
    check_measurable,
    check_named,
    check_output,
    check_teacher_is_there,
    moved_run,
    read_student,
    recipe_around,
    student_in,
)
from hrkd.support.atomic_files import check_can_be_written, write_json
from hrkd.support.launch import launch

if TYPE_CHECKING:
    from rich.console import Console

    from hrkd.data.types import MultiDomainDataset

__all__ = [
    "benchmark",
    "cache",
    "compare",
    "compress",
    "data",
    "distill",
    "evaluate",
    "export",
    "predict",
    "recipe",
    "serve",
    "train_baseline",
    "train_teacher",
]

logger = logging.getLogger("hrkd")

RecipeArgument = Annotated[
    str | None, Parameter(help="A YAML file or the name of a packaged recipe. Flags go before what it says.")
]
JsonFile = Annotated[Path | None, Parameter(name="--json", help="Write all figures to this file too.")]
TeacherFolder = Annotated[Path | None, Parameter(help="A teacher that hrkd trained, or the folder of its run.")]


def look_at_rows(recipe: Recipe) -> MultiDomainDataset | None:
    """The rows of a table, read before anything heavy is imported, so that what is wrong is told at once.

    None where the recipe names no table.
    """
    from hrkd.data.readers.sources import has_columns_of_its_own
    from hrkd.run.prepare import load_labelled
    from hrkd.support.caches import cache_folder

    if recipe.data.source is None or has_columns_of_its_own(recipe.data.source, recipe.data.format):
        return None
    return load_labelled(recipe.data, cache_folder(recipe.cache.folder))[0]


@takes_fields(*Recipe.model_fields)
def compress(recipe: RecipeArgument = None, /, *, flags: Flags = None) -> None:
    """Make a small student from labelled text and a large encoder, and measure it.

    Trains the teacher (unless the recipe names a fine-tuned one), distils the student, and measures both on
    every domain. Called again, it goes on where it stopped. A flag with the value `null` takes back what the
    recipe says. Relative paths count from the current directory.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "teacher", "student")
    console, rows = _start(recipe, checked)
    with heavy_imports():
        from hrkd.run import commands

    commands.compress(checked, data=rows, show=console.print, progress=progress())


@takes_fields("data", "teacher", "evaluation", "run")
def train_teacher(recipe: RecipeArgument = None, /, *, flags: Flags = None) -> None:
    """Fine-tune the teacher only.

    The first stage of `compress`; the recipe may leave out the student.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data", "teacher"))
    check_named(checked, "data", "teacher")
    console, rows = _start(recipe, checked)
    with heavy_imports():
        from hrkd.run import commands

    folder = commands.train_teacher(checked, data=rows, show=console.print, progress=progress())
    console.print(f"Teacher: {folder}", soft_wrap=True)


@takes_fields(*Recipe.model_fields)
def distill(recipe: RecipeArgument = None, /, *, teacher_folder: TeacherFolder = None, flags: Flags = None) -> None:
    """Distil the student from a teacher that exists.

    The stages of `compress` after the teacher. The teacher is the one in the output folder, the one of
    `--teacher-folder`, or the classifier that `teacher.fine_tuned` names.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    console, rows = _start(recipe, checked)
    with heavy_imports():
        from hrkd.run import commands

    commands.distill(checked, teacher_folder=teacher_folder, data=rows, show=console.print, progress=progress())


@takes_fields(*Recipe.model_fields)
def train_baseline(
    recipe: RecipeArgument = None, /, *, teacher_folder: TeacherFolder = None, flags: Flags = None
) -> None:
    """Train the student on labels alone, without distillation.

    The baseline of `compress` as a run of its own. It starts as the distilled student does, from the teacher's
    weights for example, so that it needs a teacher too: found as `distill` finds it.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    console, rows = _start(recipe, checked)
    with heavy_imports():
        from hrkd.run import commands

    commands.train_baseline(checked, teacher_folder=teacher_folder, data=rows, show=console.print, progress=progress())


def _start(source: str | None, recipe: Recipe) -> tuple[Console, MultiDomainDataset | None]:
    """Make ready for a run that writes a folder; ``source`` is what the recipe was called by.

    Returns where results go, and the rows as :func:`look_at_rows` gives them.
    """
    check_output(recipe)
    console = prepare()
    if told := moved_run(source, recipe):
        logger.warning(told)
    return console, look_at_rows(recipe)


def compare(
    grid: Annotated[Path, Parameter(help="A YAML file: the grid of methods, data sets, fractions and seeds.")],
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Goes before the grid's own output folder.")] = None,
    jobs: Annotated[int | None, Parameter(help="Goes before the grid's own number of runs at a time.")] = None,
    report_only: Annotated[
        bool, Parameter(negative=(), help="Train nothing; report what is finished in the output folder.")
    ] = False,
    overwrite: Annotated[
        bool, Parameter(negative=(), help="Make runs anew that were made with other settings.")
    ] = False,
) -> None:
    """Run methods against each other over data sets, fractions and seeds, and test the differences.

    Every cell of the grid is an ordinary run in a process of its own; teachers are trained once and shared. Called
    again, it runs only what is missing. Writes compare.md, compare.csv, compare.json and, with matplotlib,
    compare.svg. The guide describes the grid file and what is tested.
    """
    from hrkd.comparison.planning import load_grid

    given = {"output": output, "jobs": jobs}
    checked = load_grid(grid, {name: value for name, value in given.items() if value is not None})
    console = prepare()
    from hrkd.comparison import command

    content = command.compare(
        checked, report_only=report_only, overwrite=overwrite, show=console.print, progress=progress()
    )
    if failed := content["failed"]:
        lines = "\n".join(f"{each['run']}: {each['error']}" for each in failed)
        raise TrainingError(f"not all runs could be made and compared:\n{lines}")


@takes_fields("data", "evaluation", "run")
def evaluate(
    folder: Annotated[Path, Parameter(help="Output folder of a run, or folder of one model.")],
    recipe: RecipeArgument = None,
    /,
    *,
    split: Annotated[
        str | None,
        Parameter(
            help="train, dev, test or all; default: test where the run or the data says which rows that is, else all."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, Parameter(help="Folder of another model, such as the run's teacher: also the agreement with it.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        Parameter(negative=(), help="What the data calls the model's outputs, in their order; repeat the flag."),
    ] = None,
    json_file: JsonFile = None,
    flags: Flags = None,
) -> None:
    """Measure a run or a model on each domain.

    The recipe says what data to measure on; only its data section is needed. For the folder of a run, or a
    model in it, it is the run's own unless another is given. Length, columns, labels and domains are the model's.
    """
    _check_json(json_file)
    check_measurable(folder, split, data_named=bool(recipe or flags))
    own = recipe_around(folder)
    if own is not None and own.parent.absolute() != folder.absolute() and (flags or {}).get("data"):
        own = None  # other rows for a model: nothing of its run's own says where they are
    source = str(own) if recipe is None and own is not None else recipe
    given = source is not None or flags
    checked = load_recipe(source, overrides_of(flags), needed=("data",)) if given else None
    if checked is not None:
        check_named(checked, "data.source")
    console = prepare()
    with heavy_imports():
        from hrkd.run import evaluation

    scores = evaluation.evaluate(
        folder, checked, split=split, teacher=teacher, labels=labels, show=console.print, progress=progress()
    )
    _write_json(json_file, scores)


@takes_fields("data")
def data(
    recipe: RecipeArgument = None,
    /,
    *,
    tokenizer: Annotated[
        str | None, Parameter(help="Folder or hub name of a tokenizer, to count tokens; default: the recipe's teacher.")
    ] = None,
    linear_models: Annotated[
        bool, Parameter(help="Show what linear models reach on dev, and what domains give each other; some seconds.")
    ] = True,
    json_file: JsonFile = None,
    flags: Flags = None,
) -> None:
    """Describe the data of a recipe: sizes, labels, lengths, repeated texts.

    And what linear models reach on dev, of each domain alone and of all together. Only the data section of the recipe
    is needed.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data",))
    _check_json(json_file)
    check_named(checked, "data")
    console = prepare()
    from hrkd.run.describe_data import describe_data

    _write_json(json_file, describe_data(checked, tokenizer, linear_models=linear_models, show=console.print))


def _check_json(file: Path | None) -> None:
    if file is not None:
        try:
            check_can_be_written(file)
        except ArtifactError as error:
            raise RecipeError(f"--json: {error}") from None


def _write_json(file: Path | None, figures: dict[str, Any]) -> None:
    if file is not None and launch().is_first:
        write_json(file, figures)


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
    if input_file is not None and output_file is not None:
        predict_table(student, facts, input_file, output_file, domain=domain, all_labels=all_labels, flags=flags)
    elif lines is not None:
        predict_lines(student, facts, lines, domain=domain, all_labels=all_labels, flags=flags)
    else:
        predict_texts(student, facts, given, pairs, domain=domain, all_labels=all_labels)


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


def _data_recipe(recipe: str | None, flags: Flags) -> Recipe | None:
    """Where rows are, if that is said."""
    if recipe is None and not flags:
        return None
    checked = load_recipe(recipe, overrides_of(flags), needed=("data",))
    check_named(checked, "data")
    return checked


@takes_fields("data", "evaluation", "run", listed=False)
def export(
    student: Annotated[Path, Parameter(help="Folder of a run, or of a student (or teacher) that hrkd wrote.")],
    output: Annotated[Path, Parameter(help="Folder to write.")],
    recipe: RecipeArgument = None,
    /,
    *,
    to: Annotated[str, Parameter(help=f"What to make: {', '.join(TARGETS)}.")] = PLAIN,
    domain: Annotated[str | None, Parameter(help="A graph of this domain alone; default: of all, in one.")] = None,
    vocabulary: Annotated[
        int | None,
        Parameter(help="How often a piece must stand in the training texts to be kept; default: all pieces are."),
    ] = None,
    allowance: Annotated[
        float,
        Parameter(
            help="Points of accuracy that a form that rounds may lose on the mean over domains; a domain that loses "
            "more fails it too, unless that may be chance (McNemar, p from 0.05)."
        ),
    ] = ALLOWANCE,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace an earlier export.")] = False,
    push_to_hub: Annotated[
        str | None,
        Parameter(help="Upload the finished folder to this repository of the Hugging Face Hub, made private."),
    ] = None,
    flags: Flags = None,
) -> None:
    """Write the student in a form that runs elsewhere, and check it.

    plain: a folder for each domain that AutoModelForSequenceClassification and AutoTokenizer of transformers load as
    it is. onnx, onnx-int8, openvino, openvino-int8: one graph for all domains with its tokenizer, which hrkd predict
    runs without torch. What is written has been held against the student: its logits, and where it rounds its accuracy
    on dev rows of the student's run, or of the recipe that is given. Fields of the recipe are flags too, such as
    `--data.source`; `hrkd evaluate --help` shows them.
    """
    checked = _data_recipe(recipe, flags)
    check_target(to)
    read_student(student)
    console = prepare()
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


@takes_fields("data", "run", listed=False)
def benchmark(
    *folders: Annotated[
        Path, Parameter(help="Runs (teacher and student), models, exports; others are compared with the first.")
    ],
    recipe: Annotated[
        str | None, Parameter(help="Recipe whose test texts are taken; default: that of the first folder's run.")
    ] = None,
    threads: Annotated[int, Parameter(help="Threads of the processor for each model.")] = 1,
    texts: Annotated[int, Parameter(help="Texts that are taken.")] = 300,
    rounds: Annotated[int, Parameter(help="How often each model is asked all of them.")] = 5,
    batch_size: Annotated[int, Parameter(help="Texts in a forward pass.")] = BATCH_SIZE,
    json_file: JsonFile = None,
    flags: Flags = None,
) -> None:
    """Time models and exports side by side on texts of their own kind.

    One text at a time (median, 95th and 99th percentile) and many, with tokenising; size; seconds until the first
    answer of a new process. A linear model that is fitted on the same data stands below. Models take turns; leave the
    machine alone meanwhile. Fields of the recipe are flags too, such as `--data.source`; `hrkd evaluate --help` shows
    them.
    """
    _check_json(json_file)
    checked = _data_recipe(recipe, flags)
    if not folders:
        raise RecipeError("name at least one folder of a run, a model or an export")
    for folder in folders:
        facts_of_any(student_in(folder))
    console = prepare()
    with heavy_imports():
        from hrkd.run import benchmark as benchmarking

    found = benchmarking.benchmark(
        folders,
        checked,
        threads=threads,
        texts=texts,
        rounds=rounds,
        batch_size=batch_size,
        show=console.print,
        progress=progress(),
    )
    _write_json(json_file, found)


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
) -> None:
    """Answer questions over HTTP.

    POST /predict takes {"texts": [...], "domain": ...}; /model, /health, /metrics (Prometheus) and /openapi.json say
    the rest, and / is a page to try sentences. What is asked while the model is busy is answered together. Ctrl-C or
    SIGTERM ends it once all is answered.
    """
    folder = student_in(folder)
    facts_of_any(folder)
    console = prepare()
    from hrkd.deploy.serving import server

    def show(line: object) -> None:
        console.print(line, soft_wrap=True)
        sys.stdout.flush()  # who has started it waits for this line

    sizes = {"texts": texts, "characters": characters, "batch_size": batch_size}
    server.serve(folder, host=host, port=port, threads=threads, **sizes, show=show)


def cache(
    *,
    folder: Annotated[
        Path | None, Parameter(help="Folder of all caches; default: HRKD_CACHE, or ~/.cache/hrkd.")
    ] = None,
    clear: Annotated[
        str | None, Parameter(help="Remove the cache of this name (or whose name alone begins so), or all of them.")
    ] = None,
    older_than: Annotated[float | None, Parameter(help="Only those that were not used for so many days.")] = None,
) -> None:
    """List, and clear, what is kept on disk for later runs.

    Rows of tables as they were checked, token ids, what linear models said of dev and test, and what teachers said of
    training texts. A cache is read by every later run with the same table, with the same texts and tokenizer, with the
    same labelled rows, or with the same teacher, texts and layer map.
    """
    if older_than is not None and not 0 <= older_than < float("inf"):
        raise RecipeError(f"--older-than: expected a number of days from 0, got {older_than:g}")
    console = prepare()
    from hrkd.support.caches import DAY, cache_folder, cached_folders, clear_cache, other_folders

    place = cache_folder(folder)
    if clear is not None:
        removed = clear_cache(place, clear, older_than=older_than)
        for each in removed:
            console.print(f"removed: {each}", soft_wrap=True)
        if not removed:
            console.print(f"nothing to remove in {place}", soft_wrap=True)
        return
    from hrkd.report.tables import cache_table

    since = time.time() - (older_than or 0) * DAY
    found = [each for each in cached_folders(place) if older_than is None or each[1]["used"] < since]
    table = cache_table(found, other_folders(place), place)
    if found:
        console.print(table)
        return
    for line in (f"no caches in {place}", *table.notes[1:]):
        console.print(line, soft_wrap=True)


def recipe(
    name: Annotated[str | None, Parameter(help="A packaged recipe to print.")] = None,
    /,
    *,
    schema: Annotated[bool, Parameter(negative=(), help="Print the JSON schema of all fields.")] = False,
) -> None:
    """List the packaged recipes, print one, or print the schema of all fields.

    `hrkd recipe demo > my.yaml` is a good start for a recipe of your own.
    """
    if schema:
        text = json.dumps(recipe_json_schema(), indent=2)
    elif name is not None:
        text = packaged_recipe_text(name)
    else:
        text = "\n".join(_summary(each) for each in packaged_recipes())
    sys.stdout.write(text.rstrip("\n") + "\n")


def _summary(name: str) -> str:
    first_line = packaged_recipe_text(name).partition("\n")[0]
    return f"{name:16}{first_line.lstrip('# ')}"
