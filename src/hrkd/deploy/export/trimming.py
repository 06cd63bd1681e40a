"""A student without the pieces of its vocabulary that its training texts do not need."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from hrkd.data.batching import tokenize
from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.engines.engine import Columns
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.static import StaticEncoder
from hrkd.models.vocabulary import Vocabulary, choose_vocabulary

__all__ = ["trimmed"]

logger = logging.getLogger("hrkd")

TEXTS = 64
"""That are compared, of the first that are looked at."""
LOOKED_AT = 1000
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
    """Hold both against each other on texts of kept pieces; the log says where there are none."""
    some = rows.select(np.random.default_rng(0).permutation(len(rows))[:LOOKED_AT])
    texts = list(map(str, some.rows["text"][:]))
    pairs = list(map(str, some.rows["text_pair"][:])) if some.has_pairs else None
    compared = 0
    for place, text in enumerate(texts):
        pair = None if pairs is None else [pairs[place]]
        before, after = (each.encode([text], pair)[0] for each in (engine, smaller))
        kept = [vocabulary.kept[list(row)].tolist() for row in after["input_ids"]]
        if kept != [list(row) for row in before["input_ids"]]:
            continue
        ours, theirs = _logits(engine, before), _logits(smaller, after)
        difference = float(np.abs(ours - theirs).max())
        if not difference <= TOLERANCE:
            raise ArtifactError(
                f"--vocabulary: a text whose pieces are all kept is answered otherwise (logits differ by "
                f"{difference:.2g}); nothing was written"
            )
        compared += 1
        if compared == TEXTS:
            return
    if not compared:
        logger.warning(
            "--vocabulary: all of %s training texts have pieces that are not kept, so that none of them shows whether "
            "texts of kept pieces are answered as before; keep more pieces",
            len(texts),
        )


def _logits(engine: TorchEngine, columns: Columns) -> npt.NDArray[np.float32]:
    """Of all rows of a text, (rows, C), the longest first."""
    order = sorted(range(len(columns["input_ids"])), key=lambda i: -len(columns["input_ids"][i]))
    rows = {name: [values[i] for i in order] for name, values in columns.items()}
    return engine.logits(rows, np.zeros(len(order), dtype=np.int64))[0]
