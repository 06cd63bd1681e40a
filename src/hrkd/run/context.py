"""What all stages of a run share: recipe, data, folder, device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from hrkd.data.describe import describe
from hrkd.data.splits.split import save_split_ids
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import RecipeError
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.recipe.schema import Recipe
from hrkd.run.command_record import CommandRecord
from hrkd.run.data_changes import data_changes
from hrkd.run.first_look import teacher_in
from hrkd.run.folder import RunFolder
from hrkd.run.identity import model_settings
from hrkd.run.prepare import PreparedData, prepare_data
from hrkd.support.arguments import path_of
from hrkd.support.atomic_files import write_json
from hrkd.support.caches import cache_folder
from hrkd.support.progress import Progress, Show, quiet
from hrkd.training.checks import check_meta_teacher, weights_of_domains
from hrkd.training.session import start_accelerator

__all__ = ["Context", "Workplace"]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class Workplace:
    """What a model is asked with; ``cache``: folder in which rows, token ids and what teachers say are kept."""

    recipe: Recipe
    accelerator: Accelerator
    progress: Progress
    cache: Path


@dataclass(frozen=True)
class Context(Workplace):
    """What all stages of one recipe share.

    Args:
        external_teacher: the folder of a teacher of another run, in the place of the run's own.
        planned: the settings of every stage that is to be there at the end (:mod:`hrkd.run.identity`).
        command: what the folder will say of how it was made; None: nothing.
    """

    folder: RunFolder
    data: PreparedData
    show: Show
    external_teacher: Path | None = None
    planned: dict[str, dict[str, Any]] = field(default_factory=dict)
    command: CommandRecord | None = None

    @classmethod
    def load(
        cls,
        recipe: Recipe,
        *,
        data: MultiDomainDataset | None = None,
        unlabelled: MultiDomainDataset | None = None,
        external_teacher: str | Path | None = None,
        folder: RunFolder | None = None,
        show: Show = quiet,
        progress: Progress | None = None,
        verb: str | None = None,
    ) -> Context:
        """Load and split the data; nothing is written.

        Args:
            verb: the command that the folder will say it was made by.
            folder: that of the run, where something is to be trained (:meth:`hrkd.run.folder.RunFolder.at_work`).
            Others: as of :func:`hrkd.run.commands.compress`.
        """
        accelerator = start_accelerator(recipe.run, trains=folder is not None)
        main, cache = accelerator.is_main_process, cache_folder(recipe.cache.folder)
        teacher = None if external_teacher is None else teacher_in(path_of("teacher_folder", external_teacher))
        own = recipe.run.output / "teacher"
        if teacher is not None and recipe.teacher.fine_tuned is None and teacher.resolve() == own.resolve():
            teacher = None
        command = None
        if verb is not None:
            given_rows = {"data": (data, recipe.data.source), "unlabelled": (unlabelled, recipe.data.unlabelled)}
            in_memory = [name for name, (rows, named) in given_rows.items() if rows is not None and named is None]
            given = None if external_teacher is None else str(external_teacher)
            arguments = {} if given is None else {"teacher_folder": given}
            command = CommandRecord(verb, str(Path.cwd()), arguments, tuple(in_memory))
        return cls(
            recipe=recipe,
            accelerator=accelerator,
            progress=progress or Progress(main),
            cache=cache,
            folder=folder or RunFolder(recipe.run.output, recipe.run.overwrite),
            data=prepare_data(recipe.data, data, cache, unlabelled=unlabelled),
            show=show if main else quiet,
            external_teacher=teacher,
            command=command,
        )

    def plan(self, *stages: str, kept: tuple[str, ...] = ()) -> Context:
        """The same, once folder and trackers are found to be able to take these stages; nothing is written.

        A student brings its baseline, if there is one, and its levels. Levels that are in the folder count for a recipe
        of one stage too, so that they are not left over from another.

        Args:
            stages: their names.
            kept: those of them that must be there already and are not made anew.

        Raises:
            ArtifactError: the folder cannot.
            DataError: a meta-teacher, and one domain; a weight for a domain that there is not.
            RecipeError: a tracker is not installed.
        """
        recipe, domains = self.recipe, self.data.splits.domains
        _check_trackers(recipe.run.trackers)
        if recipe.teacher.meta_kd:
            check_meta_teacher(domains)
        weights_of_domains(recipe.method.domain_weights, domains)
        if "student" in stages:
            two = recipe.method.stages == "two" or self.folder.stage("levels").is_begun
            stages = (*stages, *(["levels"] if two else []), *(["baseline"] if recipe.student.baseline else []))
        decisive: dict[str, Any] = {
            "data": self.data.digest,
            "unlabelled": self.data.unlabelled_digest,
            "processes": self.accelerator.num_processes,
            "external_teacher": self.external_teacher,
        }
        planned = {stage: model_settings(recipe, stage, **decisive) for stage in stages}
        if self.accelerator.is_main_process:  # others might see a folder that it has begun to write
            self.folder.check(planned, kept=kept, explain=self._explain)
        return replace(self, planned=planned)

    def _explain(self, change: str) -> str:
        """A difference of two records, in which rows are a hash, in words."""
        return data_changes(self.folder.path, self.data) if change.startswith("data: ") else change

    def open_folder(self) -> None:
        """Open the run folder for the planned stages, and describe the data in it."""
        yaml = recipe_to_yaml(self.recipe)
        if self.accelerator.is_main_process:
            splits, folder = self.data.splits, self.folder.path
            self.folder.open(yaml, self.planned, None if self.command is None else asdict(self.command))
            save_split_ids(self.data.drawn, folder / "splits.json")
            described = describe(splits, max_length=self.recipe.data.max_length, unlabelled=self.data.unlabelled)
            write_json(folder / "data.json", {**described.to_dict(), "content": self.data.content_digest})
            for note in splits.notes:
                logger.info("data: %s", note)
        self.accelerator.wait_for_everyone()
        if self.recipe.run.trackers:
            self.accelerator.init_trackers("hrkd", config={"recipe": yaml})


def _check_trackers(names: Sequence[str]) -> None:
    missing = [name for name in names if name not in {str(known.value) for known in get_available_trackers()}]
    if missing:
        raise RecipeError(f"run.trackers: {', '.join(missing)} is not installed; install it or leave it out")
