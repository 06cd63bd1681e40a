"""What pyproject.toml asks for, what constraints.txt pins and what docs/reliability.md says of both agree."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED = [
    Requirement(each)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for each in group
]


def lowest(requirement: Requirement) -> Version:
    (bound,) = [Version(each.version) for each in requirement.specifier if each.operator in (">=", "==")]
    return bound


def test_every_dependency_has_one_lower_bound():
    bounds: dict[str, set[Version]] = {}
    for each in ASKED:
        bounds.setdefault(canonicalize_name(each.name), set()).add(lowest(each))
    assert {name for name, found in bounds.items() if len(found) > 1} == set()


def test_every_pin_is_one_that_is_allowed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    forbidden = [
        f"{each} is pinned to {pins[name]}"
        for each in ASKED
        if (name := canonicalize_name(each.name)) in pins and not each.specifier.contains(pins[name])
    ]
    assert forbidden == []


def test_the_bounds_that_the_documentation_names_are_the_ones_there_are():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.split("## Versions with known faults", 1)[1].split("\n## ", 1)[0]
    named = dict(re.findall(r"^\| ([\w-]+)[^|]* \| (\d[\w.]*)[^|]* \|", section, re.MULTILINE))
    asked = {canonicalize_name(each.name): lowest(each) for each in ASKED}
    assert len(named) > 10
    assert {name: Version(bound) for name, bound in named.items()} == {
        name: asked[canonicalize_name(name)] for name in named
    }
