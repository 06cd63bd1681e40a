"""From a student to one of its other forms: made beside the target folder, checked, and then put in place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.engines.engine import paddings
from hrkd.deploy.engines.exported import ExportEngine
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.check import faults, hold_against, losses
from hrkd.deploy.export.reference import Reference, asked_of, drawn, made_from, reference_of
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, TARGETS, Job, Made, check_allowance, check_target, in_words
from hrkd.deploy.export.trimming import trimmed
from hrkd.deploy.export_folder import EXPORT, ExportRecord, check_place
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, ModelError, RecipeError
from hrkd.models.open_model import ModelFacts
from hrkd.models.static import is_static
from hrkd.support.arguments import check_count, check_switch, path_of
from hrkd.support.atomic_files import replace_folder, write_json

__all__ = ["export_to"]

logger = logging.getLogger("hrkd")

CALIBRATION_TEXTS = 300


def export_to(
    student: str | Path,
    output: str | Path,
    to: str,
    *,
    rows: MultiDomainDataset | None = None,
    calibration: MultiDomainDataset | None = None,
    domain: str | None = None,
    vocabulary: int | None = None,
    allowance: float = ALLOWANCE,
    overwrite: bool = False,
    describe: Callable[[Path, ExportRecord], object] = lambda *_: None,
) -> ExportRecord:
    """Write a student in another form, once it is found to say what the student says.

    Args:
        student: folder of an hrkd model.
        output: folder to make.
        to: a target (:data:`hrkd.deploy.export.targets.TARGETS`) other than ``plain``.
        rows: labelled rows with the student's numbers of labels and domains, such as dev; a target that rounds is held
            against its student's accuracy on them.
        calibration: training rows, for targets that need the ranges of activations, and for ``vocabulary``.
        domain: the only one whose head is exported; None: all, and each text names its domain.
        vocabulary: how often a piece must stand in the training rows to be kept; None: all are. Texts of kept pieces
            are answered as before, others may not be: any target is held against accuracy then.
        allowance: points of accuracy that may be lost (:func:`hrkd.deploy.export.check.faults`).
        overwrite: replace an earlier export.
        describe: called with the new folder before it is put in place, to write a card into it.

    Raises:
        ArtifactError: ``student`` is no hrkd model; ``output`` holds something else; no way of making the target
            passes. An earlier export is as it was.
        DataError: unknown ``domain``; rows are needed.
        ModelError: a package is missing, or the student's family cannot be exported.
        RecipeError: there is no such target, or it is ``plain``.
    """
    source = path_of("student", student, "the folder of a student")
    place = path_of("output", output)
    check_switch("overwrite", overwrite)
    target = check_target(to)
    if to == PLAIN:
        raise RecipeError(
            f"--to {to}: several folders, which hrkd.deploy.export.plain.export_plain makes (hrkd.export calls either)"
        )
    check_allowance(allowance)
    if vocabulary is not None:
        vocabulary = check_count("--vocabulary", vocabulary)
    check_place(place, overwrite)
    engine = TorchEngine.open(source, device="cpu")
    _check_tokenizer(engine, source)
    if domain is not None:
        engine.model.domain_id(domain)
    exact = target.exact and vocabulary is None
    if not exact and rows is None:
        raise DataError(f"--to {to}: is held against the student on labelled rows; name a recipe with its data")
    if (target.calibrated or vocabulary is not None) and calibration is None:
        raise DataError(f"--to {to}: needs training texts; name a recipe with the student's data")
    reference = reference_of(engine, rows, domain)
    some = None if calibration is None else drawn(asked_of(calibration, engine.facts.domains), CALIBRATION_TEXTS)
    kept: dict[str, Any] = {}
    if vocabulary is not None and calibration is not None:
        engine, kept = trimmed(engine, calibration, vocabulary)
    job = Job(engine.model, engine.tokenizer, domain, some)
    tries: list[str] = []
    with replace_folder(place) as new:
        engine.tokenizer.save_pretrained(new)
        ways = target.make(job, new)
        for made in ways:
            made.settings.update(kept)
            record = _record(engine, source, to, made, domain)
            checks = _checked(new, record, reference)
            wrong = faults(checks, exact=exact, allowance=allowance)
            way = in_words(made.settings)
            passes = f"passes: {losses(checks)}" if losses(checks) else "passes"
            logger.info("%s, %s: %s", to, way, "; ".join(wrong) or passes)
            if not wrong:
                ways.close()  # nothing that was in between is left when the folder is described
                checks |= {"allowance": None if exact else allowance, "tried": [*tries, way]}
                record = replace(record, checks=checks)
                write_json(new / EXPORT, record.to_dict())
                describe(new, record)
                return record
            tries.append(f"{way}: {'; '.join(wrong)}")
        raise ArtifactError(
            f"{place}: nothing was written: no way of making {to} says what the student says.\n"
            + "\n".join(tries)
            + "\n"
            + _advice(exact, to, vocabulary)
        )


def _check_tokenizer(engine: TorchEngine, source: Path) -> None:
    if not engine.tokenizer.is_fast:
        raise ModelError(
            f"{source}: its tokenizer ({type(engine.tokenizer).__name__}) has no fast form (tokenizer.json), which is "
            "what an export takes along; export it with --to plain"
        )


def _record(engine: TorchEngine, source: Path, to: str, made: Made, domain: str | None) -> ExportRecord:
    facts: ModelFacts = engine.facts
    if domain is not None:
        facts = replace(facts, domains=[domain], one_head=True, routes=False)
    if is_static(engine.model) and facts.routes:
        logger.warning(
            "the export finds no domains by itself (auto), as its student does: it holds what heads say of each piece, "
            "and no vectors to compare with those of domains"
        )
        facts = replace(facts, routes=False)
    facts = replace(facts, one_head=len(engine.model.heads) == 1 or domain is not None)
    tokenizer = engine.tokenizer
    return ExportRecord(
        target=to,
        model=made.model,
        inputs=list(made.inputs),
        padding=paddings(tokenizer),
        truncation_side=tokenizer.truncation_side,
        facts=facts,
        made_from=made_from(source, engine.model),
        settings=made.settings,
        checks={},
    )


def _checked(folder: Path, record: ExportRecord, reference: Reference) -> dict[str, Any]:
    """What is found when a folder that is not finished yet is run as it will be."""
    write_json(folder / EXPORT, record.to_dict())
    return hold_against(reference, Predictor(ExportEngine(folder)))


def _advice(exact: bool, to: str, vocabulary: int | None) -> str:
    if exact:
        return "This is a fault of hrkd or of what it exports with: hrkd predict and --to plain are not touched by it."
    ways = [
        *([] if vocabulary is None else ["keep all pieces (no --vocabulary)"]),
        *([] if TARGETS[to].exact else ["export it in 32 bits (--to onnx)"]),
        "allow more (--allowance)",
    ]
    told = ", or ".join(ways)
    return f"{told[0].upper()}{told[1:]}."
