"""What the speed measurements share: random models of the paper's sizes, rows of realistic lengths, fair timing."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from hrkd.data.batching import TokenizedDataset, tokenize
from hrkd.data.readers.sources import load_domains
from hrkd.data.types import MultiDomainDataset
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.scratch import word_tokenizer

VOCABULARY = 30522
MAX_TOKENS = 128
TEACHER = {"layers": 12, "width": 768, "heads": 12, "feed_forward": 3072}
STUDENT = {"layers": 4, "width": 312, "heads": 12, "feed_forward": 1200}


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated measurements."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all repetitions."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:.3f} s [{min(self.seconds):.3f}, {max(self.seconds):.3f}]"


def bert(
    sizes: dict[str, int],
    domains: Sequence[str],
    *,
    seed: int = 0,
    tokens: int = MAX_TOKENS,
    vocabulary: int = VOCABULARY,
) -> MultiDomainClassifier:
    """A BERT with random weights, two classes and a head per domain."""
    options = {"domains": tuple(domains), "labels": ("negative", "positive"), "max_tokens": tokens}
    return MultiDomainClassifier.from_plain(
        plain_bert(sizes, seed=seed, vocabulary=vocabulary), **options, new_heads=True
    )


def plain_bert(sizes: dict[str, int], *, seed: int = 0, vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """A BERT with random weights and two classes."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["feed_forward"],
    )
    return AutoModelForSequenceClassification.from_config(config)


def amazon_reviews(folder: Path, tokenizer: Path, rows: int) -> TokenizedDataset:
    """The first ``rows`` of every domain of Amazon Reviews, in tokens of a BERT vocabulary."""
    from hrkd.models.tokenizers import load_tokenizer

    dataset = load_domains(str(folder), format="amazon_reviews")
    chosen = [np.flatnonzero(dataset.domain_ids == d)[:rows] for d in range(len(dataset.domains))]
    return tokenize(dataset.select(np.concatenate(chosen)), load_tokenizer(tokenizer), MAX_TOKENS)


def random_reviews(rows: int, *, domains: int = 4, longest: int = MAX_TOKENS, seed: int = 0) -> TokenizedDataset:
    """``rows`` of every domain, of random words; lengths are log-normal as those of Amazon Reviews, cut at ``longest``.

    Of four Amazon domains (8,000 reviews, BERT's tokens) the logarithm of the length has the mean 4.74 and the standard
    deviation 0.89.
    """
    generator = np.random.default_rng(seed)
    words = np.array([f"w{n}" for n in range(2000)])
    counts = np.clip(np.exp(generator.normal(4.74, 0.89, rows * domains)), 8, 400).astype(int)
    names = [f"domain {d}" for d in range(domains)]
    columns = {
        "id": [str(n) for n in range(rows * domains)],
        "text": [" ".join(generator.choice(words, count)) for count in counts],
        "label": [n % 2 for n in range(rows * domains)],
        "domain": [n // rows for n in range(rows * domains)],
    }
    dataset = MultiDomainDataset(datasets.Dataset.from_dict(columns), ("negative", "positive"), tuple(names))
    return tokenize(dataset, word_tokenizer(words.tolist(), max_tokens=longest), longest)


def interleaved(
    ways: dict[str, Callable[[], object]], repetitions: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Time every way once per repetition, one after the other, so that a slow spell of the machine hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # the first call allocates and compiles
    for _ in range(repetitions):
        for name, way in ways.items():
            gc.collect()
            start = clock()
            way()
            seconds[name].append(clock() - start)
    return {name: Timing(tuple(each)) for name, each in seconds.items()}


def matrix_product_rate() -> float:
    """Floating-point operations per second of products as a student makes them, (4096, 312) by (312, 1200)."""
    left, right = torch.randn(4096, 312), torch.randn(1200, 312)
    timing = interleaved({"product": lambda: [functional.linear(left, right) for _ in range(10)]}, 5)["product"]
    return 10 * 2 * 4096 * 312 * 1200 / timing.median
