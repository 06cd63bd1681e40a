import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_every_dependency_is_pinned_exactly_and_without_a_local_build():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {name_of(each) for each in wanted} <= {name_of(line) for line in lines}


def test_the_makefile_explains_its_targets():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()
    explained = re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE)
    assert set(phony) - set(explained) == {"pytest"}


def test_contributing_names_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^(?:make |.*`make )([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert {"setup", "test", "lint"} <= named <= targets


WRITTEN = ("cli.md", "recipe.md", "findings.md")
"""Pages that are written when the site is built."""
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES += sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if not {"records", "_build"} & set(page.parts) and page.name not in WRITTEN
)


def test_lines_of_pages_fit_a_screen():
    """Tables are what they are."""
    long = [
        f"{page.name}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120 and not line.startswith("|")
    ]
    assert long == []


def test_files_that_contributors_are_sent_to_exist():
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"):
        named = set(
            re.findall(r"`(?:src/hrkd/)?((?:[a-z_]+/)+(?:[a-z_]+\.[a-z]+)?)`", page.read_text(encoding="utf-8"))
        )
        below = {"tests", "docs", "benchmarks", "examples", "runs", "teacher", "src", "predictions"}
        missing = [
            name
            for name in sorted(named)
            if not (ROOT / ("" if name.split("/")[0] in below else "src/hrkd") / name).exists()
        ]
        assert [name for name in missing if not name.startswith(("runs/", "teacher/", "predictions/"))] == [], page
        assert len(named) > 10, page


def test_every_module_is_on_the_map():
    """The table of layers in docs/architecture.md names each module, beside its layer."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_/]+)/` \|(.*)$", text, re.MULTILINE))
    package = ROOT / "src" / "hrkd"
    modules = {path.relative_to(package) for path in package.glob("*/**/*.py") if path.name != "__init__.py"}
    for layer in {path.parent.as_posix() for path in modules}:
        there = {path.stem for path in modules if path.parent.as_posix() == layer}
        assert set(re.findall(r"`([a-z_]+)`", rows[layer])) == there, layer


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_what_make_runs_writes_bytecode_whatever_the_environment_says():
    done = subprocess.run(
        ["make", "--no-print-directory", "--eval", "environment: ; @env", "environment"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "KEPT": "yes"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "KEPT=yes" in done.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout
