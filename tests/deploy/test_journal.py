"""A table whose labelling was interrupted goes on where it stopped, to the very same output."""

import csv
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from hrkd.deploy import journal
from hrkd.deploy.engines.torch_engine import TorchEngine
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor
from hrkd.errors import ArtifactError, DataError
from hrkd.support.manifest import write_manifest

ROWS = 3500


@pytest.fixture(scope="module")
def predictor(student, tokenizer):
    return Predictor(TorchEngine(student, tokenizer))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Rows of four chunks, of which some cannot be labelled."""
    path = tmp_path_factory.mktemp("table") / "in.csv"
    words = ("good book", "bad film", "a very bad plot", "the song is good", " ")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["nr", "text", "domain"])
        writer.writerows((n, words[n % 5], ("books", "music")[n % 2]) for n in range(ROWS))
    return path


def label(predictor, table, output, **options):
    return predict_file(predictor, table, output, on_bad_row="blank", **options)


@pytest.fixture(scope="module")
def expected(predictor, table, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "out.csv"
    label(predictor, table, output)
    return output.read_bytes()


class Interrupted(Predictor):
    """Ends within the third chunk."""

    calls = 0

    def answers(self, asked, *, batch_size=64):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().answers(asked, batch_size=batch_size)


class Counting(Predictor):
    """Counts texts."""

    count = 0

    def answers(self, asked, *, batch_size=64):
        self.count += len(asked.texts)
        return super().answers(asked, batch_size=batch_size)


@pytest.fixture
def interrupted(predictor, table, tmp_path):
    """An output that is not there yet, and its journal of two chunks."""
    with pytest.raises(KeyboardInterrupt):
        label(Interrupted(predictor.engine), table, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == [".out.csv.hrkd-journal"]
    return tmp_path / "out.csv"


def counting(predictor):
    return Counting(predictor.engine)


def test_finished_chunks_are_not_predicted_again(predictor, table, interrupted, expected, caplog):
    again = counting(predictor)
    with caplog.at_level(logging.INFO, logger="hrkd"):
        assert label(again, table, interrupted) == ROWS * 4 // 5
    assert again.count == (ROWS - 2000) * 4 // 5
    assert "goes on after 1,600 rows" in caplog.text
    assert interrupted.read_bytes() == expected
    assert [path.name for path in interrupted.parent.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-50] + b"x" * 49 + b"\n"])
def test_a_damaged_end_is_predicted_again(predictor, table, interrupted, expected, damage):
    kept = interrupted.parent / ".out.csv.hrkd-journal"
    kept.write_bytes(damage(kept.read_bytes()))
    again = counting(predictor)
    label(again, table, interrupted)
    assert again.count == (ROWS - 1000) * 4 // 5
    assert interrupted.read_bytes() == expected


@pytest.mark.parametrize("change", ["input", "model", "batch_size", "domain"])
def test_what_would_change_the_answers_begins_anew(
    predictor, new_student, table, interrupted, tmp_path, change, caplog
):
    options, model = {}, predictor.engine.model
    if change == "input":
        table = tmp_path / "in.csv"
        table.write_text("nr,text,domain\n" + "1,good,books\n" * 2000)
    elif change == "model":
        model = new_student()
        model.heads[0].classifier.classifier.bias.data += 0.1
    else:
        options = {change: {"batch_size": 7, "domain": "music"}[change]}
    again = Counting(TorchEngine(model, predictor.engine.tokenizer))
    with caplog.at_level(logging.INFO, logger="hrkd"):
        labelled = label(again, table, interrupted, **options)
    assert again.count == labelled
    assert "of another model, input or options; begins anew" in caplog.text
    plain = tmp_path / "plain.csv"
    label(Predictor(TorchEngine(model, predictor.engine.tokenizer)), table, plain, **options)
    assert interrupted.read_bytes() == plain.read_bytes()


def test_the_same_answers_serve_another_form_of_output(predictor, table, interrupted):
    again = counting(predictor)
    predict_file(again, table, interrupted, on_bad_row="skip", all_labels=True, prefix="p_")
    assert again.count == (ROWS - 2000) * 4 // 5


def test_what_is_no_journal_stays(predictor, table, tmp_path):
    note = tmp_path / ".out.csv.hrkd-journal"
    note.write_text("mine\n")
    with pytest.raises(DataError, match="no journal of hrkd predict, which would write one there; move or rename it"):
        label(predictor, table, tmp_path / "out.csv")
    assert note.read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == [note.name]


def test_an_error_before_the_first_chunk_leaves_nothing(predictor, table, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "answers", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        label(predictor, table, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from hrkd.deploy.label_table import predict_file
from hrkd.deploy.predict import Predictor

class Killed(Predictor):
    calls = 0
    def answers(self, asked, *, batch_size=64):
        self.calls += 1
        if self.calls == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answers(asked, batch_size=batch_size)

predict_file(Killed.from_pretrained(sys.argv[1], device="cpu"), *sys.argv[2:], on_bad_row="blank")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_killed_process_leaves_what_the_next_one_takes_up_and_clears(student_folder, table, tmp_path, expected):
    output, mine = tmp_path / "out.csv", tmp_path / ".out.csv-abcd1234"
    mine.write_text("looks like a half output, but no journal names it")
    command = [sys.executable, "-c", KILLED, student_folder, table, output]
    assert subprocess.run(command, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 3
    again = Counting.from_pretrained(student_folder, device="cpu")
    label(again, table, output)
    assert again.count == (ROWS - 3000) * 4 // 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, "out.csv"]
    assert output.read_bytes() == expected


def test_two_at_a_time_are_refused(predictor, table, tmp_path):
    class Second(Predictor):
        def answers(self, asked, *, batch_size=64):
            with pytest.raises(DataError, match=r"out\.csv: another hrkd predict is writing it"):
                label(predictor, table, tmp_path / "out.csv")
            return super().answers(asked, batch_size=batch_size)

    label(Second(predictor.engine), table, tmp_path / "out.csv")


def test_an_export_goes_on_where_it_stopped(exported, table, tmp_path, caplog):
    """It is known by its files: another one, or the student itself, begins anew."""
    whole, output = tmp_path / "whole.csv", tmp_path / "out.csv"
    label(Predictor.from_pretrained(exported), table, whole)
    with pytest.raises(KeyboardInterrupt):
        label(Interrupted.from_pretrained(exported), table, output)
    again = Counting.from_pretrained(exported, threads=1)
    label(again, table, output)
    assert again.count == (ROWS - 2000) * 4 // 5
    assert output.read_bytes() == whole.read_bytes()
    other = shutil.copytree(exported, tmp_path / "other")
    (other / "tokenizer_config.json").write_text("{}")
    write_manifest(other)
    output.unlink()
    with pytest.raises(KeyboardInterrupt):
        label(Interrupted.from_pretrained(exported), table, output)
    again = Counting.from_pretrained(other)
    with caplog.at_level(logging.INFO, logger="hrkd"):
        assert label(again, table, output) == again.count
    assert "begins anew" in caplog.text


def test_who_waits_for_one_that_ends_locks_the_file_that_is_there(tmp_path, monkeypatch):
    """Between opening and locking a journal, its owner may end and remove it."""
    right, calls = journal._lock, []

    def late(file, output):
        if not calls:
            (tmp_path / ".out.csv.hrkd-journal").unlink()
        calls.append(file)
        right(file, output)

    monkeypatch.setattr(journal, "_lock", late)
    with journal.journal_of(tmp_path / "out.csv", "key"):
        assert calls[0].closed
        with (
            pytest.raises(DataError, match="another hrkd predict is writing it"),
            journal.journal_of(tmp_path / "out.csv", "key"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_what_is_kept(predictor, table, tmp_path, expected):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(
            ArtifactError,
            match=r"cannot be written: .*\.out\.csv\.hrkd-journal keeps what was found so far",
        ):
            label(predictor, table, tmp_path / "out.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = counting(predictor)
    label(again, table, tmp_path / "out.csv")
    assert 0 < again.count < ROWS * 4 // 5
    assert (tmp_path / "out.csv").read_bytes() == expected
