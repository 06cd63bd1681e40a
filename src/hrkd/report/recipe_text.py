"""A short recipe with comments, as ``hrkd init`` writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from hrkd.data.guessing.columns import Column
from hrkd.data.guessing.roles import Guess
from hrkd.data.readers.parts import FILE_NAME
from hrkd.recipe.schema import DataConfig
from hrkd.support.messages import visible
from hrkd.support.text_table import PlainTable

__all__ = ["NOT_ENGLISH", "NO_DOMAIN", "FirstRecipe", "looks_english", "roles_table", "why"]

WIDTH = 32
"""Where comments begin."""
ROLES = ("text", "text_pair", "label", "domain", "split")
NO_DOMAIN = (
    "no column looks like a domain; every row needs one: add a column that names it (with one value, if there is one "
    "domain), and put its name here"
)
TOKENS_OF_A_WORD = 1.3
SHORTEST, LONGEST = DataConfig.model_construct().max_length, 512
LITTLE_ENGLISH = 0.03
NOT_ENGLISH = "the texts do not look English: it should know their language (such as bert-base-multilingual-cased)"


@dataclass(frozen=True)
class FirstRecipe:
    """What stands in it. ``guess`` is None for a source with columns of its own; ``files``: why they are domains."""

    source: str
    about: str
    guess: Guess | None
    unused: Sequence[Column]
    teacher: str
    output: str
    schema: str | None = None
    files: str = ""

    def text(self) -> str:
        """The YAML."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        if self.schema is not None:
            yield f"# yaml-language-server: $schema={self.schema}"
        yield _comment(f"{self.about}. Made by hrkd init from what the columns hold; correct what is wrong.")
        yield from ("", "data:", _line("source", self.source, ""))
        if self.guess is not None:
            for role in ROLES:
                if column := self.guess.columns.get(role):
                    yield _line(role, column.name, why(role, self.guess))
            if "domain" not in self.guess.columns:
                yield _line("domain", FILE_NAME if self.files else "domain", self.files or NO_DOMAIN)
            yield from self._lengths()
        for column in self.unused:
            yield _comment(f"not used: {column.name!r}, {column}{_use(column)}", indent="  ")
        yield from ("", "teacher:")
        yield _line("model", self.teacher, self._on_teacher())
        yield from ("", "student:")
        yield _line("times_smaller", 7.5, "than the teacher; or times_faster, or layers, width, heads")
        yield from ("", "run:", _line("output", self.output, "the folder of the run"))

    def _lengths(self) -> Iterator[str]:
        tokens = self._tokens()
        if tokens < LONGEST:
            yield _line("max_length", tokens, "tokens that are read; by their words nine of ten texts have no more")
        else:
            yield _line("max_length", LONGEST, "tokens that are read of a text; by their words many have more")
            yield _line("keep", "head_tail", "of a longer text its beginning and its end")

    def _on_teacher(self) -> str:
        what = "a pre-trained encoder, a folder or a hub name"
        if self.guess is None or looks_english(self.guess):
            return what
        return f"{what}; {NOT_ENGLISH}"

    def _tokens(self) -> int:
        assert self.guess is not None
        texts = [self.guess.columns[role] for role in ("text", "text_pair") if role in self.guess.columns]
        tokens = sum(TOKENS_OF_A_WORD * text.many_words for text in texts) + 3
        return int(min(LONGEST, max(SHORTEST, -(-tokens // 32) * 32)))


def looks_english(guess: Guess) -> bool:
    """Whether the texts have as many of the frequent words of English as its texts have at least."""
    return guess.columns["text"].english > LITTLE_ENGLISH


def why(role: str, guess: Guess) -> str:
    """What a column looks like, and which others may be meant."""
    near = [f"{column.name!r} ({column})" for column in guess.others.get(role, ())]
    return f"{guess.columns[role]}" + (f"; not sure: it may be {' or '.join(near)}" if near else "")


def roles_table(about: str, guess: Guess, files: str = "") -> PlainTable:
    """What each role was given to, and why; ``files``: why the files are domains."""
    rows = [(role, guess.columns[role].name, why(role, guess)) for role in ROLES if role in guess.columns]
    if files:
        rows.append(("domain", FILE_NAME, files))
    elif "domain" not in guess.columns:
        rows.append(("domain", "?", NO_DOMAIN.replace("put its name here", "name it in data.domain")))
    return PlainTable(about, ("field", "column", "because it has"), tuple(rows), keys=3)


def _use(column: Column) -> str:
    if column.is_ids:
        return f" (id: {_scalar(column.name)} keeps them as names of the rows)"
    return " (could be the domain, if it matters)" if column.is_tongues else ""


def _line(name: str, value: str | float, comment: str) -> str:
    field = f"  {name}: {_scalar(value)}"
    return f"{field:<{WIDTH}} {_comment(comment)}" if comment else field


def _comment(text: str, indent: str = "") -> str:
    return f"{indent}# {' '.join(visible(text).split())}"


def _scalar(value: str | float) -> str:
    """A value as YAML reads it back."""
    dumped: str = yaml.safe_dump(value, allow_unicode=True, width=10_000)
    return dumped.removesuffix("...\n").strip()
