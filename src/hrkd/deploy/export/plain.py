"""From one student to plain classifiers, a folder for each head, that need transformers alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, pipeline

from hrkd.data.cutting import KEPT
from hrkd.deploy.export_folder import check_place
from hrkd.errors import ArtifactError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.models.plain import without_bars
from hrkd.models.static import is_static
from hrkd.support.arguments import check_switch, path_of
from hrkd.support.atomic_files import replace_folder
from hrkd.support.domain_index import read_domain_index, write_domain_index
from hrkd.support.folder_names import folder_names
from hrkd.support.manifest import write_manifest
from hrkd.support.stage_files import digest_of_rows

__all__ = ["export_plain", "probe_texts"]

logger = logging.getLogger("hrkd")

ALL_DOMAINS = "all-domains"
"""The folder of a student with one head."""
SAFETENSORS = {"use_safetensors": True}
TOLERANCE = 1e-5
PROBES = 4


def export_plain(
    student_folder: str | Path,
    output_folder: str | Path,
    *,
    overwrite: bool = False,
    describe: Callable[[Path, Mapping[str, str]], object] | None = None,
) -> dict[str, Path]:
    """Write the student as plain ``AutoModelForSequenceClassification`` folders: one for each domain.

    Every folder holds the encoder, the domain's head and the tokenizer, whose ``model_max_length`` is the student's. A
    student with one head for all domains is one folder, ``all-domains``, to which links with the domains' names lead.
    ``domains.json`` beside the folders says which is whose. Each is loaded again, and what transformers' pipeline makes
    of some texts is compared with the student's labels and probabilities before anything appears in ``output_folder``.

    To use one: ``pipeline("text-classification", folder, truncation=True)``. Without ``truncation=True`` transformers
    does not cut long texts.

    Args:
        student_folder: Folder of an hrkd model.
        output_folder: Folder to make.
        overwrite: Replace an earlier export. What others put into its folder stays.
        describe: Writes about it into the folder that it is given, with the names of the domains' folders.

    Returns:
        The folder of every domain.

    Raises:
        ArtifactError: ``student_folder`` is no hrkd model; ``output_folder`` is not empty (and is no export, or
            ``overwrite`` is off), or cannot be written; a written classifier does not give the student's
            probabilities. Then nothing is written, and an earlier export is kept.
    """
    student = path_of("student_folder", student_folder, "the folder of a student")
    output = path_of("output_folder", output_folder)
    check_switch("overwrite", overwrite)
    check_place(output, overwrite, _is_earlier)
    model, tokenizer = open_model(student)
    if is_static(model):
        raise ArtifactError(
            f"{student_folder}: a static student is of no family that transformers alone knows, and has no plain form; "
            "use hrkd predict, or hrkd.Predictor"
        )
    tokenizer.model_max_length = model.config.max_tokens
    if model.config.keep == "tail":
        tokenizer.truncation_side = tokenizer.init_kwargs["truncation_side"] = "left"  # the latter is saved
    elif model.config.keep != "head":
        logger.warning(
            "%s reads %s of texts longer than %s tokens (data.keep); plain classifiers read the beginning alone, and "
            "label such texts less well: measure them (hrkd evaluate), or use hrkd predict",
            student, KEPT[model.config.keep], model.config.max_tokens,
        )  # fmt: skip
    one = len(model.heads) == 1
    names = dict.fromkeys(model.domains, ALL_DOMAINS) if one else folder_names(model.domains)
    whose = {ALL_DOMAINS: model.domains[0]} if one else {name: domain for domain, name in names.items()}
    texts = probe_texts(tokenizer, model.config.max_tokens)
    with replace_folder(output) as new, without_bars():
        for name, domain in whose.items():
            model.to_plain(domain).save_pretrained(new / name)
            tokenizer.save_pretrained(new / name)
            _compare(model, tokenizer, domain, new / name, texts)
            write_manifest(new / name)
        if one:
            _link(new, folder_names(model.domains).values())
        write_domain_index(new, names, "plain", data=digest_of_rows(student))
        if describe is not None:
            describe(new, names)
    if one and len(names) > 1:
        logger.info("one classifier for all domains: the student has one head, %s", output / ALL_DOMAINS)
    return {domain: output / name for domain, name in names.items()}


def _link(folder: Path, names: Iterable[str]) -> None:
    """Let the names of domains lead to the one classifier; where there are no links, domains.json alone says so."""
    for name in names:
        if name.casefold() != ALL_DOMAINS:
            with suppress(OSError, NotImplementedError):
                (folder / name).symlink_to(ALL_DOMAINS, target_is_directory=True)


def _is_earlier(output: Path) -> bool:
    index = read_domain_index(output)
    return index is not None and index.holds == "plain"


def probe_texts(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[str]:
    """Random texts of the tokenizer's vocabulary, the shortest of one token, the longest beyond ``max_tokens``."""
    special = set(tokenizer.all_special_ids)
    ids = torch.tensor(sorted(i for i in tokenizer.get_vocab().values() if i not in special))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(1, max_tokens + 8, PROBES).long().tolist()
    drawn = [ids[torch.randint(len(ids), (length,), generator=generator)] for length in lengths]
    return [tokenizer.decode(part) or "?" for part in drawn]


@torch.inference_mode()
def _compare(
    model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase, domain: str, folder: Path, texts: list[str]
) -> None:
    """Hold what was written to ``folder`` against the student, as people will use it: through a pipeline.

    Raises:
        ArtifactError: the tokenizers, the logits, or the pipeline's labels or probabilities differ.
    """
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


def _check_close(folder: Path, what: str, ours: Tensor, theirs: Tensor) -> None:
    difference = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
    if not difference <= TOLERANCE:
        raise ArtifactError(
            f"{folder.name}: the exported classifier's {what} differ from the student's by {difference:.2g} "
            f"(at most {TOLERANCE:g} expected); nothing was written"
        )
