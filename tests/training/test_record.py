from dataclasses import replace

import pandas as pd
import pytest
import torch

from hrkd.support.atomic_files import CannotWriteError
from hrkd.training.record import Recorder, StepTables, last_ratios

TABLES = StepTables(
    hidden=torch.arange(6.0).reshape(3, 2),
    attention=torch.ones(2, 2),
    prediction=torch.tensor([0.5, 0.7]),
    ratios=torch.full((3, 2), 0.5),
    hierarchical=torch.ones(3, 3, 2),
)


def test_every_epoch_adds_one_file_per_table(tmp_path):
    recorder = Recorder(tmp_path, ("books", "films"))
    for epoch in (1, 2):
        recorder.add(epoch, {"loss": 1.0 * epoch}, TABLES)
        recorder.end_epoch(epoch)

    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        f"{table}/epoch-00{epoch}.parquet"
        for table in ("steps", "levels", "hierarchy", "predictions")
        for epoch in (1, 2)
    }
    steps = pd.read_parquet(tmp_path / "steps")
    assert steps.to_dict("list") == {"step": [1, 2], "loss": [1.0, 2.0], "epoch": [1, 2]}
    levels = pd.read_parquet(tmp_path / "levels").query("step == 1")
    assert levels["hidden"].tolist() == [0, 1, 2, 3, 4, 5]
    assert levels["attention"].isna().tolist() == [True, True, False, False, False, False]
    assert len(pd.read_parquet(tmp_path / "hierarchy").query("step == 1")) == 6 * 2


def test_ratios_are_told_of_the_last_epoch(tmp_path):
    recorder = Recorder(tmp_path, ("films", "books"))
    for epoch, shares in ((1, (0.9,)), (2, (0.2, 0.4))):
        for step, share in enumerate(shares):
            ratios = torch.tensor([[share, 1 - share], [0.5, 0.5], [1 - share, share]])
            recorder.add(10 * epoch + step, {"loss": 1.0}, replace(TABLES, ratios=ratios))
        recorder.end_epoch(epoch)
    found = {(row["level"], row["domain"]): (row["mean"], row["std"]) for row in last_ratios(tmp_path)}
    assert len(found) == 6
    assert found[0, "films"] == pytest.approx((0.3, 0.1))
    assert found[2, "films"] == pytest.approx((0.7, 0.1))
    assert found[1, "books"] == (0.5, 0.0)


def test_a_single_step_has_no_deviation(tmp_path):
    recorder = Recorder(tmp_path, ("books", "films"))
    recorder.add(1, {"loss": 1.0}, TABLES)
    recorder.end_epoch(1)
    assert {row["std"] for row in last_ratios(tmp_path)} == {None}


def test_relations_say_who_looks_at_whom(tmp_path):
    recorder = Recorder(tmp_path, ("books", "films"))
    relations = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]).expand(3, 2, 2)
    recorder.add(1, {"loss": 1.0}, replace(TABLES, relations=relations))
    recorder.end_epoch(1)
    table = pd.read_parquet(tmp_path / "relations").query("level == 1").set_index(["domain", "other"])["weight"]
    found = {pair: round(weight, 6) for pair, weight in table.items()}
    assert found == {
        ("books", "books"): 0.9,
        ("books", "films"): 0.1,
        ("films", "books"): 0.3,
        ("films", "films"): 0.7,
    }


def test_only_every_so_many_steps_are_kept(tmp_path):
    recorder = Recorder(tmp_path, ("books", "films"), every=3)
    for step in range(1, 8):
        recorder.add(step, {"loss": 0.0}, None)
    recorder.end_epoch(1)
    assert pd.read_parquet(tmp_path / "steps")["step"].tolist() == [1, 4, 7]
    assert [path.name for path in tmp_path.iterdir()] == ["steps"]


def test_a_write_that_fails_leaves_the_older_file_and_no_other(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path, ("books", "films"))
    recorder.add(1, {"loss": 1.0}, None)
    recorder.end_epoch(1)

    def fails(frame, path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fails)
    recorder.add(1, {"loss": 2.0}, None)
    with pytest.raises(CannotWriteError, match="disk full"):
        recorder.end_epoch(1)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["epoch-001.parquet"]
    assert pd.read_parquet(tmp_path / "steps")["loss"].tolist() == [1.0]
