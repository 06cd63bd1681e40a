"""`hrkd completion`: what shells complete, asked of the shell where there is one."""

import shutil
import subprocess

import pytest

from hrkd.cli import VERBS, main


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """What bash completes of the words of a command line, the last of which is not finished."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    script = tmp_path_factory.mktemp("completion") / "hrkd.bash"

    def complete(capsys, *words):
        if not script.is_file():
            assert main(["completion", "bash"]) == 0
            script.write_text(capsys.readouterr().out)
        code = """
source "$1"; shift
entry=($(complete -p hrkd)); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "${entry[2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
        told = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", str(script), *words], capture_output=True, text=True, check=True
        )
        return set(told.stdout.split())

    return complete


def test_verbs(bash, capsys):
    assert bash(capsys, "hrkd", "") >= set(VERBS)
    assert bash(capsys, "hrkd", "train-") == {"train-teacher", "train-baseline"}


def test_flags_of_the_verb(bash, capsys):
    assert bash(capsys, "hrkd", "compress", "my.yaml", "--student.la") == {"--student.layers", "--student.layer_map"}
    assert bash(capsys, "hrkd", "export", "run", "out", "--all") == {"--allowance"}
    assert bash(capsys, "hrkd", "cache", "--student") == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "student.layers" in script


def test_another_shell_is_an_error(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
