"""Opening models and tokenizers that are there already, with every disagreement named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from hrkd.errors import ArtifactError, ModelError
from hrkd.models.domain_teachers import AnyTeacher, Combine, combined
from hrkd.models.kind import locate
from hrkd.models.multi_domain import MultiDomainClassifier, MultiDomainConfig
from hrkd.models.plain import load_plain_classifier, longest_input
from hrkd.recipe.rules import ONE_CLASSIFIER
from hrkd.support.atomic_files import read_json, write_json
from hrkd.support.messages import first_line

__all__ = [
    "FORMAT",
    "INDEX",
    "PROBES",
    "VOCABULARY_FILES",
    "check_same_tokenizer",
    "domain_folders",
    "load_fine_tuned",
    "load_tokenizer",
    "write_domain_folders",
]

INDEX = "domains.json"


FORMAT = {"format": "hrkd-teachers", "version": 1}


VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model")


PROBES = ("A small test, isn't it?", "PRICE in 2021: 12.50 (10% off)!", "cafe\u0301 na\u00efve \u2013 \u201cso\u201d")


def write_domain_folders(folder: Path, names: Mapping[str, str]) -> None:
    """Make ``folder`` that of single-domain teachers; ``names`` says which folder in it is whose (domain: name)."""
    write_json(folder / INDEX, FORMAT | {"domains": dict(names)})


def domain_folders(source: str | Path) -> dict[str, str] | None:
    """The folder of each domain's classifier below a folder of single-domain teachers; None for any other source.

    Raises:
        ArtifactError: a folder of single-domain teachers is damaged.
    """
    folder = Path(source).expanduser()
    if not (folder / INDEX).is_file():
        return None
    index = read_json(folder / INDEX, what="the list of single-domain teachers")
    if not isinstance(index, dict) or index.get("format") != FORMAT["format"]:
        return None
    folders = {domain: folder / name for domain, name in index["domains"].items()}
    if missing := [str(each) for each in folders.values() if not each.is_dir()]:
        raise ArtifactError(f"{folder / INDEX}: there is no {', '.join(missing)}; restore the folder or make it anew")
    return {domain: str(each) for domain, each in folders.items()}


def load_fine_tuned(
    spec: str | Mapping[str, str],
    *,
    domains: Sequence[str],
    labels: Sequence[str],
    max_tokens: int,
    teacher_labels: Sequence[str] | None = None,
    combine: Combine = "route",
) -> AnyTeacher:
    """A teacher that is fine-tuned already, brought to the data's order of domains and labels, in evaluation mode.

    Args:
        spec: a folder that hrkd wrote (of one model, or of single-domain teachers); a folder (or hub name) of a plain
            sequence classifier, which then serves all domains with its one head; or a folder of one model per domain.
        domains: those of the data.
        labels: those of the data; they are matched by name, and outputs are put in their order.
        max_tokens: longest input, in tokens.
        teacher_labels: the data's label names in the order of the classifier's outputs, for a classifier that
            calls them otherwise.
        combine: who answers where there is a classifier per domain.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: not a fine-tuned classifier, domains, labels, sizes or tokenizers that do not agree, or an average
            of a single classifier.
    """
    if isinstance(spec, str):
        folders = domain_folders(spec)
        if folders is None:
            if combine == "average":
                raise ModelError(f"{spec}: teacher.combine: average: {ONE_CLASSIFIER}")
            single: MultiDomainClassifier = _load(spec, domains, labels, max_tokens, teacher_labels).eval()
            return single
        _check_known(spec, domains, list(folders))
        spec = {domain: folders[domain] for domain in domains}
    missing, unknown = [d for d in domains if d not in spec], [d for d in spec if d not in domains]
    if missing or unknown:
        problems = [("no folder for", missing), ("not in the data:", unknown)]
        found = "; ".join(f"{problem} {', '.join(names)}" for problem, names in problems if names)
        raise ModelError(f"teacher.fine_tuned: one folder per domain of the data is needed: {found}")
    first = spec[domains[0]]
    for domain in domains[1:]:
        check_same_tokenizer(first, spec[domain])
    models = {domain: _load(spec[domain], (domain,), labels, max_tokens, teacher_labels) for domain in domains}
    return combined(models, combine).eval()


def check_same_tokenizer(teacher: str | PreTrainedTokenizerBase, student: str | PreTrainedTokenizerBase) -> None:
    """Make sure that two tokenizers give the same ids, so that hidden states can be compared token by token.

    Args:
        teacher: a tokenizer, or where it is.
        student: another one.

    Raises:
        ModelError: another vocabulary, or other ids for some test sentences.
    """
    ours, theirs = (load_tokenizer(side) if isinstance(side, str) else side for side in (teacher, student))
    names = [side if isinstance(side, str) else side.name_or_path or "the teacher" for side in (teacher, student)]
    different = sorted(set(ours.get_vocab().items()) ^ set(theirs.get_vocab().items()))
    text = next((probe for probe in PROBES if ours(probe)["input_ids"] != theirs(probe)["input_ids"]), None)
    if not different and text is None:
        return
    if different:
        tokens = sorted({token for token, _ in different})
        what = f"{len(tokens):,} tokens have another id or stand in one vocabulary only ({', '.join(tokens[:3])} ...)"
    else:
        what = f"they split {text!r} differently"
    raise ModelError(
        f"{names[0]} and {names[1]} do not use the same tokenizer: {what}. Teacher and student are compared token by "
        "token, so different tokenizers are not supported; choose models with the same one"
    )


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder (hrkd's or any other) or hub name; that of the first of single-domain teachers.

    Raises:
        ArtifactError: a folder of single-domain teachers is damaged.
        ModelError: there is none, or it has no vocabulary.
    """
    if folders := domain_folders(source):
        source = next(iter(folders.values()))
    place = locate(source)
    folder = Path(place)
    if folder.is_dir() and not any((folder / name).is_file() for name in VOCABULARY_FILES):
        raise ModelError(f"{source}: no tokenizer (none of {', '.join(VOCABULARY_FILES)}); save it beside the model")
    try:
        config = _config(place)
        hrkd = config.get("model_type") == MultiDomainConfig.model_type
        extra = {"config": MultiDomainConfig(**config).plain_config()} if hrkd else {}
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **extra)
    except Exception as error:  # tokenizer files fail in many ways, down to bare exceptions of the Rust library
        raise ModelError(f"{source}: no tokenizer that can be loaded: {first_line(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"{source}: the tokenizer has no vocabulary; save the whole tokenizer beside the model")
    return tokenizer


def _load(
    source: str, domains: Sequence[str], labels: Sequence[str], max_tokens: int, teacher_labels: Sequence[str] | None
) -> MultiDomainClassifier:
    place = locate(source)
    try:
        kind = _config(place).get("model_type")
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: no model: {first_line(error)}") from error
    if kind == MultiDomainConfig.model_type:
        return _load_multi_domain(place, domains, labels, max_tokens, teacher_labels)
    plain = load_plain_classifier(source, labels, fine_tuned=True)
    outputs = [plain.config.id2label[i] for i in range(plain.config.num_labels)]
    order = _output_order(source, teacher_labels or outputs, labels, len(outputs))
    model = MultiDomainClassifier.from_plain(
        plain, domains=domains, labels=labels, heads="shared", max_tokens=max_tokens
    )
    _reorder_outputs(model, order)
    return model


def _load_multi_domain(
    source: str, domains: Sequence[str], labels: Sequence[str], max_tokens: int, teacher_labels: Sequence[str] | None
) -> MultiDomainClassifier:
    try:
        model = MultiDomainClassifier.from_pretrained(source)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{source}: the model cannot be loaded: {first_line(error)}") from error
    _check_known(source, domains, model.domains)
    longest = longest_input(model.encoder)
    if longest is not None and max_tokens > longest:
        raise ModelError(f"data.max_length: {max_tokens} tokens are asked for, {source} takes {longest} at most")
    order = _output_order(source, teacher_labels or model.labels, labels, len(model.labels))
    if len(model.heads) > 1:
        model.heads = nn.ModuleList(model.heads[model.domain_id(domain)] for domain in domains)
    if model.domain_head is not None:
        model.domain_head.keep_domains([model.domain_id(domain) for domain in domains])
    model.config.domains, model.config.max_tokens = list(domains), max_tokens
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {name: i for i, name in enumerate(labels)}
    _reorder_outputs(model, order)
    return model


def _check_known(source: str, domains: Sequence[str], known: Sequence[str]) -> None:
    """Whether a teacher serves all domains of the data."""
    if missing := [domain for domain in domains if domain not in known]:
        raise ModelError(
            f"{source}: this teacher does not know the domains {', '.join(missing)} of the data; it knows "
            f"{', '.join(known)} (data.domains selects domains)"
        )


def _output_order(source: str, outputs: Sequence[str], labels: Sequence[str], count: int) -> list[int]:
    """The classifier's output of each label of the data."""
    if len(outputs) == count == len(labels) and set(outputs) == set(labels):
        return [list(outputs).index(label) for label in labels]
    raise ModelError(
        f"{source}: its {count} outputs are called {', '.join(outputs)}; the labels of the data are {', '.join(labels)}"
        ". If they mean the same, give teacher.labels: the labels of the data in the order of the classifier's outputs"
    )


@torch.no_grad()
def _reorder_outputs(model: MultiDomainClassifier, order: list[int]) -> None:
    if order == sorted(order):
        return
    model.eval()
    ids = torch.ones(len(model.heads), 2, dtype=torch.long)
    probe = {"input_ids": ids, "attention_mask": ids, "domain_ids": torch.arange(len(ids))}
    before = model(**probe).logits
    for head in model.heads:
        linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
        for parameter in [layer for layer in linear if layer.out_features == len(order)][-1].parameters():
            parameter.copy_(parameter[order].clone())
    if not torch.allclose(model(**probe).logits, before[:, order], atol=1e-5):
        kind = model.encoder.config.model_type
        raise ModelError(f"the outputs of the {kind} family cannot be put into another order; use the teacher's order")


def _config(place: str) -> dict[str, Any]:
    """The content of config.json, {} if there is none."""
    fields: dict[str, Any] = PreTrainedConfig.get_config_dict(place)[0]
    return fields
