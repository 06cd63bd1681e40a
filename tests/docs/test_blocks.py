"""Every block of code of the README and the documentation is run, in order, page by page (make test-docs)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.blocks import RUN, SHOWN, blocks_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"records", "_build"} & set(page.parts)]
WITH_CODE = [page for page in PAGES if any(block.language in RUN for block in blocks_of(page))]
ENCODERS = ("bert-base-uncased", "nreimers/MiniLM-L6-H384-uncased")
"""What pages call their teachers: folders of a tiny one here, whose weights are random."""
PRELUDE = (
    'hrkd() { if [ "$1" = compress ]; then command hrkd "$@" --teacher.allow_weak true; else command hrkd "$@"; fi; }'
)
"""Such a teacher may well stay at chance, which would end a run."""


def test_no_block_is_of_a_kind_that_nobody_runs():
    kinds = {(block.page, block.language) for page in PAGES for block in blocks_of(page)}
    assert [each for each in kinds if each[1] not in (*RUN, *SHOWN)] == []


def test_blocks_that_are_not_run_are_few_and_have_a_reason():
    left = [block for page in PAGES for block in blocks_of(page) if block.reason is not None]
    assert all(len(block.reason.split()) >= 3 for block in left)
    assert len(left) <= 12


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A folder with what pages speak of: tables, encoders, a finished run, and an export."""
    folder = tmp_path_factory.mktemp("workshop")
    make = [sys.executable, str(Path(__file__).with_name("workshop.py")), str(folder), *ENCODERS]
    subprocess.run(make, check=True, env=_environment())
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


def _environment():
    binaries = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
    }


@pytest.mark.docs
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, workshop, tmp_path, monkeypatch):
    from_nothing = (
        shutil.ignore_patterns("*.csv", "*.yaml", "runs", "small") if page.parent.name == "tutorial" else None
    )
    folder = shutil.copytree(workshop, tmp_path / "here", symlinks=True, ignore=from_nothing)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", _environment()["PATH"])
    names = {"__name__": "page"}
    for block in blocks_of(page):
        where = f"{block.page}:{block.line}"
        if block.reason is not None or block.language not in RUN:
            continue
        if block.language == "yaml":
            content = yaml.safe_load(block.body)
            assert isinstance(content, dict), where
            if named := re.match(r"#\s*([\w./-]+\.ya?ml)\b", block.body):
                Path(named[1]).write_text(block.body)
        elif block.language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", f"{PRELUDE}\n{block.body}"],
                capture_output=True,
                text=True,
                env=_environment(),
            )
            assert done.returncode == 0, f"{where}\n{block.body}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        else:
            exec(compile(block.body, where, "exec"), names)


@pytest.mark.docs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(notebook, workshop, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    folder = shutil.copytree(workshop, tmp_path / "here", symlinks=True)
    content = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in content.cells), "outputs are made where it is run"
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
