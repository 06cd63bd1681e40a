import logging

import pytest
from rich.console import Console

from hrkd.run.commands import train_teacher
from hrkd.support import progress
from hrkd.support.progress import Bar, Progress
from tiny import tiny_recipe


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_give_count_rate_time_left_and_note(clock, caplog):
    caplog.set_level(logging.INFO, logger="hrkd.progress")
    bar = Bar("student", 1000, "steps", lines=True)
    clock[0] += 10
    bar.advance(100)
    assert caplog.messages == []
    clock[0] += 30
    bar.advance(400, "loss 0.5")
    assert caplog.messages == ["student: 500/1000 steps, 12.5 steps/s, 40 s left, loss 0.5"]
    clock[0] += 40
    bar.advance(100)
    assert caplog.messages[1:] == ["student: 600/1000 steps, 7.5 steps/s, 53 s left"]


def test_of_an_epoch_it_is_told_what_all_of_them_take_at_most(clock, caplog):
    caplog.set_level(logging.INFO, logger="hrkd.progress")
    bar = Bar("student 1/4", 100, "steps", lines=True, later=300)
    clock[0] += 40
    bar.advance(20)
    (line,) = caplog.messages
    assert line == "student 1/4: 20/100 steps, 0.5 steps/s, 3 min left of this epoch, at most 13 min of all epochs"


def test_what_was_done_earlier_is_in_no_rate(clock, caplog):
    caplog.set_level(logging.INFO, logger="hrkd.progress")
    bar = Bar("student 1/4", 100, "steps", lines=True)
    bar.skip(50)
    clock[0] += 40
    bar.advance(20)
    assert caplog.messages == ["student 1/4: 70/100 steps, 0.5 steps/s, 60 s left"]


def test_a_bar_of_an_epoch_shows_it_too():
    console = Console(force_terminal=True, width=80, record=True)
    with Progress(console=console).bar("student 1/4", total=4, unit="steps", later=400) as bar:
        bar.advance(2, "loss 0.5")
    shown = console.export_text().rpartition("student 1/4")[2].rstrip()  # what was drawn last
    assert "2/4" in shown
    assert shown.endswith("in all, loss 0.5")
    assert len(shown) <= 80 - len("student 1/4")


def test_a_training_counts_its_later_epochs(tmp_path):
    told = []

    class Told(Progress):
        def bar(self, title, **options):
            told.append((title, options["later"]) if options["unit"] == "steps" else None)
            return super().bar(title, **options)

    train_teacher(tiny_recipe(tmp_path / "run", **{"teacher.allow_weak": True}), progress=Told(False))
    steps = [later for title, later in filter(None, told) if title.startswith("teacher ")]
    assert len(steps) > 1
    assert steps == [steps[-2] * number for number in reversed(range(len(steps)))]
    assert steps[-2] > 0


def test_short_work_and_the_end_write_no_line(clock, caplog):
    caplog.set_level(logging.INFO, logger="hrkd.progress")
    bar = Bar("student", 10, "steps", lines=True)
    bar.advance(5)
    clock[0] += 60
    bar.advance(5)
    assert caplog.messages == []


def test_a_terminal_gets_a_bar_with_the_rate():
    console = Console(force_terminal=True, width=120, record=True)
    with Progress(console=console).bar("reading", total=4, unit="texts") as bar:
        bar.advance(4, "fine")
    shown = console.export_text()
    assert "reading" in shown
    assert "texts/s, fine" in shown


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_drawn_where_there_is_no_terminal(enabled, capsys):
    with Progress(enabled).bar("reading", total=4, unit="texts") as bar:
        bar.advance(4)
    assert capsys.readouterr() == ("", "")
