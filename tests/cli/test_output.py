"""Standard output of every verb: full, closed, of few characters, or a pipe that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

VERBS = [["--version"], ["--help"], ["recipe", "demo"], ["recipe"], ["cache", "--folder", "none"], ["data", "demo"]]
DISK_IS_FULL = "/dev/full"
"""A device that is only opened to be written to."""


def hrkd(*arguments, folder, redirect="", **environment):
    command = f'"{sys.executable}" -m hrkd "$@" {redirect}'
    return subprocess.run(
        ["sh", "-c", command, "sh", *arguments],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.skipif(not Path(DISK_IS_FULL).exists(), reason="a system without such a device")
@pytest.mark.parametrize("arguments", VERBS, ids=" ".join)
def test_a_full_disk_is_one_error(arguments, tmp_path):
    done = hrkd(*arguments, folder=tmp_path, redirect=f"> {DISK_IS_FULL}")
    assert done.returncode == 2
    errors = [line for line in done.stderr.decode().splitlines() if line[2:3] != ":"]  # without log lines
    assert errors == ["error: standard output: cannot be written (No space left on device)"]


@pytest.mark.parametrize("arguments", [VERBS[0], VERBS[2], ["evaluate", "x"], ["predict", "x", "a text"]], ids=" ".join)
def test_a_closed_output_is_told_before_anything_is_done(arguments, tmp_path):
    done = hrkd(*arguments, folder=tmp_path, redirect=">&-")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: standard output: closed; let it lead somewhere")
    assert hrkd(*arguments, folder=tmp_path, redirect=">&- 2>&-").returncode == 2


def test_errors_that_nobody_wants_to_know_are_no_fault(tmp_path):
    done = hrkd("recipe", "demo", folder=tmp_path, redirect="2>&-")
    assert (done.returncode, done.stdout[:1]) == (0, b"#")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_the_output_does_not_have_are_escaped(encoding, tmp_path):
    rows = [
        f"{word} number {i},{label},\u4e66\n" for i in range(20) for word, label in (("good", "yes"), ("bad", "no"))
    ]
    (tmp_path / "rows.csv").write_text("text,label,domain\n" + "".join(rows), encoding="utf-8")
    flags = ["data", "--data.source", "rows.csv"]
    done = hrkd(*flags, folder=tmp_path, PYTHONIOENCODING=encoding, HRKD_CACHE=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout.count(b"\\u4e66") > 0) == (0, True), done.stderr


def test_a_reader_that_has_gone_is_no_error(tmp_path):
    done = hrkd("recipe", "--schema", folder=tmp_path, redirect="| true; exec 1>&-")
    assert done.stderr == b""
