"""Two processes on the CPU, started as a user starts them."""

import json
import os
import subprocess
import sys

import pytest
import torch

from hrkd.recipe.loading import recipe_to_yaml
from tiny import tiny_recipe

TRAIN = """
import sys
import torch
from accelerate import Accelerator
from hrkd.data.batching import tokenize
from hrkd.data.splits.split import split_domains
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.recipe.schema import RunConfig, TrainingConfig
from hrkd.training.selection import DevAccuracy
from hrkd.training.session import Session
from hrkd.training.trainers import fine_tune
from pathlib import Path

folder, stop_after = Path(sys.argv[1]), int(sys.argv[2])
splits = split_domains(synthetic_reviews(domains=2, examples=60, seed=1).dataset, seed=0, dev=0.2, test=0.2)
tokenizer = word_tokenizer(vocabulary(), max_tokens=32)
data = {name: tokenize(part, tokenizer, 24) for name, part in splits}
torch.manual_seed(0)
sizes = {"layers": 1, "width": 16, "heads": 2, "feed_forward": 24}
model = new_teacher(sizes, vocabulary_size=len(tokenizer), domains=splits.domains, labels=splits.labels, max_tokens=32)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2, accelerator.num_processes
drawn = []
measure = DevAccuracy.__call__


def watched(self, epoch):
    if epoch > stop_after:
        raise SystemExit(0)
    drawn.append(torch.get_rng_state())
    return measure(self, epoch)


DevAccuracy.__call__ = watched
session = Session(accelerator, RunConfig(seed=7), checkpoint=folder / "state")
settings = TrainingConfig(epochs=3, learning_rate=1e-3, batch_size=4)
fine_tune(model, data["train"], data["dev"], settings=settings, session=session)
torch.save({"drawn": drawn[-1], **model.state_dict()}, folder / f"end-{accelerator.process_index}.pt")
"""


def start(folder, *, stop_after=99):
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    run(str(folder / "train.py"), str(folder), str(stop_after))


def run(*arguments):
    done = started(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]


def started(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_train_one_model_and_go_on_exactly(tmp_path):
    start(tmp_path / "straight")
    start(tmp_path / "killed", stop_after=1)
    start(tmp_path / "killed")
    names = [("straight", 0), ("straight", 1), ("killed", 0), ("killed", 1)]
    ends = [torch.load(tmp_path / run / f"end-{rank}.pt", weights_only=True) for run, rank in names]
    drawn = [end.pop("drawn") for end in ends]
    assert all(torch.equal(ends[0][name], end[name]) for end in ends[1:] for name in ends[0])
    assert not torch.equal(drawn[0], drawn[1]), "each process draws dropout of its own"
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_make_a_meta_teacher_and_a_student_in_two_stages(tmp_path):
    changes = {"teacher.meta_kd": True, "method.stages": "two", "method.expertise": True, "method.transfer_weight": 1.0}
    changes |= {"method.graph": "relational", "method.learning": "meta", "method.meta_interval": 1}
    changes |= {"teacher.training.epochs": 1, "student.training.epochs": 3, "student.baseline": False}
    changes |= {"data.synthetic.examples": 60}
    if not torch.cuda.is_available():  # without an accelerator nothing has to be set
        changes |= {"run.device": "auto"}
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(tiny_recipe(tmp_path / "run", **changes)))
    run("-m", "hrkd", "compress", str(tmp_path / "recipe.yaml"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["models"]["student"]["test"]["mean"]["accuracy"] > 0
    for stage in ("teacher", "levels", "student"):
        assert json.loads((tmp_path / "run" / stage / "stage.json").read_text())["processes"] == 2
    assert {row["level"] for row in results["ratios"]} == {0, 1}
    assert (tmp_path / "run" / "metrics" / "levels" / "relations").is_dir()
    refused = started("-m", "hrkd", "compress", str(tmp_path / "recipe.yaml"), "--student.width", "12")
    told = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, refused.stderr
    assert "was made with other settings" in told[0]
    assert "src/hrkd/" not in refused.stderr, "no traceback but that of the launcher"
