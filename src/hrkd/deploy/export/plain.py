"""From one student to plain classifiers, a folder for each head, that need transformers alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, pipeline

from hrkd.data.cutting import KEPT, Ints
from hrkd.data.reading import encode
from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.engines.engine import Columns, Floats
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.export.check import compared, faults
from hrkd.deploy.export.reference import Reference, made_from, probe_texts, reference_of
from hrkd.deploy.export.targets import ALLOWANCE, PLAIN, check_allowance
from hrkd.deploy.export_folder import CHECKS, HEAD, check_place
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError
from hrkd.models.open_model import ModelFacts
from hrkd.models.plain import without_bars
from hrkd.models.static import is_static
from hrkd.support.arguments import check_switch, path_of
from hrkd.support.atomic_files import replace_folder, write_json
from hrkd.support.domain_index import write_domain_index
from hrkd.support.folder_names import folder_names
from hrkd.support.manifest import file_sum, write_manifest

__all__ = ["export_plain"]

logger = logging.getLogger("hrkd")

ALL_DOMAINS = "all-domains"
"""The folder of a student with one head."""
SAFETENSORS = {"use_safetensors": True}
TOLERANCE = 1e-5


def export_plain(
    student_folder: str | Path,
    output_folder: str | Path,
    *,
    rows: MultiDomainDataset | None = None,
    allowance: float = ALLOWANCE,
    overwrite: bool = False,
    describe: Callable[[Path, Mapping[str, str], Mapping[str, Any]], object] | None = None,
) -> dict[str, Path]:
    """Write the student as plain ``AutoModelForSequenceClassification`` folders: one for each domain.

    Every folder holds the encoder, the domain's head and the tokenizer, whose ``model_max_length`` is the student's. A
    student with one head for all domains is one folder, ``all-domains``, to which links with the domains' names lead.
    ``domains.json`` beside the folders says which is whose. Each is loaded again, and what transformers' pipeline makes
    of some texts is compared with the student's labels and probabilities before anything appears in ``output_folder``.
    With ``rows``, their answers are held against the student's too, as it reads long texts itself; ``checks.json`` says
    what was found.

    To use one: ``pipeline("text-classification", folder, truncation=True)``. Without ``truncation=True`` transformers
    does not cut long texts.

    Args:
        student_folder: Folder of an hrkd model.
        output_folder: Folder to make.
        rows: Labelled rows with the student's numbers of labels and domains, such as dev.
        allowance: Points of accuracy on them that may be lost where plain classifiers read less of long texts than the
            student (``data.keep: head_tail`` or ``windows``); else nothing may differ but the last digits.
        overwrite: Replace an earlier export. What others put into its folder stays.
        describe: Writes about it into the folder that it is given, with the names of the domains' folders, and what
            ``checks.json`` says.

    Returns:
        The folder of every domain.

    Raises:
        ArtifactError: ``student_folder`` is no hrkd model; ``output_folder`` is not empty (and is no export, or
            ``overwrite`` is off), or cannot be written; a written classifier does not give the student's
            probabilities, or loses more than ``allowance``. Then nothing is written, and an earlier export is kept.
        DataError: ``allowance`` is no number of points; the rows are of other labels or domains than the student.
    """
    student = path_of("student_folder", student_folder, "the folder of a student")
    output = path_of("output_folder", output_folder)
    check_switch("overwrite", overwrite)
    check_allowance(allowance)
    check_place(output, overwrite)
    engine = TorchEngine.open(student, device="cpu")
    model, tokenizer = engine.model, engine.tokenizer
    if is_static(model):
        raise ArtifactError(
            f"{student_folder}: a static student is of no family that transformers alone knows, and has no plain form; "
            "export it --to onnx or openvino, or use hrkd predict"
        )
    reference = replace(reference_of(engine, rows), routed=None)  # plain classifiers find no domain by themselves
    facts, exact = engine.facts, model.config.keep in ("head", "tail")
    tokenizer.model_max_length = model.config.max_tokens
    if model.config.keep == "tail":
        tokenizer.truncation_side = tokenizer.init_kwargs["truncation_side"] = "left"  # the latter is saved
    elif not exact and rows is None:
        logger.warning(
            "%s reads %s of texts longer than %s tokens (data.keep); plain classifiers read the beginning alone, and "
            "what that costs is not known without labelled rows: name a recipe with its data, or use hrkd predict",
            student, KEPT[model.config.keep], model.config.max_tokens,
        )  # fmt: skip
    one = len(model.heads) == 1
    names = dict.fromkeys(model.domains, ALL_DOMAINS) if one else folder_names(model.domains)
    whose = {ALL_DOMAINS: model.domains[0]} if one else {name: domain for domain, name in names.items()}
    texts = probe_texts(tokenizer, model.config.max_tokens)
    logits = np.zeros_like(reference.logits[: len(reference.asked.texts)])
    with replace_folder(output) as new, without_bars():
        for name, domain in whose.items():
            model.to_plain(domain).save_pretrained(new / name)
            tokenizer.save_pretrained(new / name)
            plain = _compare(engine, domain, new / name, texts)
            _fill(logits, reference, Predictor(plain), None if one else model.domain_id(domain))
            write_manifest(new / name)
        record = _record(engine, student, compared(reference, logits, np.arange(len(logits))), exact, allowance)
        _check(record["checks"], facts, exact, allowance, output)
        write_json(new / CHECKS, record)
        if one:
            _link(new, folder_names(model.domains).values())
        write_domain_index(new, names, "plain", data=record["made_from"]["data"])
        if describe is not None:
            describe(new, names, record)
    if one and len(names) > 1:
        logger.info("one classifier for all domains: the student has one head, %s", output / ALL_DOMAINS)
    return {domain: output / name for domain, name in names.items()}


def _link(folder: Path, names: Iterable[str]) -> None:
    """Let the names of domains lead to the one classifier; where there are no links, domains.json alone says so."""
    for name in names:
        if name.casefold() != ALL_DOMAINS:
            with suppress(OSError, NotImplementedError):
                (folder / name).symlink_to(ALL_DOMAINS, target_is_directory=True)


@dataclass(frozen=True)
class _PlainEngine:
    """One plain classifier with its tokenizer, as :class:`hrkd.deploy.engines.engine.Engine` describes it."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    facts: ModelFacts
    folder: Path
    batch_tokens: None = None

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Columns, Ints]:
        """As transformers cuts long texts."""
        return encode(self.tokenizer, texts, pairs, self.tokenizer.model_max_length, "head")

    @torch.inference_mode()
    def logits(self, rows: Columns, domain_ids: Ints) -> tuple[Floats, None]:  # noqa: ARG002  # it has one head
        """Logits (B, C)."""
        return self.model(**self.tokenizer.pad(dict(rows), return_tensors="pt")).logits.float().numpy(), None

    def digest(self) -> str:
        """A hash of its files."""
        return file_sum(self.folder / "model.safetensors")


