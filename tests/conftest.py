"""Fixtures for tests that need a model and data: a tiny corpus, its tokenizer, tiny untrained models."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings

# Continuous integration looks at the same examples every time; people look at new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("people", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "people")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test reads or fills the user's cache."""
    os.environ["HRKD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def short_glances():
    """No run of a test measures speeds for longer than it must."""
    from hrkd.run import speed

    speed.SECONDS = 0


@pytest.fixture(autouse=True)
def no_handler_outlives_its_test():
    """A command that runs within a test logs to a stream that is closed with the test."""
    yield
    logging.getLogger("hrkd").handlers.clear()


@dataclass(frozen=True)
class Tiny:
    """Three domains of generated reviews, tokenised, and a way to make models for them."""

    splits: Any
    tokenizer: Any
    train: Any
    dev: Any
    test: Any

    def unlabelled(self, *texts):
        """Texts without labels, one of each of the first domains, tokenised as train is."""
        from hrkd.data.batching import tokenize
        from hrkd.data.readers.sources import load_domains
        from hrkd.data.splits.unlabelled import choose_unlabelled

        columns = {"text": list(texts), "domain": list(self.splits.domains[: len(texts)])}
        return tokenize(choose_unlabelled(load_domains(columns, label=None), self.splits).rows, self.tokenizer, 24)

    def model(self, *, layers=2, width=16, heads=2, feed_forward=24, seed=0, mode="per_domain"):
        """A BERT with random weights for this corpus."""
        import torch

        from hrkd.models.scratch import new_teacher

        torch.manual_seed(seed)
        scratch = {"layers": layers, "width": width, "heads": heads, "feed_forward": feed_forward}
        return new_teacher(
            scratch,
            vocabulary_size=len(self.tokenizer),
            domains=self.splits.domains,
            labels=self.splits.labels,
            heads=mode,
            max_tokens=32,
        )


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """A tiny corpus with its tokenizer, shared by all tests; do not change it."""
    from hrkd.data.batching import tokenize
    from hrkd.data.splits.split import split_domains
    from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
    from hrkd.models.scratch import word_tokenizer

    corpus = synthetic_reviews(domains=3, examples=50, seed=1)
    splits = split_domains(corpus.dataset, seed=0, dev=0.2, test=0.2)
    tokenizer = word_tokenizer(vocabulary(), max_tokens=32)
    parts = {name: tokenize(part, tokenizer, 24) for name, part in splits}
    return Tiny(splits, tokenizer, **parts)
