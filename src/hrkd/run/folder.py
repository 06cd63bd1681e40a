"""The folder of a run: what is in it, which stages are finished, and with what they were made.

::

    OUTPUT/
      recipe.yaml        the resolved recipe          environment.json   versions, machine
      splits.json        ids of train, dev, test      data.json          counts per domain
      command.json       which command made it, and where its relative paths count from
      teacher/           trained here (absent where the recipe names a fine-tuned one)
      teacher/<domain>/                               with teacher.encoders: per_domain; domains.json says whose it is
      student/  baseline/                             models, each with stage.json: what it was made with
      levels/            the student after the first of two stages (method.stages: two); its heads are not trained
      metrics/<stage>/   tables of every step         checkpoints/<stage>/   only while a stage is under way
      predictions/<stage>.parquet                     id, domain, label, predicted, probability_<label> of each label:
                                                      one row per row of test
      results.json  results.md                        figures of all models; the same as tables
      report.html  report.json                        the page, and what it shows
      benchmark.json                                  what hrkd benchmark measured of its models
      .lock              held by the command that is at work here; says which

Whatever else is in it belongs to others, and stays.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError, RecipeError
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import EvaluationConfig, RunConfig
from hrkd.run.identity import differences
from hrkd.support.atomic_files import (
    check_can_be_written,
    clear_leftovers,
    is_leftover,
    read_json,
    read_record,
    write_json,
    write_text,
    writing,
)
from hrkd.support.folder_names import fault_of_path
from hrkd.support.launch import launch
from hrkd.support.locks import Lock
from hrkd.support.manifest import file_sum
from hrkd.support.own_files import free_name
from hrkd.support.stage_files import COMMAND, STAGES, StageFiles, going_on, versions

__all__ = ["BENCHMARK", "COMMAND", "RECIPE", "RunFolder", "environment", "splits_beside", "telling_how_to_go_on"]

logger = logging.getLogger("hrkd")

RECIPE, ENVIRONMENT, LOCK = "recipe.yaml", "environment.json", ".lock"
DESCRIBED = ("splits.json", "data.json")
BENCHMARK = "benchmark.json"
TOLD = ("results.json", "results.md", "report.html", "report.json", BENCHMARK)
"""What is written when all is measured, and what hrkd benchmark measures of it."""
FOLDERS = ("metrics", "checkpoints", "predictions")
WRITTEN = re.compile(
    r"recipe\.yaml|(environment|command|splits|data|results|report|benchmark)\.json|results\.md|report\.html|"
    + "|".join(STAGES)
)
"""Names of what a run writes into its folder itself, where somebody else may be writing too."""

PACKAGES = ("hrkd", "torch", "transformers", "datasets", "accelerate", "tokenizers", "safetensors", "numpy", "pandas")


class RunFolder:
    """One output folder; ``overwrite``: stages that were made with other settings may be made anew.

    ``other_versions``: a stage that was begun with other versions of packages may be gone on with.
    ``lock`` makes the folder one process's own; ``results`` is the results file, ``predictions`` the folder of what
    models say of the test rows.
    """

    def __init__(self, path: Path, overwrite: bool = False, other_versions: bool = RunConfig().other_versions) -> None:
        self.path = path
        self.overwrite = overwrite
        self.other_versions = other_versions
        self.results = path / "results.json"
        self.predictions = path / "predictions"
        self.card = path / "student" / "README.md"
        self.lock = Lock(path / LOCK)

    @classmethod
    @contextmanager
    def at_work(cls, run: RunConfig) -> Iterator[RunFolder]:
        """The folder of a ``run``, which is this process's alone until the ``with`` block ends.

        It is taken now if a run is in it, else when it is opened. Of several processes of one launch the first takes
        it for all.

        Raises:
            ArtifactError: another process is at work there, or it cannot be written.
        """
        folder = cls(run.output, run.overwrite, run.other_versions)
        check_can_be_written(folder.path, is_folder=True)
        with folder.lock, telling_how_to_go_on(folder.path):
            if folder.is_run:
                folder.take()
            yield folder

    @property
    def is_run(self) -> bool:
        """Whether a run of hrkd is in it. A recipe alone, which may be anybody's, is none."""
        if fault_of_path(self.path):
            return False
        return (self.path / RECIPE).is_file() and (self.path / ENVIRONMENT).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether anything of a stage is kept in it."""
        return any(self.stage(name).is_begun for name in STAGES)

    def is_measured(self, evaluation: EvaluationConfig) -> bool:
        """Whether the results are there and whole, and those of these settings; of older ones the recipe says which."""
        settings = evaluation.model_dump(mode="json")
        with suppress(ArtifactError, RecipeError):  # a command that goes on writes damaged ones anew
            known = read_record(self.results, what="the results of a run", advice="")
            if "evaluation" not in known:
                return load_recipe(self.path / RECIPE, needed=()).evaluation == evaluation
            return bool(known["evaluation"] == settings)
        return False

    def take(self) -> bool:
        """Make the folder this process's own, unless it is; one of several processes of a launch does so for all.

        Returns whether that was done now.

        Raises:
            ArtifactError: another process is at work there, or it cannot be written.
        """
        if launch().is_first:
            return self.lock.take(
                lambda holder: (
                    f"{self.path}: hrkd is at work here{holder}; wait for it or end it first, or choose "
                    "another run.output"
                )
            )
        return False

    def stage(self, name: str) -> StageFiles:
        """The files of a stage, or of a part of one."""
        return StageFiles.of(self.path, name)

    def changes(self, name: str, settings: Mapping[str, Any]) -> list[str]:
        """Fields in which a stage, finished or under way, differs from ``settings``.

        How many processes made a finished stage is of no matter, nor which versions; one under way goes on with as many
        only, and with the same versions.

        Raises:
            ArtifactError: the record of what is there is missing or damaged.
        """
        files, changes = self.stage(name), list[str]()
        files.check_recorded()
        if files.is_finished:
            record = files.record(files.settings, what="the record of a stage")
            changes += differences(record | {"processes": settings.get("processes")}, settings)
        if files.is_under_way and files.begun is not None:
            changes += differences(files.record(files.begun, what="the record of a stage under way"), settings)
            if not self.other_versions:
                changes += [f"begun with {version}" for version in files.other_versions]
        return changes

    def check(
        self,
        planned: Mapping[str, Mapping[str, Any]],
        *,
        kept: tuple[str, ...] = (),
        explain: Callable[[str], str] = str,
    ) -> None:
        """Look, before anything is written, whether the folder can take the ``planned`` stages (name: settings).

        Args:
            kept: stages that are not made here, so that they are taken as they are or not at all.
            explain: makes a line about a field that differs say more.

        Raises:
            ArtifactError: the folder holds files that are no run of hrkd; a stage that was made with other settings
                while ``overwrite`` is off; a finished one that is damaged; or a link where hrkd would write and remove.
        """
        if not self.is_run and (foreign := self._foreign()):
            self._check_not_cut()
            raise ArtifactError(
                f"{self.path}: not empty and not a run of hrkd (found {foreign}); choose another run.output"
            )
        for name in FOLDERS:
            self._check_no_link(self.path / name)
        self._check_room(planned)
        for name, settings in planned.items():
            files = self.stage(name)
            changes = self.changes(name, settings)
            if not changes and files.is_finished:
                files.check_whole()
                continue
            self._check_no_link(files.model)
            if changes and (name in kept or not self.overwrite):
                raise ArtifactError(self._refusal(name, "; ".join(map(explain, changes)), is_kept=name in kept))

    def _check_not_cut(self) -> None:
        """Raise with what is missing where it was a run once: stages, and one of the two files that make it one."""
        missing = [name for name in (RECIPE, ENVIRONMENT) if not (self.path / name).is_file()]
        if len(missing) == 1 and (self.is_begun or self.results.is_file()):
            raise ArtifactError(
                f"{self.path}: looks like a run of hrkd whose {missing[0]} is missing; restore it from a copy, or "
                "choose another run.output"
            )

    def _foreign(self) -> str:
        """One of the things in the folder of which it is not known that hrkd wrote them."""
        if not self.path.is_dir():
            return ""
        others = (path for path in sorted(self.path.iterdir()) if path.name not in (LOCK, ENVIRONMENT, COMMAND))
        return next((path.name for path in others if not is_leftover(path)), "")

    def _check_room(self, planned: Iterable[str]) -> None:
        """Whether nothing else is in the way of what is to be written for the ``planned`` stages."""
        folders = [self.path / name for name in FOLDERS]
        files = [self.path / name for name in (RECIPE, ENVIRONMENT, COMMAND, LOCK, *DESCRIBED, *TOLD)]
        for name in planned:
            stage = self.stage(name)
            folders += [stage.model, stage.metrics, stage.checkpoint]
            files += [self.predictions / f"{name}.parquet", *filter(None, (stage.begun, stage.best_per_domain))]
        wrong = [(path, "a file", "folder") for path in folders if path.exists() and not path.is_dir()]
        wrong += [(path, "a folder", "file") for path in files if path.is_dir()]
        for path, found, wanted in wrong:
            raise ArtifactError(
                f"{path}: is {found}, where hrkd writes a {wanted}; move it, or choose another run.output"
            )

    def _check_no_link(self, folder: Path) -> None:
        if folder.is_symlink():
            raise ArtifactError(
                f"{folder}: is a link to {folder.readlink()}; hrkd writes and removes in the run's own folder alone: "
                "move what it leads to here, or choose a run.output in the place that it leads to"
            )

    def _refusal(self, name: str, changes: str, *, is_kept: bool) -> str:
        if is_kept:
            return (
                f"{self.path}: its {name} was made with other settings ({changes}), and this command makes none; "
                "hrkd compress with run.overwrite makes it anew, or choose another run.output"
            )
        if all(change.startswith("begun with ") for change in changes.split("; ")):
            return (
                f"{self.path}: its {name} was {changes}, and would end with numbers of neither; go on with those that "
                "it was begun with, set run.overwrite to make it anew, or run.other_versions to go on all the same"
            )
        again = name != "teacher" and self.stage("teacher").is_finished
        served = f" (hrkd distill --teacher-folder {self.path / 'teacher'} takes its teacher)" if again else ""
        return (
            f"{self.path}: its {name} was made with other settings ({changes}); "
            f"choose another run.output{served}, or set run.overwrite to make it anew"
        )

    @property
    def card_is_edited(self) -> bool:
        """Whether the student's model card is not the one that hrkd wrote here beside the results that are there."""
        if not self.card.is_file():
            return False
        if self.card.parent.is_symlink():
            return True
        with suppress(ArtifactError):
            known = read_json(self.results, what="the results")
            return not isinstance(known, dict) or known.get("model_card") != file_sum(self.card)
        return True

    def _clear_card(self, *, edited: bool) -> None:
        """Make room for another card: with other results, or of another student, from which an edited one is kept."""
        if edited and self.stage("student").is_finished:
            return
        if edited:
            aside = self.card.rename(free_name(self.card))
            logger.warning("%s: not known to be as hrkd wrote it; kept as %s", self.card, aside.name)
        else:
            self.card.unlink(missing_ok=True)

    def open(
        self,
        recipe_yaml: str,
        planned: Mapping[str, Mapping[str, Any]],
        command: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the recipe, the environment and, if it is known, the command that makes the run.

        What was cut off, and stages that are to be made anew, are cleared away first.

        Raises:
            ArtifactError: as :meth:`check`, as another process may have written meanwhile; or it cannot be written.
        """
        if self.take():
            self.check(planned)
        with writing(self.path):
            clear_leftovers(self.path, WRITTEN.fullmatch)
            for folder in self._folders_within():
                clear_leftovers(folder)
            edited = self.card_is_edited  # as long as there are results to tell by
            for name, settings in planned.items():
                files = self.stage(name)
                if self.changes(name, settings):
                    files.remove()
                if not files.is_finished:
                    self._clear_card(edited=edited and self.card.is_file())
                    told = (self.path / told for told in TOLD)
                    for path in (*told, self.predictions / f"{name}.parquet"):
                        path.unlink(missing_ok=True)
        if command is not None:
            write_json(self.path / COMMAND, command)
        write_json(self.path / ENVIRONMENT, environment())
        write_text(self.path / RECIPE, recipe_yaml)

    def _folders_within(self) -> list[Path]:
        """Folders in that of the run in which hrkd makes files."""
        below = [path for name in ("metrics", "checkpoints") for path in (self.path / name).rglob("*")]
        named = [self.path / name for name in (*FOLDERS, *STAGES)]
        return [path for path in (*named, *below) if path.is_dir() and not path.is_symlink()]


@contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """Work in a folder: an interrupt has a note that says how to go on, once the folder knows its command."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if (folder / COMMAND).is_file():
            interrupt.add_note(going_on(folder))
        raise


def splits_beside(model: Path) -> Path | None:
    """The split of the run that a model's folder lies in (a part of a teacher lies deeper); None without one."""
    if not model.exists():  # the name of a model on the Hub
        return None
    return next((path for run in list(model.parents)[:2] if (path := run / "splits.json").is_file()), None)


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    # platform.platform() would start a process to ask for the processor.
    system = "-".join((platform.system(), platform.release(), platform.machine()))
    return {"python": sys.version.split()[0], "platform": system, "packages": versions(PACKAGES)}