def _fill(logits: np.ndarray, reference: Reference, plain: Predictor, number: int | None) -> None:
    """Put what a classifier says of the texts of its domain (None: of all) into ``logits`` (texts, C)."""
    domains = np.asarray(reference.asked.domains)
    own = np.flatnonzero(np.full(len(domains), number is None) | (domains == number))
    logits[own] = plain.logits(reference.asked.take(own.tolist()))[0]


def _record(
    engine: TorchEngine, student: Path, checks: dict[str, Any], exact: bool, allowance: float
) -> dict[str, Any]:
    settings = {"keep": engine.facts.keep if exact else "head", "keep_of_student": engine.facts.keep}
    checks |= {"allowance": None if exact else allowance, "tried": []}
    source = made_from(student, engine.model)
    return {**HEAD, "target": PLAIN, "made_from": source, "settings": settings, "checks": checks}


def _check(checks: Mapping[str, Any], facts: ModelFacts, exact: bool, allowance: float, output: Path) -> None:
    """Raise where the classifiers say something else, or lose too much."""
    if not (wrong := faults(checks, exact=exact, allowance=allowance)):
        return
    if exact:
        raise ArtifactError(f"{output}: nothing was written: the exported classifiers' {'; '.join(wrong)}")
    raise ArtifactError(
        f"{output}: nothing was written: {'; '.join(wrong)}. The student reads {KEPT[facts.keep]} of texts longer than "
        f"{facts.max_tokens} tokens, plain classifiers the beginning alone. Export it in a form that reads as it does "
        "(--to onnx), use hrkd predict, or allow more (--allowance)"
    )


@torch.inference_mode()
def _compare(engine: TorchEngine, domain: str, folder: Path, texts: list[str]) -> _PlainEngine:
    """Hold what was written to ``folder`` against the student, as people will use it: through a pipeline; open it.

    Raises:
        ArtifactError: the tokenizers, the logits, or the pipeline's labels or probabilities differ.
    """
    model, tokenizer = engine.model, engine.tokenizer
    has_pairs = (model.config.columns or {}).get("text_pair") is not None
    pairs = texts[::-1] if has_pairs else None
    form = {"padding": True, "truncation": True, "return_tensors": "pt"}
    inputs = tokenizer(texts, pairs, max_length=model.config.max_tokens, **form)
    ours = model(**inputs, domain_ids=torch.full((len(texts),), model.domain_id(domain))).logits.float()
    classify = pipeline(
        "text-classification", model=str(folder), device="cpu", trust_remote_code=False, model_kwargs=SAFETENSORS
    )
    again = classify.tokenizer(texts, pairs, **form)
    if again.keys() != inputs.keys() or not all(torch.equal(inputs[name], again[name]) for name in inputs):
        raise ArtifactError(f"{folder.name}: the exported tokenizer gives other token ids than the student's")
    theirs = classify.model(**again).logits
    _check_close(folder, "logits", ours, theirs.float())
    asked = texts if pairs is None else [{"text": a, "text_pair": b} for a, b in zip(texts, pairs, strict=True)]
    answers = [
        {each["label"]: each["score"] for each in found} for found in classify(asked, truncation=True, top_k=None)
    ]
    if any(set(found) != set(model.labels) for found in answers):
        raise ArtifactError(
            f"{folder.name}: the exported classifier has other labels than the student; nothing was written"
        )
    probabilities = torch.tensor([[found[label] for label in model.labels] for found in answers])
    _check_close(folder, "probabilities", ours.softmax(dim=-1), probabilities)
    return _PlainEngine(classify.model, classify.tokenizer, engine.facts, folder)


def _check_close(folder: Path, what: str, ours: Tensor, theirs: Tensor) -> None:
    difference = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
    if not difference <= TOLERANCE:
        raise ArtifactError(
            f"{folder.name}: the exported classifier's {what} differ from the student's by {difference:.2g} "
            f"(at most {TOLERANCE:g} expected); nothing was written"
        )
