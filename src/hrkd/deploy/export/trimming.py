"""A student without the pieces of its vocabulary that its training texts do not need."""

from __future__ import annotations

from typing import Any

import numpy as np

from hrkd.data.batching import tokenize
from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.static import StaticEncoder
from hrkd.models.vocabulary import Vocabulary, choose_vocabulary

__all__ = ["trimmed"]

TEXTS = 64
TOLERANCE = 1e-5


def trimmed(engine: TorchEngine, rows: MultiDomainDataset, at_least: int) -> tuple[TorchEngine, dict[str, Any]]:
    """The same student with the pieces that stand in ``rows`` so often, and what to note of it.

    Raises:
        ArtifactError: texts of kept pieces are answered otherwise than before.
        ModelError: the family, the kind of tokenizer or of student does not allow it.
    """
    model, tokenizer, facts = engine.model, engine.tokenizer, engine.facts
    if isinstance(model.encoder, StaticEncoder) and model.encoder.pairs is not None:
        raise ModelError("--vocabulary: pairs are hashed by the ids of all pieces; leave it out for this student")
    texts = tokenize(rows, tokenizer, facts.max_tokens, keep=facts.keep)
    vocabulary = choose_vocabulary(model, tokenizer, texts, facts.max_tokens, at_least, keep=facts.keep)
    smaller = TorchEngine(vocabulary.prune(model), vocabulary.tokenizer)
    _check_same(engine, smaller, vocabulary, rows)
    return smaller, {"vocabulary": at_least, "pieces": len(vocabulary.kept), "pieces_before": vocabulary.before}


def _check_same(engine: TorchEngine, smaller: TorchEngine, vocabulary: Vocabulary, rows: MultiDomainDataset) -> None:
    some = rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[:TEXTS]))
    texts = list(map(str, some.rows["text"][:]))
    pairs = list(map(str, some.rows["text_pair"][:])) if some.has_pairs else None
    for place, text in enumerate(texts):
        pair = None if pairs is None else [pairs[place]]
        before, after = (each.encode([text], pair)[0] for each in (engine, smaller))
        kept = [vocabulary.kept[list(row)].tolist() for row in after["input_ids"]]
        if kept != [list(row) for row in before["input_ids"]]:
            continue
        rows_of_both = ({name: values[:1] for name, values in columns.items()} for columns in (before, after))
        ours, theirs = (
            each.logits(ids, np.array([0]))[0] for each, ids in zip((engine, smaller), rows_of_both, strict=True)
        )
        difference = float(np.abs(ours - theirs).max())
        if not difference <= TOLERANCE:
            raise ArtifactError(
                f"--vocabulary: a text whose pieces are all kept is answered otherwise (logits differ by "
                f"{difference:.2g}); nothing was written"
            )
