import logging

import pytest
from rich.console import Console

from hrkd.support import progress
from hrkd.support.progress import Bar, Progress


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
    assert "texts/s fine" in shown


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_drawn_where_there_is_no_terminal(enabled, capsys):
    with Progress(enabled).bar("reading", total=4, unit="texts") as bar:
        bar.advance(4)
    assert capsys.readouterr() == ("", "")
