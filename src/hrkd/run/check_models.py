"""What ``hrkd check`` asks of models: linear ones are fitted to see what words say, those of the recipe are tried."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hrkd.data.health.finding import Finding
from hrkd.data.health.texts import WORDS, find_cut
from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.errors import ArtifactError, HrkdError, ModelError
from hrkd.linear.sharing import Sharing, mean_over_domains, measure_sharing
from hrkd.linear.telling_apart import tell_domains_apart
from hrkd.models.at_hand import is_at_hand, token_counter
from hrkd.recipe.schema import Recipe
from hrkd.run.check_rows import each_line
from hrkd.run.prepare import prepare_data
from hrkd.support.caches import cache_folder
from hrkd.support.messages import count_of, first_of
from hrkd.support.text_table import percent
from hrkd.training.intervals import mean_interval, paired_difference, wilson_interval

__all__ = ["check_as_a_run_does", "check_lengths", "check_words"]

NEAR_CHANCE = 0.6
LITTLE = 0.1
"""Share of what the most frequent label has wrong; a linear model that surely mends less has learnt nothing."""
A_POINT = 0.005


def check_lengths(recipe: Recipe, dataset: MultiDomainDataset) -> list[Finding]:
    """What is cut off texts, in tokens of the teacher where its tokenizer is at hand."""
    source = recipe.teacher.tokenizer
    counter = None if source is None else token_counter(source)
    longest, keep = recipe.data.max_length, recipe.data.keep
    if counter is not None:
        count, special = counter
        return find_cut(dataset, longest - special(dataset.has_pairs), keep, count, f"counted as {source} does")
    return find_cut(dataset, longest - 2 - dataset.has_pairs, keep, WORDS, "a rule of thumb: 1.3 tokens a word")


def check_words(splits: Splits, confidence: float) -> list[Finding]:
    """What linear models reach on dev, what dev and test can show, and which domains words do not tell apart."""
    sharing = measure_sharing(splits)
    domain_ids = sharing.dev.domain_ids
    accuracies = {form: mean_over_domains(right, domain_ids) for form, right in sharing.right.items()}
    best = max(accuracies, key=accuracies.__getitem__)
    return [
        *_learnt(sharing, sharing.right[best], confidence),
        *_not_told_apart(splits.train, confidence),
        *_width(splits, accuracies[best], confidence),
        _reached(sharing, sharing.right[best], accuracies[best]),
    ]


def _learnt(sharing: Sharing, right: np.ndarray, confidence: float) -> list[Finding]:
    """Whether the best linear model is better than the most frequent label of each domain."""
    train, dev = sharing.train, sharing.dev
    owners, labels = train.domain_ids, train.label_ids
    most = [np.bincount(labels[owners == d], minlength=1).argmax() for d in range(len(train.domains))]
    usual = np.array(most)[dev.domain_ids] == dev.label_ids
    found = paired_difference(right, usual, dev.domain_ids, confidence)
    reached, share = (mean_over_domains(each, dev.domain_ids) for each in (right, usual))
    if share == 1 or found.interval[1] >= LITTLE * (1 - share):
        return []
    told = f"TF-IDF with logistic regression has {percent(reached)} % of dev right, the most frequent labels "
    return [Finding("D109", f"{told}{percent(share)} % ({count_of(len(dev))})", rows=len(dev))]


def _not_told_apart(train: MultiDomainDataset, confidence: float) -> list[Finding]:
    found = []
    for pair in tell_domains_apart(train):
        high = wilson_interval(pair.right, pair.rows, confidence)[1]
        if high < NEAR_CHANCE:
            told = (
                f"{pair.one} and {pair.other}: {percent(pair.right / pair.rows)} % of {pair.rows:,} texts "
                "are given to their own domain of these two, and a coin has 50 %"
            )
            found.append(Finding("D306", told, rows=pair.rows))
    return found


def _width(splits: Splits, accuracy: float, confidence: float) -> list[Finding]:
    """How wide the interval of an accuracy like the linear model's is."""
    told = []
    for name, part in splits:
        if name == "train":
            continue
        rows = list(part.rows_by_domain().values())
        bounds = [wilson_interval(accuracy * n, n, confidence) for n in rows]
        low, high = mean_interval([accuracy] * len(rows), bounds)
        if (high - low) / 2 > A_POINT:
            told.append(f"from {percent(low)} to {percent(high)} % on the {sum(rows):,} rows of {name}")
    if not told:
        return []
    level = f"{100 * confidence:g} %"
    like = f"an accuracy of {percent(accuracy)} %, as TF-IDF with logistic regression reaches on dev,"
    return [Finding("D402", f"{like} has a {level} interval {' and '.join(told)}")]


def _reached(sharing: Sharing, right: np.ndarray, accuracy: float) -> Finding:
    owners, domains = sharing.dev.domain_ids, sharing.dev.domains
    each = [f"{domain} {percent(right[owners == d].mean())}" for d, domain in enumerate(domains) if (owners == d).any()]
    drawn = " drawn" if sharing.is_part else ""
    told = (
        f"TF-IDF with logistic regression reaches {percent(accuracy)} % on dev ({first_of(each)}; learnt from "
        f"{len(sharing.train):,}{drawn} train rows, {len(sharing.dev):,} dev rows)"
    )
    return Finding("D902", told, rows=len(sharing.dev))


def check_as_a_run_does(recipe: Recipe) -> list[Finding]:
    """Read rows and try models as ``hrkd compress`` does before it trains; nothing is written but caches."""
    checkpoint = recipe.student.checkpoint
    teachers = _away(recipe.teacher.model, recipe.teacher.fine_tuned)
    away = [*teachers, *_away(checkpoint)]
    untold: list[Finding] = []
    if away:
        neither = "neither teacher nor student was tried" if teachers else "the student was not tried"
        untold = [Finding("D903", f"{first_of(away)}: not on this machine, so that {neither}")]
    elif recipe.student.is_sized_by_time:
        why = "the student's size is found by timing when a run starts, so that the teacher alone was tried"
        untold = [Finding("D903", why)]
    try:
        if teachers:
            prepare_data(recipe.data, None, cache_folder(recipe.cache.folder))
        else:
            untold += _tried(recipe, teacher_alone=bool(untold))
    except ArtifactError as error:
        return list(each_line("D002", error))
    except HrkdError as error:
        return list(each_line("D005" if isinstance(error, ModelError) else "D003", error))
    return untold


def _away(*sources: str | Mapping[str, str] | None) -> list[str]:
    """Models that are not on this machine."""
    named = [each for s in sources if s is not None for each in ([s] if isinstance(s, str) else s.values())]
    return [source for source in named if not is_at_hand(source)]


def _tried(recipe: Recipe, *, teacher_alone: bool) -> list[Finding]:
    from hrkd.run.context import Context  # brings torch
    from hrkd.run.precheck import precheck, precheck_teacher
    from hrkd.run.teacher import parts_it_may_have_seen

    own = recipe.teacher.fine_tuned is None
    context = Context.load(recipe)
    if teacher_alone:
        precheck_teacher(context, trained=not own)
    else:
        precheck(context.plan(*(["teacher"] if own else []), "student"), trained=not own)
    parts = " and ".join(parts_it_may_have_seen(context))
    if not parts:
        return []
    told = f"teacher.fine_tuned: nothing says which rows it was trained on, and {parts} were drawn for this recipe"
    return [Finding("D405", told)]
