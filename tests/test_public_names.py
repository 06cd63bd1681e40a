import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import hrkd

NAMES = [name for name in hrkd.__all__ if name != "__version__"]


def test_names_are_sorted_and_complete():
    assert hrkd.__all__ == sorted(hrkd.__all__)
    assert sorted(hrkd._HOMES) == NAMES
    assert set(hrkd.__all__) <= set(dir(hrkd))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_defined_and_public_in_its_home(name):
    spec = find_spec(hrkd._HOMES[name])
    assert spec is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    listed = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert name in defined
    assert name in ast.literal_eval(listed[0])


@pytest.mark.parametrize("name", NAMES)
def test_each_name_resolves_to_the_object_of_its_home(name):
    value = getattr(hrkd, name)
    assert value.__name__ == name
    assert value.__module__ == hrkd._HOMES[name]


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(hrkd.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == hrkd._HOMES


def test_version_is_that_of_the_distribution():
    assert hrkd.__version__.count(".") == 2


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        hrkd.distil  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import hrkd, sys; dir(hrkd); print(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "hrkd" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pandas", "numpy", "pydantic", "yaml"}
