"""Rows as ``hrkd check`` looks at them: read leniently, split as far as that goes, and what is found in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hrkd.data.alike import slips
from hrkd.data.assembly import assemble
from hrkd.data.health.finding import Finding
from hrkd.data.health.names import find_classes, find_names
from hrkd.data.health.sides import find_overlaps, find_parts, find_sizes, too_few
from hrkd.data.health.survey import Survey
from hrkd.data.health.texts import find_copies, find_garbled, find_nearly_empty
from hrkd.data.readers.sources import raw_rows
from hrkd.data.rows import ColumnNames
from hrkd.data.splits.split import given_parts
from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.errors import DataError, HrkdError
from hrkd.recipe.schema import DataConfig
from hrkd.run.prepare import load_labelled, prepare_data

__all__ = ["CheckedRows", "check_rows", "each_line"]


@dataclass(frozen=True)
class CheckedRows:
    """The rows that can be used and their parts, as far as there are any, and what was found."""

    findings: list[Finding]
    dataset: MultiDomainDataset | None = None
    splits: Splits | None = None


def check_rows(config: DataConfig, step: int) -> CheckedRows:
    """Read the rows of a recipe and look for everything that can be told of them without a model.

    Args:
        config: the data section.
        step: rows of every domain that a step of the training takes.
    """
    survey = Survey(config.domains)
    try:
        dataset = _read(config, survey)
    except HrkdError as error:
        told = survey.findings()
        nothing_left = survey.kept_back and not survey.names["domain"]
        return CheckedRows(told if nothing_left else [*each_line("D003", error), *told])
    found = survey.findings()
    for role, counts in survey.names.items():
        found += find_names(role, counts, survey.first[role])
    splits, problems = _split(config, dataset, step)
    found += problems + find_nearly_empty(dataset) + find_garbled(dataset) + find_copies(dataset)
    small = [each.domain for each in problems if each.code == "D304"]
    kept, parts = _but(dataset, small), None if splits is None else _parts_but(splits, small)
    found += find_classes(kept, parts, [rare for rare, _ in slips(survey.names["label"])])
    found += find_sizes(kept, parts)
    if parts is not None:
        found += find_parts(parts)
    return CheckedRows(found, dataset, parts)


def _but(dataset: MultiDomainDataset, small: list[str]) -> MultiDomainDataset:
    """The rows of the domains of which nothing else has been told, if there are any."""
    names = [name for name in small if name in dataset.domains]
    return dataset.without(names) if names and len(names) < len(dataset.domains) else dataset


def _parts_but(splits: Splits, small: list[str]) -> Splits:
    train, dev, test = (_but(part, small) for _, part in splits)
    return replace(splits, train=train, dev=dev, test=test)


def _read(config: DataConfig, survey: Survey) -> MultiDomainDataset:
    """The rows that can be used; the survey holds what is wrong with the others."""
    if config.format == "synthetic" or config.source is None:
        return load_labelled(config, None)[0]
    names = ColumnNames(**{name: getattr(config, name) for name in ColumnNames.__dataclass_fields__})
    chunks = raw_rows(config.source, config.format, names)
    return assemble(survey.sound(chunks), config.domains, to_measure=True)


def _split(config: DataConfig, dataset: MultiDomainDataset, step: int) -> tuple[Splits | None, list[Finding]]:
    """The parts of the rows (without domains that are too small, if there is no other way), and what is wrong."""
    found: list[Finding] = []
    try:
        if given := given_parts(dataset, config.splits_file):
            found += find_overlaps(dataset, given)
    except DataError as fault:
        return None, list(each_line("D004", fault))
    if len(dataset.labels) < 2:  # which is told as such
        return None, found
    splits, error = _parts(config, dataset)
    if splits is not None:
        return splits, found + too_few(dataset, splits, step)
    small = too_few(dataset, None, step)
    names = [each.domain for each in small]
    if small and len(names) < len(dataset.domains):
        splits, again = _parts(_without(config, names), dataset.without(names))
        if splits is not None:
            return splits, found + small + too_few(dataset, splits, step)
        error = again
    return None, [*found, *small, *(each_line("D004", error) if error else ())]


def _without(config: DataConfig, names: list[str]) -> DataConfig:
    """The section for the rows of the other domains."""
    changes = {"domains": None, "sizes": None if config.sizes == "paper" else config.sizes}
    if isinstance(config.sizes, dict):
        changes["sizes"] = {name: size for name, size in config.sizes.items() if name not in names} or None
    return config.model_copy(update=changes)


def _parts(config: DataConfig, dataset: MultiDomainDataset) -> tuple[Splits | None, HrkdError | None]:
    try:
        return prepare_data(config.model_copy(update={"unlabelled": None}), dataset).splits, None
    except HrkdError as error:
        return None, error


def each_line(code: str, error: HrkdError) -> Iterator[Finding]:
    """A finding for each line of an error, which says itself what to do."""
    for line in str(error).splitlines():
        yield Finding(code, line, advice="")
