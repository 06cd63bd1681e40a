"""The verbs. Each checks its recipe before anything heavy is imported, then calls one function of the library."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of, takes_fields
from hrkd.cli.output import print_json
from hrkd.cli.prediction import TableFlags, predict_lines, predict_table, predict_texts, standard_input, unguarded
from hrkd.cli.terminal import heavy_imports, prepare, prepare_process, progress
from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, TARGETS, check_target
from hrkd.deploy.export_folder import exported_facts, facts_of_any
from hrkd.errors import RecipeError, TrainingError
from hrkd.recipe.codes import CODES, code_of
from hrkd.recipe.loading import load_recipe, packaged_recipe_text, packaged_recipes, recipe_json_schema
from hrkd.recipe.schema import Recipe
from hrkd.recipe.yaml_lines import read_yaml
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
from hrkd.support.arguments import check_count
from hrkd.support.atomic_files import check_can_be_written
from hrkd.support.messages import visible

if TYPE_CHECKING:
    from rich.console import Console

    from hrkd.comparison.planning import GridPlan
    from hrkd.data.types import MultiDomainDataset

__all__ = [
    "benchmark",
    "cache",
    "check",
    "compare",
    "compress",
    "data",
    "distill",
    "errors",
    "evaluate",
    "explain",
    "export",
    "init",
    "predict",
    "recipe",
    "report",
    "serve",
    "train_baseline",
    "train_teacher",
]

logger = logging.getLogger("hrkd")

RecipeArgument = Annotated[
    str | None, Parameter(help="A YAML file or the name of a packaged recipe. Flags go before what it says.")
]
Json = Annotated[
    bool,
    Parameter(
        name="--json", negative=(), help="Write data alone to standard output, as JSON; the rest to standard error."
    ),
]
DryRun = Annotated[
    bool, Parameter(negative=(), help="Show what would be done, with times of a few real steps; write nothing.")
]
Hours = Annotated[
    float | None,
    Parameter(help="Budget: epochs of teacher and student are lowered in proportion until the run fits."),
]
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
def compress(
    recipe: RecipeArgument = None,
    /,
    *,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Make a small student from labelled text and a large encoder, and measure it.

    Trains the teacher (unless the recipe names a fine-tuned one), distils the student, and measures both on
    every domain. Called again, it goes on where it stopped. A flag with the value `null` takes back what the
    recipe says. Relative paths count from the current directory.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "teacher", "student")
    work = _start("compress", recipe, checked, as_json, dry_run=dry_run, hours=hours)
    if work is None:
        return
    with heavy_imports():
        from hrkd.run import commands

    _tell(commands.compress(work.recipe, data=work.rows, show=work.console.print, progress=progress()), as_json)


@takes_fields("data", "teacher", "evaluation", "run")
def train_teacher(
    recipe: RecipeArgument = None,
    /,
    *,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Fine-tune the teacher only.

    The first stage of `compress`; the recipe may leave out the student.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data", "teacher"))
    check_named(checked, "data", "teacher")
    work = _start("train-teacher", recipe, checked, as_json, dry_run=dry_run, hours=hours)
    if work is None:
        return
    with heavy_imports():
        from hrkd.run import commands

    scores: dict[str, Any] = {}
    folder = commands.train_teacher(
        work.recipe,
        data=work.rows,
        show=work.console.print,
        progress=progress(),
        scored=lambda found: scores.update(found.to_dict()),
    )
    work.console.print(f"Teacher: {folder}", soft_wrap=True)
    _tell({"folder": str(folder), "dev": scores}, as_json)


@takes_fields(*Recipe.model_fields)
def distill(
    recipe: RecipeArgument = None,
    /,
    *,
    teacher_folder: TeacherFolder = None,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Distil the student from a teacher that exists.

    The stages of `compress` after the teacher. The teacher is the one in the output folder, the one of
    `--teacher-folder`, or the classifier that `teacher.fine_tuned` names.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    work = _start("distill", recipe, checked, as_json, dry_run=dry_run, hours=hours, teacher_folder=teacher_folder)
    if work is None:
        return
    with heavy_imports():
        from hrkd.run import commands

    found = commands.distill(
        work.recipe, teacher_folder=teacher_folder, data=work.rows, show=work.console.print, progress=progress()
    )
    _tell(found, as_json)


@takes_fields(*Recipe.model_fields)
def train_baseline(
    recipe: RecipeArgument = None,
    /,
    *,
    teacher_folder: TeacherFolder = None,
    dry_run: DryRun = False,
    hours: Hours = None,
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Train the student on labels alone, without distillation.

    The baseline of `compress` as a run of its own. It starts as the distilled student does, from the teacher's
    weights for example, so that it needs a teacher too: found as `distill` finds it.
    """
    checked = load_recipe(recipe, overrides_of(flags))
    check_named(checked, "data", "student", *(["teacher"] if teacher_folder is None else []))
    check_teacher_is_there(checked, teacher_folder)
    work = _start(
        "train-baseline", recipe, checked, as_json, dry_run=dry_run, hours=hours, teacher_folder=teacher_folder
    )
    if work is None:
        return
    with heavy_imports():
        from hrkd.run import commands

    found = commands.train_baseline(
        work.recipe, teacher_folder=teacher_folder, data=work.rows, show=work.console.print, progress=progress()
    )
    _tell(found, as_json)


