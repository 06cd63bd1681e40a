"""From a student to one of its other forms: made beside the target folder, checked, and then put in place."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.checks import Asked
from hrkd.deploy.engines.engine import paddings
from hrkd.deploy.engines.exported import ExportEngine
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.check import Reference, asked_of, faults, hold_against, losses
from hrkd.deploy.export.plain import probe_texts
from hrkd.deploy.export.targets import ALLOWANCE, TARGETS, Job, Made, check_target, in_words
from hrkd.deploy.export.trimming import trimmed
from hrkd.deploy.export_folder import EXPORT, ExportRecord, check_place, is_export
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError, ModelError
from hrkd.models.kind import UNKNOWN
from hrkd.models.open_model import ModelFacts
from hrkd.models.static import is_static
from hrkd.support.arguments import check_count, check_switch, path_of
from hrkd.support.atomic_files import replace_folder, write_json
from hrkd.support.manifest import MANIFEST, file_sum
from hrkd.support.stage_files import digest_of_rows, versions

__all__ = ["export_to"]

logger = logging.getLogger("hrkd")

CALIBRATION_TEXTS = 300
ROUTED_TEXTS = 128
VERSIONS = ("hrkd", "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf")


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
    """
    source = path_of("student", student, "the folder of a student")
    place = path_of("output", output)
    check_switch("overwrite", overwrite)
    target = check_target(to)
    if isinstance(allowance, bool) or not isinstance(allowance, int | float) or not 0 <= allowance < float("inf"):
        raise DataError(f"--allowance: expected points from 0, got {allowance!r}")
    if vocabulary is not None:
        vocabulary = check_count("--vocabulary", vocabulary)
    check_place(place, overwrite, is_export)
    engine = TorchEngine.open(source, device="cpu")
    _check_tokenizer(engine, source)
    if domain is not None:
        engine.model.domain_id(domain)
    exact = target.exact and vocabulary is None
    if not exact and rows is None:
        raise DataError(f"--to {to}: is held against the student on labelled rows; name a recipe with its data")
    if (target.calibrated or vocabulary is not None) and calibration is None:
        raise DataError(f"--to {to}: needs training texts; name a recipe with the student's data")
    reference = _reference(engine, rows, domain)
    drawn = None if calibration is None else _drawn(asked_of(calibration, engine.facts.domains), CALIBRATION_TEXTS)
    kept: dict[str, Any] = {}
    if vocabulary is not None and calibration is not None:
        engine, kept = trimmed(engine, calibration, vocabulary)
    job = Job(engine.model, engine.tokenizer, domain, drawn)
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


def _reference(engine: TorchEngine, rows: MultiDomainDataset | None, domain: str | None) -> Reference:
    """Texts and the student's logits: of labelled rows, or else of random words of its vocabulary."""
    facts, labels = engine.facts, None
    if rows is not None:
        if list(rows.labels) != facts.labels:
            raise DataError(
                f"rows: expected the labels {tuple(facts.labels)} in this order, as the student's; got {rows.labels}"
            )
        asked, labels = asked_of(rows, facts.domains), rows.label_ids
        if domain is not None:
            own = np.flatnonzero(np.asarray(asked.domains) == facts.domains.index(domain))
            asked, labels = asked.take(own.tolist()), labels[own]
            if not asked.texts:
                raise DataError(f"--domain {domain}: the data has no rows of it to check the export with")
        elif missing := [name for i, name in enumerate(facts.domains) if i not in set(asked.domains)]:
            raise DataError(
                f"rows: none of {', '.join(missing)}, so that their heads cannot be checked; name data of all domains, "
                "or export one (--domain)"
            )
    else:
        texts = probe_texts(engine.tokenizer, facts.max_tokens)
        numbers = range(len(facts.domains)) if domain is None else [facts.domains.index(domain)]
        every = [(text, number) for number in numbers for text in texts]
        pairs = [text for text, _ in reversed(every)] if facts.pairs else None
        asked = Asked([text for text, _ in every], pairs, [number for _, number in every])
    logits, owners = Predictor(engine).logits(asked)
    if domain is not None:  # the export knows that domain alone
        asked = replace(asked, domains=[0] * len(asked.texts))
        return Reference(asked, logits, owners, labels, (domain,))
    reference = Reference(asked, logits, owners, labels, tuple(facts.domains))
    if not facts.routes or is_static(engine.model):
        return reference
    some = _drawn(asked, ROUTED_TEXTS)
    some = replace(some, domains=[UNKNOWN] * len(some.texts))
    return replace(reference, routed=Reference(some, *Predictor(engine).logits(some), None, ()))


def _drawn(asked: Asked, most: int) -> Asked:
    """Some of the texts, in a fixed random order."""
    return asked.take(np.random.default_rng(0).permutation(len(asked.texts))[:most].tolist())


def _record(engine: TorchEngine, source: Path, to: str, made: Made, domain: str | None) -> ExportRecord:
    facts: ModelFacts = engine.facts
    if domain is not None:
        facts = replace(facts, domains=[domain], one_head=True, routes=False)
    if is_static(engine.model):
        facts = replace(facts, routes=False)
    facts = replace(facts, one_head=len(engine.model.heads) == 1 or domain is not None)
    tokenizer, listed = engine.tokenizer, source / MANIFEST
    known = {name: found for name, found in versions(VERSIONS).items() if found is not None}
    return ExportRecord(
        target=to,
        model=made.model,
        inputs=list(made.inputs),
        padding=paddings(tokenizer),
        truncation_side=tokenizer.truncation_side,
        facts=facts,
        made_from={
            "student": source.name,
            "manifest": file_sum(listed) if listed.is_file() else None,
            "data": digest_of_rows(source),
            "versions": {"python": sys.version.split()[0], **known},
        },
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
