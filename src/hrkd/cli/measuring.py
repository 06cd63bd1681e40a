"""Verbs that measure what was trained, and show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hrkd.cli.flags import Flags, overrides_of, takes_fields
from hrkd.cli.parameters import Json, RecipeArgument, RecipeName, data_recipe, offered, tell
from hrkd.cli.terminal import heavy_imports, prepare, progress
from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.export_folder import facts_of_any
from hrkd.errors import RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.run.first_look import (
    SPLITS,
    WHICH,
    check_measurable,
    check_named,
    recipe_around,
    student_in,
)
from hrkd.support.arguments import check_count
from hrkd.support.atomic_files import check_can_be_written

if TYPE_CHECKING:
    Split = str
    Which = str
else:
    Split, Which = offered(SPLITS), offered(WHICH)

__all__ = ["benchmark", "errors", "evaluate", "report"]


@takes_fields("data", "evaluation", "run")
def evaluate(
    folder: Annotated[Path, Parameter(help="Output folder of a run, or folder of one model.")],
    recipe: RecipeArgument = None,
    /,
    *,
    split: Annotated[
        Split | None,
        Parameter(
            help="train, dev, test or all; default: test where the run or the data says which rows that is, else all.",
            show_choices=False,
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
    tell(scores, as_json)


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
    tell(content, as_json)


def errors(
    run: Annotated[Path, Parameter(help="Folder of a finished run.")],
    /,
    *,
    which: Annotated[
        Which,
        Parameter(
            help="all; wrong: by the student; lost: right by the teacher alone; gained: by the student alone; "
            "neither: right by none.",
            show_choices=False,
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
    tell(found.to_dict("records"), as_json)


@takes_fields("data", "run", listed=False)
def benchmark(
    *folders: Annotated[
        Path, Parameter(help="Runs (teacher and student), models, exports; others are compared with the first.")
    ],
    recipe: Annotated[
        RecipeName | None,
        Parameter(
            help="Recipe whose test texts are taken; default: that of the first folder's run.", show_choices=False
        ),
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
    checked = data_recipe(recipe, flags)
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
    tell(found, as_json)
