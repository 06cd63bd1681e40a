"""Text, second text, label, domain and split, guessed from columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from hrkd.data.guessing.columns import Column
from hrkd.data.readers.hints import SPLIT_COLUMNS
from hrkd.data.readers.split_names import words_of

__all__ = ["Guess", "guess_roles"]

NAMES = {
    "text": (
        "text texts texte texto testo tekst review reviews comment comments kommentar body content message sentence "
        "description beschreibung bewertungstext nachricht comentario commentaire avis reseña recensione отзыв текст "
        "评论 文本 tweet post document utterance query question premise sentence1 text1"
    ),
    "text_pair": "pair text2 sentence2 hypothesis answer question2 context passage antwort second response",
    "label": (
        "label labels class klasse classe clase target y sentiment polarity rating stars sterne score etikett etiqueta "
        "étiquette note bewertung intent intention gold puntuación valoración stimmung оценка метка 标签 annotation"
    ),
    "domain": (
        "domain domains domäne dominio domaine category kategorie catégorie categoría topic thema genre section shop "
        "product produkt department abteilung market markt source quelle bereich sparte rubrik ressort channel kanal "
        "customer kunde group gruppe тема категория 领域 类别 corpus dataset"
    ),
}
"""Words in names of columns, in several languages."""
WORDS = {role: frozenset(words.split()) for role, words in NAMES.items()}
POLAR_LISTED = (
    "positive negative neutral pos neg neu mixed good bad positiv negativ positif négatif neutre positivo negativo "
    "neutro gut schlecht bueno malo spam ham entailment contradiction toxic offensive hate"
)
POLAR = frozenset(POLAR_LISTED.split())
SWITCHES = frozenset(("true", "false", "yes", "no", "ja", "nein", "oui", "non", "y", "n", "t", "f"))
SURE = 0.3
"""How much better than the next one a column is of which nothing else is told."""

Score = Callable[[Column], float]


@dataclass(frozen=True)
class Guess:
    """``columns`` by role (as far as there are any), and ``others`` that come near, by role."""

    columns: Mapping[str, Column]
    others: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)


def guess_roles(columns: Sequence[Column]) -> Guess:
    """What each column is; a role that no column looks like is left out."""
    found: dict[str, Column] = {}
    others: dict[str, tuple[Column, ...]] = {}
    texts = _ranked(columns, _text)
    if texts:
        found["text"] = texts[0][1]
        others["text"] = _near(texts)
    if pair := _second_text(found.get("text"), [column for _, column in texts]):
        found["text_pair"] = pair
        others["text"] = tuple(column for column in others["text"] if column is not pair)
    if split := next((column for column in columns if column.is_split), None):
        found["split"] = split
    columns_of, near = _categories([column for column in columns if column not in found.values()])
    others |= near
    return Guess(found | columns_of, {role: near for role, near in others.items() if near})


def _categories(free: Sequence[Column]) -> tuple[dict[str, Column], dict[str, tuple[Column, ...]]]:
    """Label and domain among the columns that are left, the pair that fits best, and what comes near."""
    labels, domains = _ranked(free, _label), _ranked(free, _domain)
    pairs = [(a + b, one, other) for (a, one), (b, other) in product(labels, domains) if one is not other]
    found: dict[str, Column] = {}
    best = 0.0
    if pairs:
        best, found["label"], found["domain"] = max(pairs, key=lambda each: each[0])
    elif labels:
        found["label"] = labels[0][1]
    constant = [column for column in free if len(column.counts) == 1 and _named(column, "domain")]
    if "domain" not in found and constant:
        found["domain"] = constant[0]
    others: dict[str, tuple[Column, ...]] = {}
    for role, ranked in (("label", labels), ("domain", domains)):
        own = [score for score, column in ranked if column is found.get(role)]
        rest = [each for each in ranked if each[1] not in found.values()]
        others[role] = _near([(own[0], found[role]), *rest]) if own else ()
    exchanged = [score for score, one, other in pairs if (one, other) == (found["domain"], found["label"])]
    if exchanged and exchanged[0] > best - SURE:
        others["label"] = (found["domain"], *others["label"])
        others["domain"] = (found["label"], *others["domain"])
    return found, others


def _ranked(columns: Sequence[Column], score: Score) -> list[tuple[float, Column]]:
    """Columns that may be it, the best first; of equal ones the first of the table."""
    scored = [(score(column), column) for column in columns]
    return sorted(((s, c) for s, c in scored if s > 0), key=lambda each: -each[0])


def _near(ranked: Sequence[tuple[float, Column]]) -> tuple[Column, ...]:
    best = ranked[0][0]
    return tuple(column for score, column in ranked[1:] if score > best - SURE)[:3]


def _named(column: Column, role: str) -> bool:
    words = {column.name.lower(), *words_of(column.name)}
    return not words.isdisjoint(WORDS[role])


def _text(column: Column) -> float:
    if not column.is_text:
        return 0.0
    long = min(column.words, 20) / 20
    named = 0.3 * _named(column, "text") - 0.4 * _named(column, "text_pair")
    return 0.5 + column.different + long + named - column.empty / column.rows


def _second_text(text: Column | None, texts: Sequence[Column]) -> Column | None:
    """A text whose name says that it goes with the first."""
    return next((c for c in texts if c is not text and _named(c, "text_pair")), None)


def _share(column: Column, known: frozenset[str]) -> float:
    return sum(n for value, n in column.counts.items() if value.lower() in known) / max(1, column.filled)


def _label(column: Column) -> float:
    if not column.is_categories or column.is_split:
        return 0.0
    score = 0.5 + 0.4 * _named(column, "label") - 0.3 * _named(column, "domain") - column.empty / column.rows
    score += 0.7 * _share(column, POLAR) + 0.2 * _share(column, SWITCHES) + 0.4 * column.is_scale
    return score + 0.1 * (len(column.counts) <= 5) - 0.4 * column.is_tongues


def _domain(column: Column) -> float:
    if not column.is_categories or column.is_split or not SPLIT_COLUMNS.isdisjoint(words_of(column.name)):
        return 0.0
    score = 0.5 + 0.4 * _named(column, "domain") - 0.3 * _named(column, "label") - column.empty / column.rows
    score -= 0.4 * _share(column, POLAR) + 0.2 * _share(column, SWITCHES) + 0.3 * column.is_scale
    return score + 0.1 * (3 <= len(column.counts) <= 50) - 0.2 * column.is_tongues
