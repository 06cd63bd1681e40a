"""Amazon reviews in the files in which they are passed around, with labels and without; see also ``research.py``."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from hrkd.data.readers.research import a_text_in_each_line, check_files
from hrkd.data.readers.text_files import decode_lenient, read_lines
from hrkd.data.rows import RawRows
from hrkd.errors import DataError
from hrkd.support.messages import first_of, repeated_in

__all__ = ["amazon_root", "extra_files", "read_amazon_extra", "read_amazon_reviews", "read_amazon_unlabelled"]

FOLDER = "sorted_data_acl"
NAMES = {"kitchen_&_housewares": "kitchen"}
LABELS = ("negative", "positive")
LONG_NUMBER = re.compile("&#([0-9]{8,});?")


def amazon_root(folder: Path) -> Path | None:
    """The folder with ``*/positive.review``: ``folder`` itself or its ``sorted_data_acl``; None if neither."""
    candidates = (folder, folder / FOLDER)
    return next((c for c in candidates if any(c.glob("*/positive.review")) or any(c.glob("*/negative.review"))), None)


def read_amazon_reviews(folder: Path) -> RawRows:
    """Amazon Reviews of Blitzer et al. (ACL 2007): ``{domain}/{positive,negative}.review``.

    The files look like XML and are not, so they are read by lines: tags stand alone on theirs. The text is the
    body of the review (not its title) with HTML entities resolved, U+FEFF removed and white space collapsed. The
    label is the name of the file, the domain that of the folder (``kitchen_&_housewares``: ``kitchen``); ids are
    ``books/negative#17``.

    Raises:
        DataError: no such files, one of the two missing in a domain, or a review that is not complete.
    """
    root = _amazon_root(folder)
    domains = sorted({file.parent for label in LABELS for file in root.glob(f"*/{label}.review")})
    files = [domain / f"{label}.review" for domain in domains for label in LABELS]
    check_files(files, root)
    return _read_reviews(root, files)


def read_amazon_unlabelled(folder: Path) -> RawRows:
    """The ``{domain}/unlabeled.review`` of the same archive; without any, its labelled reviews.

    Raises:
        DataError: as :func:`read_amazon_reviews`.
    """
    root = _amazon_root(folder)
    files = sorted(root.glob("*/unlabeled.review"))
    check_files(files, root)
    return _read_reviews(root, files) if files else read_amazon_reviews(folder)


def _amazon_root(folder: Path) -> Path:
    root = amazon_root(folder)
    if root is None:
        raise DataError(f"{folder}: expected folders of domains with positive.review and negative.review, found none")
    return root


def _read_reviews(root: Path, files: Sequence[Path]) -> RawRows:
    """The reviews of files ``{domain}/{label}.review``."""
    places: list[str] = []
    texts: list[str] = []
    labels: list[str] = []
    domains: list[str] = []
    faults: list[str] = []
    empty: list[str] = []
    folders = {file.parent.name: _domain_of(file) for file in files}
    if again := repeated_in(folders.values()):
        twice = [name for name, domain in folders.items() if domain in again]
        raise DataError(f"{root}: the folders {first_of(twice)} are of one domain; put their reviews together")
    for file in files:
        name, label = _domain_of(file), file.stem
        bodies, lines = _review_bodies(read_lines(file))
        faults += [f"{file.parent.name}/{file.name}:{line}" for line in lines]
        if not bodies and not lines:
            empty.append(f"{file.parent.name}/{file.name}")
        places += [f"{name}/{label}#{n}" for n in range(1, len(bodies) + 1)]
        texts += bodies
        labels += [label] * len(bodies)
        domains += [name] * len(bodies)
    if faults:
        raise DataError(
            f"{root}: review without <review_text>, </review_text> or </review>, or with one twice, at "
            f"{first_of(faults)} (file:line); the file seems cut off or damaged"
        )
    if empty:
        raise DataError(f"{root}: no <review> in {first_of(empty)}; expected one such line before each review")
    return RawRows(places, texts, labels, domains)


def _domain_of(file: Path) -> str:
    """The domain of a file of Amazon reviews."""
    return NAMES.get(file.parent.name, file.parent.name)


def extra_files(folder: Path) -> list[Path]:
    """Files ``{domain}/review_{positive,negative,unlabeled}``, plain or with ``.gz``, sorted."""
    names = {f"review_{kind}{suffix}" for kind in (*LABELS, "unlabeled") for suffix in ("", ".gz")}
    return sorted(file for file in folder.glob("*/review_*") if file.name in names)


def read_amazon_extra(folder: Path) -> RawRows:
    """Further Amazon reviews, of Li et al. (AAAI 2018): a review ``title. body`` in each line of :func:`extra_files`.

    Texts are cleaned as those of :func:`read_amazon_reviews`, domains are called as there; the labels that the names of
    the files hold are not looked at. Lines without text are left out, with a log entry. Ids are
    ``books/review_positive.gz#17``, with the number of the line.

    Raises:
        DataError: no such files, or one that is damaged.
    """
    files = extra_files(folder)
    if not files:
        raise DataError(f"{folder}: expected folders of domains with review_positive and review_negative, found none")
    check_files(files, folder)
    named = ((file, _domain_of(file)) for file in files)
    return a_text_in_each_line(((file, f"{name}/{file.name}", name) for file, name in named), _clean)


def _review_bodies(lines: Sequence[bytes]) -> tuple[list[str], list[int]]:
    """Texts of the complete reviews, and the first lines of incomplete ones."""
    bodies: list[str] = []
    faults: list[int] = []
    opened = 0  # line of the <review> that is being read; 0: none
    body: list[str] | None = None
    inside = False
    for number, line in enumerate(lines, 1):
        tag = line.strip()
        if inside and tag not in (b"</review_text>", b"</review>", b"<review>"):
            assert body is not None
            body.append(decode_lenient(line))
        elif tag == b"<review>":
            if opened:
                faults.append(opened)
            opened, body, inside = number, None, False
        elif tag == b"<review_text>":
            if body is not None or not opened:  # a second text of a review, or one of none: rows would be lost
                faults.append(opened or number)
            body, inside = [], True
        elif tag == b"</review_text>":
            inside = False
        elif tag == b"</review>":
            if opened and body is not None and not inside:
                bodies.append(_clean("\n".join(body)))
            else:
                faults.append(opened or number)
            opened, body, inside = 0, None, False
    return bodies, [*faults, opened] if opened else faults


def _clean(text: str) -> str:
    # Python makes no number of more than 4,300 digits. One of eight, without zeros before it, names no character.
    text = LONG_NUMBER.sub(lambda found: f"&#{found[1].lstrip('0')[:8] or 0};", text)
    return " ".join(html.unescape(text).replace("\ufeff", "").split())
