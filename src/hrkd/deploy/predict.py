"""Labels for new text: from Python (:class:`Predictor`) and file to file (:func:`predict_file`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from hrkd.data.readers.parts import Part
from hrkd.data.readers.table_writer import check_writable, write_table
from hrkd.data.readers.tables import known_kind, read_table
from hrkd.errors import DataError
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.support.messages import first_of, misspelt
from hrkd.support.progress import Progress

__all__ = ["Predictor", "predict_file"]


class Predictor:
    """A multi-domain classifier with its tokenizer, ready for text.

    Works on the model's device. Texts longer than the model's ``max_tokens`` are cut, as in training.
    """

    def __init__(self, model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self._pad = DataCollatorWithPadding(tokenizer)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device | None = None) -> Predictor:
        """The model in ``folder``; ``device`` None: the accelerator if there is one, else the processor.

        Raises:
            ArtifactError: ``folder`` is no hrkd model, or is damaged.
        """
        model, tokenizer = open_model(folder)
        if device is None:
            accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            device = accelerator or "cpu"
        return cls(model.to(device), tokenizer)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        domain: str | Sequence[str],
        text_pairs: str | Sequence[str] | None = None,
        batch_size: int = 64,
        all_labels: bool = False,
    ) -> list[Any]:
        """The label of every text, in the shape that transformers' pipelines give.

        Args:
            texts: One text or several.
            domain: Domain of all texts, or one domain for each.
            text_pairs: Second texts of a pair task, as many as ``texts``.
            batch_size: Texts in a forward pass.
            all_labels: All labels of every text, the most probable first.

        Returns:
            For every text ``{"label": "positive", "score": 0.98}``; with ``all_labels`` a list of these.

        Raises:
            DataError: empty texts, an unknown domain, or lists of different lengths.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        pairs = [text_pairs] if isinstance(text_pairs, str) else text_pairs
        probabilities = self.probabilities(texts, domain=domain, text_pairs=pairs, batch_size=batch_size)
        ranked = [
            [{"label": self.model.labels[c], "score": float(row[c])} for c in np.argsort(-row, kind="stable")]
            for row in probabilities
        ]
        return ranked if all_labels else [row[0] for row in ranked]

    @torch.inference_mode()
    def probabilities(
        self,
        texts: Sequence[str],
        *,
        domain: str | Sequence[str],
        text_pairs: Sequence[str] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Probability of every label, shape (texts, C), in the order of ``texts`` and of the model's labels.

        Raises:
            DataError: as for calling the predictor.
        """
        domains = [domain] * len(texts) if isinstance(domain, str) else list(domain)
        self._check(texts, domains, text_pairs)
        domain_ids = [self.model.domains.index(name) for name in domains]
        rows = self._tokenize(texts, text_pairs)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["input_ids"]))
        found = np.empty((len(rows), len(self.model.labels)))
        with (progress or Progress(False)).bar("predicting", total=len(rows), unit="texts") as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                inputs = self._pad([rows[i] for i in chosen]).to(self.model.device)
                here = torch.tensor([domain_ids[i] for i in chosen], device=self.model.device)
                with cpu_kernels(here.device):
                    logits = self.model(**inputs, domain_ids=here).logits
                found[chosen] = logits.float().softmax(dim=-1).cpu().numpy()
                bar.advance(len(chosen))
        return found

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[dict[str, list[int]]]:
        if not len(texts):
            return []
        second = None if pairs is None else list(pairs)
        encoded = self.tokenizer(list(texts), second, truncation=True, max_length=self.model.config.max_tokens)
        return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]

    def _check(self, texts: Sequence[str], domains: Sequence[str], pairs: Sequence[str] | None) -> None:
        for what, given in (("domains", domains), ("text_pairs", pairs)):
            if given is not None and len(given) != len(texts):
                raise DataError(f"{len(texts)} texts but {len(given)} {what}; give one for each text")
        for what, given in (("text", texts), ("text pair", pairs or ())):
            if unusable := [str(i) for i, text in enumerate(given) if _is_unusable(text)]:
                raise DataError(
                    f"empty or broken {what} at index {first_of(unusable)}; every {what} must be a string with content"
                )
        if unknown := _unknown_domains(domains, self.model.domains):
            raise DataError(f"{unknown}. The model knows {', '.join(self.model.domains)}")


def _is_unusable(text: Any) -> bool:
    """Whether ``text`` is no string, blank, or holds half a surrogate pair (which no tokenizer takes)."""
    return not isinstance(text, str) or not text.strip() or any("\ud800" <= c <= "\udfff" for c in text)


def _unknown_domains(names: Sequence[Any], known: Sequence[str]) -> str | None:
    """What is wrong with ``names``, each unknown one with the nearest known one; None if all are known."""
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    return f"unknown domain {misspelt(unknown, known)}" if unknown else None


def predict_file(
    predictor: Predictor,
    input: str | Path,  # noqa: A002
    output: str | Path,
    *,
    domain: str | None = None,
    text: str = "text",
    text_pair: str | None = None,
    domain_column: str = "domain",
    batch_size: int = 64,
    all_labels: bool = False,
    prefix: str = "",
    progress: Progress | None = None,
) -> int:
    """Label a table and write it with the columns ``label`` and ``score`` added.

    CSV, TSV, JSON lines or Parquet, the first three also with ``.gz``; the kind of the output follows its name. All
    columns and rows stay as they are. An existing output is replaced, once the new one is whole.

    Args:
        predictor: The model.
        input: Table to read.
        output: Table to write; not the same file.
        domain: Domain of all rows; None: ``domain_column`` says it for each.
        text: Column with the text.
        text_pair: Column with the second text of a pair task.
        domain_column: Column with the domain, read where ``domain`` is None.
        batch_size: Texts in a forward pass.
        all_labels: Also add ``score_<label>`` for every label of the model.
        prefix: Put before the names of the added columns, such as ``predicted_``.
        progress: Where a progress bar goes.

    Returns:
        The number of rows.

    Raises:
        DataError: a file that cannot be read or written, missing columns, columns that would be overwritten, rows
            without text, unknown domains; file and rows are named.
    """
    source, target = Path(input).expanduser(), Path(output).expanduser()
    known_kind(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(f"{target}: input and output are the same file; write to another one")
    part = read_table(source)
    added = [f"{prefix}{name}" for name in _added_columns(predictor, all_labels)]
    _check_columns(part, [text, *filter(None, [text_pair]), *([] if domain else [domain_column])], added)
    texts, pairs = _texts(part, text), _texts(part, text_pair) if text_pair else None
    domains = _domains(part, domain, domain_column, predictor.model.domains)
    columns = [(name, list(part.read(i))) for i, name in enumerate(part.columns)]
    check_writable(target, columns)
    probabilities = predictor.probabilities(
        texts, domain=domains, text_pairs=pairs, batch_size=batch_size, progress=progress
    )
    values = _added_values(predictor, probabilities, all_labels)
    write_table(target, [*columns, *zip(added, values, strict=True)])
    return part.rows


def _added_columns(predictor: Predictor, all_labels: bool) -> list[str]:
    return ["label", "score", *(f"score_{name}" for name in predictor.model.labels if all_labels)]


def _added_values(predictor: Predictor, probabilities: np.ndarray, all_labels: bool) -> list[list[Any]]:
    best = probabilities.argmax(axis=1)
    rounded = probabilities.round(6)
    scores = rounded[np.arange(len(best)), best].tolist()
    return [[predictor.model.labels[c] for c in best], scores, *(rounded.T.tolist() if all_labels else [])]


def _check_columns(part: Part, wanted: Sequence[str], added: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in part.columns]:
        raise DataError(
            f"{part.name}: no column {misspelt(missing, part.columns)}; found {', '.join(part.columns)}. Say which "
            "columns to read (text, text_pair, domain_column; on the command line --text-column, --pair-column, "
            "--domain-column)"
        )
    if repeated := part.repeated(wanted):
        raise DataError(f"{part.name}: {repeated}")
    if taken := [repr(name) for name in added if name in part.columns]:
        raise DataError(
            f"{part.name}: has a column {first_of(taken)} already, which prediction would add; "
            "rename it, or set prefix (such as predicted_)"
        )


def _texts(part: Part, column: str) -> list[str]:
    values = part.read(part.columns.index(column))
    if unusable := [str(row) for row, value in enumerate(values, 1) if _is_unusable(value)]:
        raise DataError(
            f"{part.name}: empty or broken text in column {column!r} of row {first_of(unusable)} (counted from 1 after "
            "the header); fill it in or remove the row"
        )
    return list(values)


def _domains(part: Part, domain: str | None, column: str, known: Sequence[str]) -> list[str]:
    if domain is not None:
        if problem := _unknown_domains([domain], known):
            raise DataError(f"domain: {problem}. The model knows {', '.join(known)}")
        return [domain] * part.rows
    values = part.read(part.columns.index(column))
    names = ["" if value is None else str(value).strip() for value in values]
    if problem := _unknown_domains(names, known):
        rows = [str(row) for row, name in enumerate(names, 1) if name not in known]
        raise DataError(
            f"{part.name}: {problem} in column {column!r}, row {first_of(rows)}. The model knows {', '.join(known)}"
        )
    return names
