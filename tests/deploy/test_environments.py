"""What leaves the house works where hrkd is not installed (make test-environments: it makes new environments)."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hrkd.deploy.export.plain import export_plain
from hrkd.deploy.predict import Predictor

pytestmark = [pytest.mark.environments, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deployment.md"
PLAIN = """
import json, sys
from transformers import pipeline
classify = pipeline("text-classification", model=sys.argv[1], device="cpu")
print(json.dumps(classify(json.loads(sys.argv[2]), truncation=True)))
"""
TEXTS = ["a good book", "the very good film is not a bad plot song the film is good", "bad"]


def environment(folder, *packages):
    """The Python of a new environment with some packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-compile", *packages], check=True)
    assert subprocess.run([str(python), "-c", "import hrkd"], capture_output=True, check=False).returncode
    return python


def test_the_script_without_hrkd_needs_three_packages(exported, tmp_path):
    packages = [f"{name}=={version(name)}" for name in ("onnxruntime", "tokenizers", "numpy")]
    python = environment(tmp_path / "new", *packages)
    part = PAGE.read_text().partition("## Without hrkd")[2]
    script = re.search(r"```python\n(.*?)```", part, re.DOTALL)[1]
    changed = script.replace('"deployed/', f'"{exported}/').replace("Too heavy for daily use.", TEXTS[0])
    changed = changed.replace('"kitchen"', '"music"')
    done = subprocess.run([str(python), "-c", changed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == Predictor.from_pretrained(exported)(TEXTS[0], domain="music")[0]["label"]


@pytest.mark.parametrize("major", [4, 5])
def test_a_plain_export_needs_transformers_alone(student_folder, tmp_path, major):
    torch = f"torch=={version('torch').partition('+')[0]}"
    python = environment(tmp_path / "new", torch, f"transformers=={major}.*")
    plain = export_plain(student_folder, tmp_path / "plain")["music"]
    command = [str(python), "-c", PLAIN, str(plain), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = Predictor.from_pretrained(student_folder, device="cpu")(TEXTS, domain="music")
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-5)
