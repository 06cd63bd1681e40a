"""From one student to plain classifiers, one folder per domain, that need transformers alone."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from hrkd.errors import ArtifactError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.models.plain import without_bars
from hrkd.support.atomic_files import replace_folder
from hrkd.support.domain_index import read_domain_index, write_domain_index
from hrkd.support.folder_names import folder_names
from hrkd.support.manifest import write_manifest

__all__ = ["export_plain"]

TOLERANCE = 1e-5
PROBES = 4


def export_plain(student_folder: str | Path, output_folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
    """Write the student as one plain ``AutoModelForSequenceClassification`` folder for each domain.

    Every folder holds the encoder, the domain's head (the shared one, where the student has one for all domains; the
    folders are then alike) and the tokenizer, whose ``model_max_length`` is the student's. ``domains.json`` beside
    them says which folder is whose. Each folder is loaded again and compared with the student before anything appears
    in ``output_folder``.

    To use one: ``pipeline("text-classification", folder, truncation=True)``. Without ``truncation=True`` transformers
    does not cut long texts.

    Args:
        student_folder: Folder of an hrkd model.
        output_folder: Folder to make.
        overwrite: Replace an earlier export. What others put into its folder stays.

    Returns:
        The folder of every domain.

    Raises:
        ArtifactError: ``student_folder`` is no hrkd model; ``output_folder`` is not empty (and is no export, or
            ``overwrite`` is off); a written classifier does not give the student's logits.
    """
    output = Path(output_folder).expanduser()
    _check_output(output, overwrite)
    model, tokenizer = open_model(student_folder)
    tokenizer.model_max_length = model.config.max_tokens
    names = folder_names(model.domains)
    texts = _probe_texts(tokenizer, model.config.max_tokens)
    with replace_folder(output) as new, without_bars():
        for domain, name in names.items():
            model.to_plain(domain).save_pretrained(new / name)
            tokenizer.save_pretrained(new / name)
            _compare(model, tokenizer, domain, new / name, texts)
            write_manifest(new / name)
        write_domain_index(new, names, "plain")
    return {domain: output / name for domain, name in names.items()}


def _check_output(output: Path, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ArtifactError(f"{output}: is a file; name a folder to export to")
    if not output.is_dir() or not any(output.iterdir()):
        return
    index = read_domain_index(output)
    if index is None or index.holds != "plain":
        raise ArtifactError(f"{output}: not empty and no earlier export; choose another folder, or empty it first")
    if not overwrite:
        raise ArtifactError(
            f"{output}: holds an earlier export; replace it with overwrite (--overwrite), or choose another folder"
        )


def _probe_texts(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[str]:
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
    """Check what was written to ``folder`` against the student on a probe batch.

    Raises:
        ArtifactError: the tokenizers or the logits differ.
    """
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=model.config.max_tokens, return_tensors="pt")
    ours = model(**inputs, domain_ids=torch.full((len(texts),), model.domain_id(domain))).logits
    again = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")
    if again.keys() != inputs.keys() or not all(torch.equal(inputs[name], again[name]) for name in inputs):
        raise ArtifactError(f"{folder.name}: the exported tokenizer gives other token ids than the student's")
    theirs = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True).eval()(**again).logits
    alike = ours.shape == theirs.shape
    difference = float((ours.float() - theirs.float()).abs().max()) if alike else float("inf")
    if not difference <= TOLERANCE:
        raise ArtifactError(
            f"{folder.name}: the exported classifier's logits differ from the student's by {difference:.2g} "
            f"(at most {TOLERANCE:g} expected); nothing was written"
        )