class _Work(NamedTuple):
    """What a training needs: where results for people go, the rows as :func:`look_at_rows` gives them, the recipe."""

    console: Console
    rows: MultiDomainDataset | None
    recipe: Recipe


def _start(
    verb: str,
    source: str | None,
    recipe: Recipe,
    as_json: bool,
    *,
    dry_run: bool,
    hours: float | None,
    teacher_folder: Path | None = None,
) -> _Work | None:
    """Make ready for a run that writes a folder; ``source`` is what the recipe was called by.

    Returns None where its plan was all that was asked for, and is shown.
    """
    check_output(recipe)
    console = prepare(data_only=as_json)
    if told := moved_run(source, recipe):
        logger.warning(told)
    rows = None if dry_run else look_at_rows(recipe)
    if not dry_run and hours is None:
        return _Work(console, rows, recipe)
    with heavy_imports():
        from hrkd.report.plan_tables import budget_lines
        from hrkd.run.plan import plan
        from hrkd.support.progress import quiet

    show = console.print if dry_run else quiet
    found = plan(
        recipe, verb=verb, teacher_folder=teacher_folder, hours=hours, data=rows, show=show, progress=progress()
    )
    if dry_run:
        _tell(found.content, as_json)
        return None
    for line in budget_lines(found.content):
        logger.info(line)
    return _Work(console, rows, found.recipe)


def _tell(content: Any, as_json: bool) -> None:
    """Write what a verb found as data, where that is asked for."""
    if as_json:
        print_json(content)


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
    as_json: Json = False,
) -> None:
    """Run methods against each other over data sets, fractions and seeds, and test the differences.

    Every cell of the grid is an ordinary run in a process of its own; teachers are trained once and shared. Called
    again, it runs only what is missing. Writes compare.md, compare.csv, compare.json and, with matplotlib,
    compare.svg. The guide describes the grid file and what is tested.
    """
    from hrkd.comparison.planning import load_grid

    given = {"output": output, "jobs": jobs}
    checked = load_grid(grid, {name: value for name, value in given.items() if value is not None})
    compare_grid(checked, report_only=report_only, overwrite=overwrite, as_json=as_json)


def compare_grid(grid: GridPlan, *, report_only: bool = False, overwrite: bool = False, as_json: bool = False) -> None:
    """What `compare` does with a grid that is checked."""
    console = prepare(data_only=as_json)
    from hrkd.comparison import command

    content = command.compare(
        grid, report_only=report_only, overwrite=overwrite, show=console.print, progress=progress()
    )
    _tell(content, as_json)
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
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Measure a run or a model on each domain.

    The recipe says what data to measure on; only its data section is needed. For the folder of a run, or a
    model in it, it is the run's own unless another is given. Length, columns, labels and domains are the model's.
    """
    check_measurable(folder, split, data_named=bool(recipe or flags))
    own = recipe_around(folder)
    if own is not None and own.parent.absolute() != folder.absolute() and (flags or {}).get("data"):
        own = None  # other rows for a model: nothing of its run's own says where they are
    source = str(own) if recipe is None and own is not None else recipe
    given = source is not None or flags
    checked = load_recipe(source, overrides_of(flags), needed=("data",)) if given else None
    if checked is not None:
        check_named(checked, "data.source")
    console = prepare(data_only=as_json)
    with heavy_imports():
        from hrkd.run import evaluation

    scores = evaluation.evaluate(
        folder, checked, split=split, teacher=teacher, labels=labels, show=console.print, progress=progress()
    )
    _tell(scores, as_json)


def report(
    *runs: Annotated[Path, Parameter(help="Folders of finished runs; several are shown side by side.")],
    output: Annotated[
        Path | None,
        Parameter(help="The page; its content stands beside it as .json. Default: report.html in the run's folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the page of a run: figures, texts and numbers in one file.

    It needs no network and no scripts: accuracy by domain beside teacher and baselines, texts on which student and
    teacher part, calibration, ratios and losses of each level, learning curves, sizes and speeds, costs, data and
    recipe. Of several runs: what they reach, cost and differ in.
    """
    if not runs:
        raise RecipeError("name the folder of a finished run (run.output of its recipe), or several")
    if output is None and len(runs) > 1:
        raise RecipeError("--output: name the page; that of several runs belongs to none of their folders")
    page = output or runs[0] / "report.html"
    check_can_be_written(page)
    console = prepare(data_only=as_json)
    from hrkd.run import report as reporting

    content = reporting.report(*runs, output=page)
    console.print(f"Written: {page}, {page.with_suffix('.json').name}", soft_wrap=True)
    _tell(content, as_json)


