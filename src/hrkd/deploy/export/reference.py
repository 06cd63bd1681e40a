"""What an export is held against: its student, texts, and what the student says of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.checks import Asked
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.predict import Predictor
from hrkd.errors import DataError
from hrkd.models.kind import UNKNOWN
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.sizes import model_sizes
from hrkd.models.static import is_static
from hrkd.support.manifest import MANIFEST, file_sum
from hrkd.support.messages import misspelt
from hrkd.support.stage_files import digest_of_rows, versions

__all__ = ["Reference", "asked_of", "drawn", "made_from", "probe_texts", "reference_of"]

VERSIONS = ("hrkd", "torch", "transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "nncf")
ROUTED_TEXTS = 128
PROBES = 4


@dataclass(frozen=True)
class Reference:
    """Texts that an export is held against, and what its student says of them.

    Args:
        asked: texts and domains.
        logits: of the student, (rows, C).
        owners: the text of each row, (rows,).
        labels: right ones, (texts,); None: not known.
        domains: names.
        routed: some of the texts without a domain, where the student finds it by itself.
    """

    asked: Asked
    logits: np.ndarray
    owners: np.ndarray
    labels: np.ndarray | None
    domains: tuple[str, ...]
    routed: Reference | None = None


def asked_of(rows: MultiDomainDataset, domains: Sequence[str]) -> Asked:
    """The texts of rows, with the numbers that the model gives its ``domains``.

    Raises:
        DataError: rows are of a domain that is not among these.
    """
    if unknown := [name for name in rows.domains if name not in domains]:
        raise DataError(f"rows: unknown domain {misspelt(unknown, domains)}. The model knows {', '.join(domains)}")
    numbers = np.array([domains.index(name) for name in rows.domains], dtype=np.int64)
    pairs = [str(text) for text in rows.rows["text_pair"][:]] if rows.has_pairs else None
    return Asked(list(map(str, rows.rows["text"][:])), pairs, numbers[rows.domain_ids].tolist())


def reference_of(engine: TorchEngine, rows: MultiDomainDataset | None, domain: str | None = None) -> Reference:
    """Texts and the student's logits: of labelled rows, or else of random words of its vocabulary.

    Args:
        engine: the student.
        rows: labelled, with the student's numbers of labels and domains; None: random words.
        domain: the only one that is looked at; None: all.

    Raises:
        DataError: the rows have other labels, domains that the student does not know, or lack some of its domains.
    """
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
    some = drawn(asked, ROUTED_TEXTS)
    some = replace(some, domains=[UNKNOWN] * len(some.texts))
    return replace(reference, routed=Reference(some, *Predictor(engine).logits(some), None, ()))


def made_from(student: Path, model: MultiDomainClassifier) -> dict[str, Any]:
    """What a record of an export says of its origin.

    Args:
        student: its folder.
        model: as it is exported.
    """
    listed = student / MANIFEST
    known = {name: found for name, found in versions(VERSIONS).items() if found is not None}
    return {
        "student": student.name,
        "manifest": file_sum(listed) if listed.is_file() else None,
        "data": digest_of_rows(student),
        "parameters": model_sizes(model).parameters,
        "versions": {"python": sys.version.split()[0], **known},
    }


def drawn(asked: Asked, most: int) -> Asked:
    """Some of the texts, in a fixed random order."""
    return asked.take(np.random.default_rng(0).permutation(len(asked.texts))[:most].tolist())


def probe_texts(tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[str]:
    """Random texts of the tokenizer's vocabulary, the shortest of one token, the longest beyond ``max_tokens``."""
    special = set(tokenizer.all_special_ids)
    ids = torch.tensor(sorted(i for i in tokenizer.get_vocab().values() if i not in special))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(1, max_tokens + 8, PROBES).long().tolist()
    pieces = [ids[torch.randint(len(ids), (length,), generator=generator)] for length in lengths]
    return [tokenizer.decode(part) or "?" for part in pieces]
