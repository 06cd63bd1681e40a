"""A tiny grid, and runs of it that need no process of their own."""

import traceback
from contextlib import redirect_stderr, redirect_stdout

from hrkd.comparison import processes
from hrkd.errors import HrkdError
from hrkd.recipe.loading import load_recipe
from hrkd.run import commands
from tiny import tiny_recipe

VERBS = {
    "train-teacher": commands.train_teacher,
    "distill": commands.distill,
    "train-baseline": commands.train_baseline,
}
NEEDED = {"train-teacher": ("data", "teacher")}


class InThisProcess:
    """Stands for the process of a run: does the same at once, without starting Python anew."""

    def __init__(self, arguments, log, environment, lock):
        verb, recipe, *flags = arguments
        overrides = {"run.overwrite": True} if flags else {}
        self.returncode = 0
        with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
            try:
                VERBS[verb](load_recipe(recipe, overrides, *(NEEDED[verb],) if verb in NEEDED else ()))
            except HrkdError as error:
                file.write(f"error: {error}\n")
                self.returncode = 2
            except Exception:
                traceback.print_exc(file=file)
                self.returncode = 1

    def poll(self):
        return self.returncode


def run_here(patch):
    """Names of the runs that are started from now on, in their order; they run in this process."""
    names = []

    def start(arguments, log, environment, lock):
        names.append(name_of(log))
        return InThisProcess(arguments, log, environment, lock)

    patch.setattr(processes, "start_process", start)
    return names


def name_of(log):
    """The run that a log belongs to."""
    parts = log.with_suffix("").parts
    return "/".join(parts[parts.index("started") + 1 :])


def tiny_grid(folder, **changes):
    """Two methods and labels alone, two seeds, one data set, in seconds."""
    small = {"teacher.training.epochs": 3, "student.training.epochs": 1, "data.synthetic.examples": 80}
    measured = {"evaluation.bootstrap": 0, "evaluation.linear": True}
    recipe = tiny_recipe(folder / "unused", **small, **measured).model_dump(mode="json")
    del recipe["run"]["output"], recipe["run"]["overwrite"], recipe["run"]["seed"], recipe["student"]["baseline"]
    base = {
        "recipe": recipe,
        "seeds": [0, 1],
        "methods": {
            "hrkd": {"student.training.epochs": 2},
            "uniform": {"method.graph": "uniform"},
            "labels": {"learns_from": "labels"},
        },
        "baseline": "uniform",
        "output": str(folder / "out"),
        "resamples": 200,
    }
    return base | changes
