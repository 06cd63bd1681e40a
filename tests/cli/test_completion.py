"""`hrkd completion`: what shells complete, asked of the shell where there is one."""

import shutil
import subprocess

import pytest

from hrkd.cli import VERBS, main
from hrkd.deploy.export.targets import TARGETS
from hrkd.recipe.codes import CODES
from hrkd.recipe.loading import packaged_recipes
from hrkd.run.first_look import WHICH


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
entry=$(complete -p hrkd); entry=${entry##*-F }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "${entry% hrkd}"
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


def test_values_of_what_has_a_fixed_set(bash, capsys):
    """Of flags, of fields of the recipe, and of arguments."""
    assert bash(capsys, "hrkd", "export", "run", "out", "--to", "") == set(TARGETS)
    assert bash(capsys, "hrkd", "export", "run", "out", "--to", "onnx") == {"onnx", "onnx-int8"}
    assert bash(capsys, "hrkd", "errors", "run", "--which", "") == set(WHICH)
    assert bash(capsys, "hrkd", "evaluate", "run", "--split", "") == {"train", "dev", "test", "all"}
    assert bash(capsys, "hrkd", "compress", "de") == {"demo"}
    assert bash(capsys, "hrkd", "recipe", "") == set(packaged_recipes())
    assert bash(capsys, "hrkd", "explain", "D40") == {code for code in CODES if code.startswith("D40")}
    assert bash(capsys, "hrkd", "compress", "my.yaml", "--method.stages", "") == {"one", "two"}
    assert bash(capsys, "hrkd", "compress", "my.yaml", "--run.overwrite", "") == {"true", "false"}
    assert bash(capsys, "hrkd", "predict", "s", "--on-bad-row", "s") == {"stop", "skip"}


def test_other_words_are_still_taken_and_judged_by_the_library(capsys):
    assert main(["compress", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert main(["compress", "demo", "--method.stages", "three", "--dry-run"]) == 2
    assert "--method.stages: 'three' is not allowed: must be one of one, two" in capsys.readouterr().err
    assert main(["export", "run", "out", "--to", "onx"]) == 2
    assert "onnx" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "student.layers" in script


def test_another_shell_is_an_error(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err
