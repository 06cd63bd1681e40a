"""A generated corpus of reviews whose relations between domains are known.

Groups of two domains (books and films, kitchen and tools, ...) share what ambiguous words such as "long" or "loud"
mean to a reviewer; other groups see them otherwise. Clauses are negated, contrasted and stressed, so that word counts
alone do not solve the task, and one set of word weights for all domains solves it worse than one for each.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hrkd.data.splits.draws import stable_rng
from hrkd.data.synthetic.lexicon import (
    AMBIGUOUS,
    DOMAINS,
    INTENSIFIERS,
    NEGATIVE,
    NEGATIVE_VERBS,
    NEGATORS,
    PATTERNS,
    PERSONS,
    POSITIVE,
    POSITIVE_VERBS,
    TIMES,
    DomainWords,
)
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import RecipeError
from hrkd.recipe.schema import SyntheticConfig

__all__ = ["SyntheticCorpus", "synthetic_reviews", "vocabulary"]

DEFAULTS = SyntheticConfig()

Ints = npt.NDArray[np.int64]
T = TypeVar("T")

LABELS = ("negative", "positive")
# What follows sets the difficulty: chances of what a writer does next.
LENGTHS = {1: 0.1, 2: 0.25, 3: 0.3, 4: 0.2, 5: 0.15}
SENTENCES = {"single": 0.53, "joined": 0.2, "contrast": 0.12, "aside": 0.15}
WORD_SOURCES = {"shared": 0.18, "ambiguous": 0.64, "domain": 0.18}
AGREEMENT = 0.94  # a sentence has the polarity of its review
NEGATION, STRESS, OPENING, VERB = 0.12, 0.15, 0.12, 0.14


@dataclass(frozen=True)
class SyntheticCorpus:
    """A generated data set and what is true about it.

    ``relatedness`` (domains, domains) is the share of ambiguous words with the same polarity, computed from
    ``polarities`` (domains, ambiguous words; 1 or -1). ``clean_labels`` (rows,) are the labels before noise.
    ``groups`` names the related domains.
    """

    dataset: MultiDomainDataset
    relatedness: npt.NDArray[np.float64]
    polarities: Ints
    clean_labels: Ints
    groups: tuple[tuple[str, ...], ...]


def synthetic_reviews(
    *,
    domains: int = DEFAULTS.domains,
    examples: int = DEFAULTS.examples,
    relatedness: float = DEFAULTS.relatedness,
    label_noise: float = DEFAULTS.label_noise,
    seed: int = 0,
) -> SyntheticCorpus:
    """Generate reviews of several domains, half of them positive (before and after noise), all texts different.

    A review has one to five sentences. Its label is the sign of the sum of its clauses: 1 for a positive clause, -1
    for a negative one, twice that with an intensifier; a negator turns the sign, and of two contrasted clauses only
    the last one ("x, but y") or the main one ("although x, y") counts. No review sums up to zero.

    Args:
        domains: Number of domains, 2 to 8.
        examples: Reviews per domain.
        relatedness: How alike the domains of a group are. The share of ambiguous words with the same polarity is
            (1 + relatedness) / 2 within a group: 1 all of them, 0 half of them, as chance would have it. The first
            domains of the first two groups (and of the last two) disagree on all of them, others on half.
        label_noise: Share of labels flipped, the same for each domain and label.
        seed: Seed of the lexicons and of all draws.

    Raises:
        RecipeError: an argument is out of range.
    """
    _check_arguments(domains, examples, relatedness, label_noise)
    polarities = _polarities(domains, relatedness, seed)
    seen: set[str] = set()
    texts: list[str] = []
    clean: list[int] = []
    for words, signs in zip(DOMAINS[:domains], polarities, strict=False):
        labels = stable_rng(seed, words.name, "labels").permutation(np.arange(examples) % 2).tolist()
        writer = _Writer(words, signs, random.Random(int(stable_rng(seed, words.name, "texts").integers(2**62))))
        texts += [writer.review(label, seen) for label in labels]
        clean += labels
    names = tuple(words.name for words in DOMAINS[:domains])
    import datasets

    clean_labels = np.array(clean, dtype=np.int64)
    domain_ids = np.repeat(np.arange(domains), examples)
    rows = {
        "id": [f"synthetic/{names[d]}#{n}" for d in range(domains) for n in range(examples)],
        "text": texts,
        "label": _with_noise(clean_labels, domain_ids, label_noise, names, seed).tolist(),
        "domain": domain_ids.tolist(),
    }
    return SyntheticCorpus(
        MultiDomainDataset(datasets.Dataset.from_dict(rows), LABELS, names),
        relatedness=(polarities[:, None] == polarities[None]).mean(axis=2),
        polarities=polarities,
        clean_labels=clean_labels,
        groups=tuple(names[n : n + 2] for n in range(0, domains, 2)),
    )


def vocabulary() -> list[str]:
    """All word types, punctuation included, that reviews of any domain and seed are made of, sorted."""
    texts = [*POSITIVE, *NEGATIVE, *POSITIVE_VERBS, *NEGATIVE_VERBS, *AMBIGUOUS, *INTENSIFIERS, *NEGATORS]
    texts += [*PERSONS, *TIMES, ".", ","]
    texts += [pattern for patterns in vars(PATTERNS).values() for pattern in patterns]
    for domain in DOMAINS:
        texts += [domain.item, domain.deed, *domain.aspects, *domain.positive, *domain.negative, *domain.asides]
    return sorted({word for text in texts for word in re.findall(r"[a-z]+|[.,]", re.sub(r"{\w+}", " ", text))})


class _Writer:
    """Writes reviews of one domain."""

    def __init__(self, words: DomainWords, signs: Ints, rng: random.Random) -> None:
        self.words = words
        self.rng = rng
        self.opinions = {
            1: {"shared": POSITIVE, "domain": words.positive, "verbs": POSITIVE_VERBS},
            -1: {"shared": NEGATIVE, "domain": words.negative, "verbs": NEGATIVE_VERBS},
        }
        for sign, of_sign in self.opinions.items():
            of_sign["ambiguous"] = tuple(w for w, s in zip(AMBIGUOUS, signs.tolist(), strict=True) if s == sign)

    def review(self, label: int, seen: set[str]) -> str:
        """A review with this label whose text is not in ``seen``; adds it there."""
        while True:
            mood = 1 if label else -1
            written = [self._sentence(mood) for _ in range(self._pick(LENGTHS))]
            text = " ".join(f"{sentence}." for sentence, _ in written)
            if sum(value for _, value in written) * mood > 0 and text not in seen:
                seen.add(text)
                return text

    def _sentence(self, mood: int) -> tuple[str, int]:
        """A sentence and its value."""
        kind = self._pick(SENTENCES)
        if kind == "aside":
            return self._aside(), 0
        sign = mood if self._happens(AGREEMENT) else -mood
        last, value = self._clause(sign)
        if kind == "single":
            opening = f"{self.rng.choice(PATTERNS.openings)}, " if self._happens(OPENING) else ""
            return opening + last, value
        first, other = self._clause(-sign if kind == "contrast" else sign)
        patterns = PATTERNS.contrasts if kind == "contrast" else PATTERNS.joined
        return self.rng.choice(patterns).format(first=first, last=last), value if kind == "contrast" else value + other

    def _clause(self, sign: int) -> tuple[str, int]:
        """A clause of this polarity and its value."""
        verb, negated = self._happens(VERB), self._happens(NEGATION)
        word = self.rng.choice(self.opinions[-sign if negated else sign]["verbs" if verb else self._pick(WORD_SOURCES)])
        stressed = not verb and not negated and self._happens(STRESS)
        patterns = {
            (False, False): PATTERNS.plain,
            (False, True): PATTERNS.negated,
            (True, False): PATTERNS.verbs,
            (True, True): PATTERNS.negated_verbs,
        }[verb, negated]
        text = self.rng.choice(patterns).format(
            aspect=self.rng.choice(self.words.aspects),
            item=self.words.item,
            negator=self.rng.choice(NEGATORS),
            verb=word,
            word=f"{self.rng.choice(INTENSIFIERS)} {word}" if stressed else word,
        )
        return text, 2 * sign if stressed else sign

    def _aside(self) -> str:
        return self.rng.choice((*PATTERNS.asides, *self.words.asides)).format(
            deed=self.words.deed,
            item=self.words.item,
            person=self.rng.choice(PERSONS),
            time=self.rng.choice(TIMES),
        )

    def _happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    def _pick(self, chances: Mapping[T, float]) -> T:
        return self.rng.choices(list(chances), list(chances.values()))[0]


def _polarities(domains: int, relatedness: float, seed: int) -> Ints:
    """Polarity of each ambiguous word in each domain, shape (domains, words), 1 or -1.

    Groups have as many good words as bad ones. The second group turns all words of the first; the third agrees with
    either on half of them, and the fourth turns all words of the third. The second domain of a group turns a share of
    (1 - relatedness) / 2 of the group's words, good and bad ones by turns; words turned at one relatedness are also
    turned at any lower one.
    """
    quarters = stable_rng(seed, "groups").permutation(len(AMBIGUOUS)).reshape(4, -1)
    first, third = np.ones((2, len(AMBIGUOUS)), dtype=np.int64)
    first[quarters[[0, 1]]] = third[quarters[[0, 2]]] = -1
    table = np.stack([first, first, -first, -first, third, third, -third, -third])
    turned = round((1 - relatedness) / 2 * len(AMBIGUOUS))
    for signs, words in list(zip(table, DOMAINS, strict=True))[1::2]:
        rng = stable_rng(seed, words.name, "turned words")
        good_and_bad = [rng.permutation(np.flatnonzero(signs == sign)) for sign in (1, -1)]
        signs[np.stack(good_and_bad, axis=1).ravel()[:turned]] *= -1
    return table[:domains]


def _with_noise(clean: Ints, domain_ids: Ints, noise: float, names: Sequence[str], seed: int) -> Ints:
    """Labels with the same share of each domain and label flipped."""
    noisy = clean.copy()
    for d, name in enumerate(names):
        rng = stable_rng(seed, name, "noise")
        for label in range(len(LABELS)):
            rows = rng.permutation(np.flatnonzero((domain_ids == d) & (clean == label)))
            noisy[rows[: round(noise * len(rows))]] = 1 - label
    return noisy


def _check_arguments(domains: int, examples: int, relatedness: float, label_noise: float) -> None:
    checks = {
        f"domains: expected 2 to {len(DOMAINS)}, found {domains}": 2 <= domains <= len(DOMAINS),
        f"examples: expected at least 1, found {examples}": examples >= 1,
        f"relatedness: expected 0 to 1, found {relatedness:g}": 0 <= relatedness <= 1,
        f"label_noise: expected 0 or more and less than 0.5, found {label_noise:g}": 0 <= label_noise < 0.5,
    }
    problems = [problem for problem, fine in checks.items() if not fine]
    if problems:
        raise RecipeError("synthetic reviews: " + "; ".join(problems))
