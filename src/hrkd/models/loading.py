"""Opening teachers that are fine-tuned already, with every disagreement with the data named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from hrkd.errors import ModelError
from hrkd.models.domain_teachers import AnyTeacher, Combine, DomainTeachers, combined
from hrkd.models.families import longest_input
from hrkd.models.folder import fetch, look_into, read_fields
from hrkd.models.kind import is_own
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.open_model import open_model, own_config
from hrkd.models.plain import load_plain_classifier, plain_config
from hrkd.models.probe import check_outputs
from hrkd.models.tokenizers import check_fits, check_same_tokenizer
from hrkd.models.trial import try_encoder
from hrkd.recipe.rules import ONE_CLASSIFIER
from hrkd.support.arguments import shown
from hrkd.support.domain_index import domain_folders
from hrkd.support.messages import count_of

__all__ = ["check_answers", "folders_of", "load_fine_tuned", "read_config"]


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
        spec: a folder (or hub name) of a model that hrkd wrote, or of a plain sequence classifier, which then serves
            all domains with its one head; a folder of hrkd that holds a model per domain (single-domain teachers, an
            export); or a folder for each domain.
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
    folders = folders_of(spec, domains)
    if isinstance(folders, str):
        if combine == "average":
            raise ModelError(f"{folders}: teacher.combine: average: {ONE_CLASSIFIER}")
        single: MultiDomainClassifier = _load(folders, domains, labels, max_tokens, teacher_labels).eval()
        return single
    first = folders[domains[0]]
    for domain in domains[1:]:
        check_same_tokenizer(first, folders[domain])
    models = {domain: _load(place, (domain,), labels, max_tokens, teacher_labels) for domain, place in folders.items()}
    return combined(models, combine).eval()


def check_answers(
    teacher: AnyTeacher, tokenizer: PreTrainedTokenizerBase, places: Sequence[str], *, longest: int, pairs: bool
) -> None:
    """Whether each classifier of a teacher, on the processor, answers to what its tokenizer makes of a few texts.

    Args:
        teacher: as :func:`load_fine_tuned` gives it.
        tokenizer: its own.
        places: what messages call each of its classifiers.
        longest: also ask about a text of so many tokens.
        pairs: ask about pairs of texts.

    Raises:
        ModelError: tokenizer and encoder do not fit, a pass fails, or outputs are NaN or infinite.
    """
    models = teacher.classifiers if isinstance(teacher, DomainTeachers) else (teacher,)
    for model, place in zip(models, places, strict=True):
        check_fits(tokenizer, model.encoder.config, pairs=pairs, where=place)
        check_outputs(model, tokenizer, where=place, longest=longest, pairs=pairs)


def folders_of(spec: str | Mapping[str, str], domains: Sequence[str]) -> str | dict[str, str]:
    """Where the one model for all ``domains`` is, or that of each domain, in their order.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: there is a model for each domain, and they are not those of the data.
    """
    if isinstance(spec, str):
        folders = domain_folders(spec)
        if folders is None:
            return spec
        _check_known(spec, domains, list(folders))
        if len(folders) > len(set(folders.values())) == 1:  # an export of one head
            return folders[domains[0]]
        return {domain: folders[domain] for domain in domains}
    if not isinstance(spec, Mapping):
        raise ModelError(f"teacher.fine_tuned: expected a folder, or one for each domain, got {shown(spec)}")
    missing, unknown = [d for d in domains if d not in spec], [d for d in spec if d not in domains]
    if missing or unknown:
        problems = [("no folder for", missing), ("not in the data:", unknown)]
        found = "; ".join(f"{problem} {', '.join(names)}" for problem, names in problems if names)
        raise ModelError(f"teacher.fine_tuned: one folder per domain of the data is needed: {found}")
    return {domain: spec[domain] for domain in domains}


def read_config(source: str, labels: Sequence[str] | None = None) -> tuple[PreTrainedConfig, HeadMode]:
    """The encoder's configuration, and whether it has one head for all domains, of a model of hrkd or a plain one.

    Args:
        source: a folder or hub name. Its files are looked at, and no weight is read.
        labels: names for the outputs of an encoder that is to be trained, which must be a plain one; None: a
            fine-tuned classifier, with its own.

    Raises:
        ArtifactError: a folder of hrkd is damaged.
        ModelError: there is none that can be opened.
    """
    path = fetch(source)
    if labels is None and is_own(read_fields(path, source)):
        config = own_config(path)
        return config.plain_config(), config.heads
    return plain_config(look_into(source), source, labels), "shared"


def _load(
    source: str, domains: Sequence[str], labels: Sequence[str], max_tokens: int, teacher_labels: Sequence[str] | None
) -> MultiDomainClassifier:
    path = fetch(source)
    if is_own(read_fields(path, source)):
        return _load_multi_domain(path, source, domains, labels, max_tokens, teacher_labels)
    plain = load_plain_classifier(source, labels, fine_tuned=True)
    try_encoder(plain.config, "none", where=source)
    outputs = [plain.config.id2label[i] for i in range(plain.config.num_labels)]
    order = _output_order(source, outputs, labels, teacher_labels)
    model = MultiDomainClassifier.from_plain(
        plain, domains=domains, labels=labels, heads="shared", max_tokens=max_tokens
    )
    _reorder_outputs(model, order)
    return model


def _load_multi_domain(
    folder: Path,
    source: str,
    domains: Sequence[str],
    labels: Sequence[str],
    max_tokens: int,
    teacher_labels: Sequence[str] | None,
) -> MultiDomainClassifier:
    model, _ = open_model(folder)
    _check_known(source, domains, model.domains)
    longest = longest_input(model.encoder)
    if longest is not None and max_tokens > longest:
        raise ModelError(f"data.max_length: {max_tokens} tokens are asked for, {source} takes {longest} at most")
    order = _output_order(source, model.labels, labels, teacher_labels)
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


def _output_order(
    source: str, outputs: Sequence[str], labels: Sequence[str], teacher_labels: Sequence[str] | None
) -> list[int]:
    """The classifier's output of each label of the data; ``teacher_labels`` are other names of its outputs."""
    names = list(teacher_labels or outputs)
    if len(names) == len(outputs) == len(labels) and set(names) == set(labels):
        return [names.index(label) for label in labels]
    own = f"its {count_of(len(outputs), 'output is', 'outputs are')} called {', '.join(outputs)}"
    data = f"the labels of the data are {', '.join(labels)}"
    if len(outputs) != len(labels):
        advice = f"a teacher must have one output for each of the {len(labels)} labels; choose another"
        raise ModelError(f"{source}: {own}; {data}; {advice}")
    if teacher_labels is None:
        raise ModelError(
            f"{source}: {own}; {data}. If they mean the same, give teacher.labels: the labels of the data in the order "
            "of the classifier's outputs"
        )
    raise ModelError(
        f"{source}: teacher.labels gives {count_of(len(names), 'name', 'names')}: {', '.join(names)}; {own}; {data}. "
        "Give each label of the data once, in the order of the classifier's outputs"
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
