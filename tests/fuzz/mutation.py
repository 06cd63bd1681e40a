"""New inputs from known ones: bytes, words and values of JSON exchanged, repeated, cut and put together."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from fuzz.harness import MOST_BYTES, Target

MOST_KEPT = 3000
"""Inputs that are kept to be changed further."""
LONG = 1 << 13
"""Bytes of what is repeated, at most."""
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -0.0, 1e308, 5e-324, 10**18, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "a",
        "\0",
        "\ud800",
        "\udcff",
        "é",
        "\u2028",
        "a" * 300,
        "x/y",
        "../x",
        "..",
    ),
    *("/etc/passwd", "C:\\x", "a:b", "CON", "x.", "x ", "\\\\host\\share", "..\\x", "1", "1.0", "text", "auto"),
    *([], {}, [[]], [{}], {"": ""}, {"a": []}, [0] * 50, ["a", "a"], [None], [1, "1", 1.0, True]),
)
WORDS: tuple[bytes, ...] = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"\xe9", b"\x80"),
    *(b"\r", b"\n", b"\r\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\x80\x04\x95"),
    *(b'"', b'""', b"'", b",", b";", b"\t", b"|", b":", b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"\\u0000"),
    *(b"NaN", b"Infinity", b"1e999", b"-", b"0", b"9" * 30, b"9" * 4500, b"true", b"null", b"<!doctype html>"),
)
LETTERS = (*(bytes([c]) for c in range(32, 127)), b"\n", b"\t")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(word: bytes) -> bool:
    return _is_utf8(word) and (word.decode().isprintable() or word in (b"\r", b"\n", b"\r\n", b"\t"))


class Mutator:
    """Makes inputs for ever, the same ones for the same ``seed`` and the same answers."""

    def __init__(self, target: Target, seed: int = 0) -> None:
        self.kept = list(target.seed_list()) or [b""]
        self.words = (*WORDS, *target.words, *target.words)
        self.plain_words = tuple(word for word in self.words if _is_text(word))
        self.form = target.form
        self.random = random.Random(seed)

    def keep(self, data: bytes) -> None:
        """Change this one further, too; of what is no text where a text is expected, one in twenty."""
        if self.form != "bytes" and not _is_utf8(data) and self.random.random() > 0.05:
            return
        if len(self.kept) < MOST_KEPT:
            self.kept.append(data)
        else:
            self.kept[self.random.randrange(MOST_KEPT)] = data

    def __iter__(self) -> Iterator[bytes]:
        yield from list(self.kept)
        while True:
            yield self.next()

    def next(self) -> bytes:
        """One more."""
        draw = self.random
        data = draw.choice(self.kept)
        if self.form == "json" and draw.random() < 0.7:
            data = self._other_json(data)
            if draw.random() < 0.8:
                return data[:MOST_BYTES]
        changes = CHANGES if self.form == "bytes" or draw.random() < 0.3 else GENTLE
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 5))):
            data = draw.choice(changes)(self, data)
        return data[:MOST_BYTES]

    def _place(self, data: bytes) -> int:
        return self.random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + int(self.random.paretovariate(0.7)))

    def flip(self, data: bytes) -> bytes:
        if not data:
            return b"\0"
        place = self.random.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << self.random.randrange(8))]) + data[place + 1 :]

    def overwrite(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self.random.randbytes(end - start) + data[end:]

    def remove(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def insert(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.random.choice(self.words) + data[place:]

    def insert_text(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.random.choice(self.plain_words) + data[place:]

    def letter(self, data: bytes) -> bytes:
        place = self._place(data)
        return data[:place] + self.random.choice(LETTERS) + data[place + 1 :]

    def exchange_text(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self.random.choice(self.plain_words) + data[end:]

    def exchange(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + self.random.choice(self.words) + data[end:]

    def repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        piece = data[start:end] or self.random.choice(self.words)
        times = self.random.choice((2, 2, 3, 10, 100, 1000))
        return data[:end] + piece * max(1, min(times, LONG // len(piece))) + data[end:]

    def repeat_line(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        place = self.random.randrange(len(lines))
        return b"\n".join([*lines[:place], lines[place], *lines[place:]])

    def swap_lines(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        one, other = (self.random.randrange(len(lines)) for _ in range(2))
        lines[one], lines[other] = lines[other], lines[one]
        return b"\n".join(lines)

    def cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def splice(self, data: bytes) -> bytes:
        other = self.random.choice(self.kept)
        return data[: self._place(data)] + other[self._place(other) :]

    def number(self, data: bytes) -> bytes:
        """Four or eight bytes of a header become a number that is often a bound."""
        size = self.random.choice((1, 2, 4, 8))
        value = self.random.choice((0, 1, -1, 127, 255, 1 << 15, 1 << 31, (1 << 31) - 1, (1 << 63) - 1, len(data)))
        place = self._place(data)
        number = (value % (1 << 8 * size)).to_bytes(size, "little")
        return data[:place] + number + data[place + size :]

    def recode(self, data: bytes) -> bytes:
        """Rarely, the whole in another encoding."""
        if self.random.random() > 0.1:
            return self.flip(data)
        encoding = self.random.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp1252"))
        return data.decode("utf-8", "replace").encode(encoding, "replace")

    def _other_json(self, data: bytes) -> bytes:
        """A JSON text with a value or a key that is another one; other bytes as they are."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            return data
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            content = self._other_value(content)
        try:
            text = json.dumps(content, ensure_ascii=self.random.random() < 0.5)
        except (ValueError, RecursionError):
            return data
        if self.random.random() < 0.03:
            depth = self.random.choice((40, 150, 250, 990, 5000))
            inside = self.random.choice(("0", '"a"', "[]"))
            text = text.replace(inside, "[" * depth + inside + "]" * depth, 1)
        return text.encode("utf-8", "surrogatepass")

    def _other_value(self, content: Any) -> Any:
        draw = self.random
        if not isinstance(content, dict | list) or not content or draw.random() < 0.15:
            return self._new(content)
        if isinstance(content, list):
            place = draw.randrange(len(content))
            kind = draw.random()
            if kind < 0.1:
                return content[:place] + content[place + 1 :]
            if kind < 0.2:
                return [*content, *[content[place]] * draw.choice((1, 2, 100))]
            return [*content[:place], self._other_value(content[place]), *content[place + 1 :]]
        key = draw.choice(list(content))
        kind = draw.random()
        if kind < 0.1:
            return {k: v for k, v in content.items() if k != key}
        if kind < 0.2:
            name = draw.choice([v for v in VALUES if isinstance(v, str)])
            return {name if k == key else k: v for k, v in content.items()}
        if kind < 0.25:
            return content | {str(draw.choice(VALUES)): content[key]}
        return content | {key: self._other_value(content[key])}

    def _new(self, old: Any) -> Any:
        draw = self.random
        if isinstance(old, int | float) and not isinstance(old, bool) and draw.random() < 0.4:
            try:
                return draw.choice((old + 1, old - 1, -old, old * 1000, float(old), str(old)))
            except OverflowError:
                return 0
        if isinstance(old, str) and draw.random() < 0.3:
            return draw.choice((old + old, old.upper(), old[:-1], f" {old}", f"../{old}", f"{old}\0", f"{old}."))
        return draw.choice(VALUES)


CHANGES: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    *(Mutator.flip, Mutator.overwrite, Mutator.remove, Mutator.insert, Mutator.insert, Mutator.exchange),
    *(Mutator.exchange, Mutator.repeat, Mutator.repeat_line, Mutator.swap_lines, Mutator.cut, Mutator.splice),
    *(Mutator.number, Mutator.recode),
)
GENTLE: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    *(Mutator.insert_text, Mutator.insert_text, Mutator.letter, Mutator.exchange_text, Mutator.repeat),
    *(Mutator.repeat_line, Mutator.repeat_line, Mutator.swap_lines, Mutator.splice, Mutator.remove),
)
"""Changes after which a text is one still."""
