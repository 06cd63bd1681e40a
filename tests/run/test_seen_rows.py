"""A fine-tuned teacher that has seen dev or test rows, under whatever ids."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.split import save_split_ids, split_domains
from hrkd.errors import ArtifactError
from hrkd.run.folder import splits_beside
from hrkd.run.teacher import _check_not_seen, parts_it_may_have_seen


def frame(rows: int, start: int = 0) -> pd.DataFrame:
    numbers = range(start, start + rows)
    return pd.DataFrame(
        {
            "text": [f"text {n}" for n in numbers],
            "label": ["pos" if n % 2 else "neg" for n in numbers],
            "domain": ["x" if n % 4 < 2 else "y" for n in numbers],
        }
    )


def context(table: pd.DataFrame, seed: int) -> Any:
    return SimpleNamespace(data=SimpleNamespace(splits=split_domains(load_domains(table), seed=seed)))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The folder of a teacher of another run."""
    save_split_ids(split_domains(load_domains(frame(80)), seed=1), tmp_path / "splits.json")
    folder = tmp_path / "teacher"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("given", "drawn"), [({}, ("dev", "test")), ({"test": 9}, ("dev",)), ({"test": 9, "dev": 7}, ())]
)
def test_what_a_stranger_may_have_seen_is_what_is_drawn_here(
    tmp_path: Path, teacher: Path, given: dict[str, int], drawn: tuple[str, ...]
) -> None:
    table = frame(80)
    for name, step in given.items():
        table.loc[::step, "split"] = name
    if given:
        table["split"] = table["split"].fillna("train")
    here: Any = SimpleNamespace(
        recipe=SimpleNamespace(teacher=SimpleNamespace(fine_tuned=str(tmp_path / "elsewhere" / "deep" / "model"))),
        external_teacher=None,
        data=SimpleNamespace(splits=split_domains(load_domains(table, split="split" if given else None))),
    )
    assert parts_it_may_have_seen(here) == drawn
    here.recipe.teacher.fine_tuned = {"x": str(teacher), "y": str(teacher)}
    assert parts_it_may_have_seen(here) == (), "its split is known, and was looked at"


def test_the_same_split_under_other_ids_is_fine(teacher: Path) -> None:
    _check_not_seen(context(frame(80)[::-1], 1), teacher)


@pytest.mark.parametrize(
    "table", [frame(80), frame(80)[::-1], frame(84), frame(80).assign(text=lambda t: t.text.str.upper())]
)
def test_the_same_rows_in_another_split_are_refused(teacher: Path, table: pd.DataFrame) -> None:
    with pytest.raises(
        ArtifactError, match=r"trained on \d+ of the rows that are dev or test here \(such as row#\d+\)"
    ):
        _check_not_seen(context(table, 2), teacher)


def test_a_text_or_two_in_common_is_told(teacher: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hrkd"):
        _check_not_seen(context(frame(80, start=70), 2), teacher)
    told = [record for record in caplog.messages if "are dev or test here" in record]
    assert all("trained on" in record for record in told)
    caplog.clear()
    _check_not_seen(context(frame(80, start=80), 2), teacher)
    assert caplog.messages == []


def test_a_splits_file_with_ids_alone_is_compared_by_ids(teacher: Path) -> None:
    path = teacher.parent / "splits.json"
    content = json.loads(path.read_text())
    del content["texts"]
    path.write_text(json.dumps(content | {"version": 1}))
    with pytest.raises(ArtifactError, match="trained on"):
        _check_not_seen(context(frame(80), 2), teacher)
    _check_not_seen(context(frame(80), 1), teacher)


def test_a_name_on_the_hub_has_no_split_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies where the command is given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits.json").write_text("{}")
    assert splits_beside(Path("somebody/a-model")) is None
    (tmp_path / "teacher").mkdir()
    assert splits_beside(Path("teacher")) == Path("splits.json")