def errors(
    run: Annotated[Path, Parameter(help="Folder of a finished run.")],
    /,
    *,
    which: Annotated[
        str,
        Parameter(
            help="all; wrong: by the student; lost: right by the teacher alone; gained: by the student alone; "
            "neither: right by none."
        ),
    ] = "all",
    domain: Annotated[str | None, Parameter(help="Of this domain alone.")] = None,
    limit: Annotated[int, Parameter(help="Texts that are shown of each domain.")] = 10,
    output: Annotated[
        Path | None, Parameter(help="Table to write, of all of them with whole texts: .csv, .jsonl, .parquet.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the texts that student and teacher get wrong, or part on.

    Test rows by domain, those first of which the student is surest, with what both said.
    """
    check_count("--limit", limit)
    console = prepare(data_only=as_json)
    from hrkd.report.errors import check_table, errors_table, write_errors
    from hrkd.run import errors as finding

    if output is not None:
        check_table(output)
    found = finding.errors(run, which=which, domain=domain)
    console.print(errors_table(found, limit))
    if output is not None:
        write_errors(output, found)
        console.print(f"Written: {output}", soft_wrap=True)
    _tell(found.to_dict("records"), as_json)


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
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Describe the data of a recipe: sizes, labels, lengths, repeated texts.

    And what linear models reach on dev, of each domain alone and of all together. Only the data section of the recipe
    is needed.
    """
    checked = load_recipe(recipe, overrides_of(flags), needed=("data",))
    check_named(checked, "data")
    console = prepare(data_only=as_json)
    from hrkd.run.describe_data import describe_data

    _tell(describe_data(checked, tokenizer, linear_models=linear_models, show=console.print), as_json)


@takes_fields(*Recipe.model_fields)
def check(
    recipe: RecipeArgument = None,
    /,
    *,
    as_json: Json = False,
    flags: Flags = None,
) -> int:
    """Check a recipe and its data without training; findings have codes.

    All errors of the recipe, files, models and columns that a run would refuse, and what in the data is worth a look:
    each a line with its code, what was found, an example and what to do. `hrkd explain CODE` says more, and
    `--data.ignore CODE` leaves one out. Exit status: 0 nothing or notes alone, 1 warnings, 2 a run would refuse.
    """
    console = prepare(data_only=as_json)
    with heavy_imports():
        from hrkd.report.findings import findings_lines
        from hrkd.run import check as checking

    overrides = overrides_of(flags)
    found = checking.check(recipe, overrides)
    following = _after_check(recipe, found.status, with_flags=bool(overrides))
    if as_json:
        print_json({"recipe": recipe, **found.to_dict(), "next": following})
        return found.status
    for line in (*findings_lines(recipe or "recipe", found.findings, found.left_out), f"next: {following}"):
        console.print(line, soft_wrap=True)
    return found.status


def _after_check(recipe: str | None, status: int, *, with_flags: bool) -> str:
    """The command that comes next."""
    name = f" {shlex.quote(recipe)}" if recipe is not None else ""
    flags = " (with the same flags)" if with_flags else ""
    if status == 2:
        return f"mend the errors, then hrkd check{name}{flags}"
    return f"hrkd compress{name}{flags}" + ("; hrkd explain CODE says more of a finding" if status else "")


def init(
    source: Annotated[str, Parameter(help="A table, a folder of tables or of a research set, or a hub data set.")],
    /,
    *,
    output: Annotated[Path, Parameter(help="The recipe to write.")] = Path("my.yaml"),
    teacher: Annotated[
        str | None, Parameter(help="Folder or hub name of the pre-trained encoder; default: bert-base-uncased.")
    ] = None,
    overwrite: Annotated[bool, Parameter(negative=(), help="Replace a recipe that is there.")] = False,
    schema: Annotated[bool, Parameter(help="Write recipe.schema.json beside it too, by which editors help.")] = True,
    as_json: Json = False,
) -> None:
    """Look at a table and write a recipe for it.

    Which column is the text, the label, the domain, a second text or the split is told by what they hold, and a little
    by their names; the recipe says why, and which others it may be.
    """
    console = prepare(data_only=as_json)
    from hrkd.run.first_recipe import write_first_recipe

    told = write_first_recipe(
        source, output, teacher=teacher, overwrite=overwrite, with_schema=schema, show=console.print
    )
    following = f"hrkd check {shlex.quote(str(output))}"
    for line in (*told, f"next: {following}"):
        console.print(visible(line), soft_wrap=True)
    _tell(
        {"recipe": str(output), "content": read_yaml(output.read_text(), str(output)).data, "next": following}, as_json
    )


def explain(
    code: Annotated[str | None, Parameter(help="Such as D104; default: list all.")] = None,
    /,
    *,
    as_json: Json = False,
) -> None:
    """Say what the code of a finding means and what to do.

    Without a code, lists all of them.
    """
    if as_json:
        print_json([asdict(each) for each in ([code_of(code)] if code is not None else CODES.values())])
        return
    if code is not None:
        text = str(code_of(code))
    else:
        text = "\n".join(f"{each.code}  {each.severity:8} {each.title}" for each in CODES.values())
    prepare().print(text)


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
    checked = _data_recipe(recipe, flags)
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
    as_json: Json = False,
    flags: Flags = None,
) -> None:
    """Time models and exports side by side on texts of their own kind.

    One text at a time (median, 95th and 99th percentile) and many, with tokenising; size; seconds until the first
    answer of a new process. A linear model that is fitted on the same data stands below. Models take turns; leave the
    machine alone meanwhile. Fields of the recipe are flags too, such as `--data.source`; `hrkd evaluate --help` shows
    them.
    """
    checked = _data_recipe(recipe, flags)
    if not folders:
        raise RecipeError("name at least one folder of a run, a model or an export")
    for folder in folders:
        facts_of_any(student_in(folder))
    console = prepare(data_only=as_json)
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
    _tell(found, as_json)


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


def cache(
    *,
    folder: Annotated[
        Path | None, Parameter(help="Folder of all caches; default: HRKD_CACHE, or ~/.cache/hrkd.")
    ] = None,
    clear: Annotated[
        str | None, Parameter(help="Remove the cache of this name (or whose name alone begins so), or all of them.")
    ] = None,
    older_than: Annotated[float | None, Parameter(help="Only those that were not used for so many days.")] = None,
    as_json: Json = False,
) -> None:
    """List, and clear, what is kept on disk for later runs.

    Rows of tables as they were checked, token ids, what linear models said of dev and test, and what teachers said of
    training texts. A cache is read by every later run with the same table, with the same texts and tokenizer, with the
    same labelled rows, or with the same teacher, texts and layer map.
    """
    if older_than is not None and not 0 <= older_than < float("inf"):
        raise RecipeError(f"--older-than: expected a number of days from 0, got {older_than:g}")
    console = prepare(data_only=as_json)
    from hrkd.support.caches import DAY, cache_folder, cached_folders, clear_cache, other_folders

    place = cache_folder(folder)
    if clear is not None:
        removed = clear_cache(place, clear, older_than=older_than)
        for each in removed:
            console.print(f"removed: {each}", soft_wrap=True)
        if not removed:
            console.print(f"nothing to remove in {place}", soft_wrap=True)
        _tell({"folder": str(place), "removed": [each.name for each in removed]}, as_json)
        return
    from hrkd.report.tables import cache_table

    since = time.time() - (older_than or 0) * DAY
    found = [each for each in cached_folders(place) if older_than is None or each[1]["used"] < since]
    table = cache_table(found, other_folders(place), place)
    if as_json:
        print_json({"folder": str(place), "caches": [{"name": path.name, **index} for path, index in found]})
        return
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
    as_json: Json = False,
) -> None:
    """List the packaged recipes, print one, or print the schema of all fields.

    `hrkd recipe demo > my.yaml` is a good start for a recipe of your own.
    """
    if schema:
        text = json.dumps(recipe_json_schema(), indent=2)  # docs/recipe.schema.json is this
    elif as_json:
        print_json(_summaries() if name is None else read_yaml(packaged_recipe_text(name), name).data)
        return
    elif name is not None:
        text = packaged_recipe_text(name)
    else:
        text = "\n".join(f"{each['name']:16}{each['summary']}" for each in _summaries())
    sys.stdout.write(text.rstrip("\n") + "\n")


def _summaries() -> list[dict[str, str]]:
    """Name and first line of each packaged recipe."""
    texts = {name: packaged_recipe_text(name) for name in packaged_recipes()}
    return [{"name": name, "summary": text.partition("\n")[0].lstrip("# ")} for name, text in texts.items()]
