"""Several processes on the CPU, started as a user starts them."""

import json
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch

import cut as cut_steps
from hrkd.errors import RecipeError
from hrkd.recipe.loading import recipe_to_yaml
from hrkd.recipe.schema import RunConfig
from hrkd.run.folder import RunFolder
from hrkd.training.session import start_accelerator
from slow import slow
from tiny import tiny_recipe

TESTS = Path(__file__).parent.parent
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


def started(*arguments, processes=2, timeout=300):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def cut(folder, steps, *cases, processes):
    """What trainings of so many steps, or measuring, come to in each process, by case; see tests/cut.py."""
    folder.mkdir(exist_ok=True)
    if processes == 1:
        cut_steps.main([str(folder), str(steps), *cases])
        return {case: [torch.load(folder / f"{case.replace(':', '-')}-0.pt", weights_only=True)] for case in cases}
    done = started(str(TESTS / "cut.py"), str(folder), str(steps), *cases, processes=processes, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        case: [torch.load(folder / f"{case.replace(':', '-')}-{p}.pt", weights_only=True) for p in range(processes)]
        for case in cases
    }


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_three_processes_give_the_weights_and_answers_of_one(tmp_path):
    """Rows that three do not share evenly, and a domain of fewer rows than a step has."""
    cases = ("tune:2", "joint:1", "meta:2", "measure:1")
    alone, together = (cut(tmp_path / str(n), 6, *cases, processes=n) for n in (1, 3))
    for case in cases[:-1]:
        assert all(largest_difference(each, alone[case][0]) < 1e-9 for each in together[case]), case
        first, *others = together[case]
        assert all(torch.equal(first[name], each[name]) for each in others for name in first), case
    (expected,), found = alone["measure:1"], together["measure:1"]
    for name, value in expected.items():
        told = [each[name] for each in found]
        if name.startswith("looked at for ") and "alone" not in name and "cached" not in name:
            probes = 2 * 3 if name.endswith("cache") else 0  # rows that each process asks to see what a row is like
            assert sum(told) == value + probes, name
        elif name == "relations":
            assert all(torch.allclose(each, value, atol=1e-6) for each in told)
        else:
            assert all(torch.equal(each, value) for each in told), name


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_a_launch_is_refused_in_a_folder_where_another_command_is_at_work(tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe_to_yaml(tiny_recipe(tmp_path / "run")))
    (tmp_path / "run").mkdir()
    for name, content in (("recipe.yaml", "{}"), ("environment.json", "{}")):  # as in the folder of a run
        (tmp_path / "run" / name).write_text(content)
    with RunFolder.at_work(RunConfig(output=tmp_path / "run")):
        refused = started("-m", "hrkd", "compress", str(tmp_path / "recipe.yaml"))
    told = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, refused.stderr
    assert re.search(r"hrkd is at work here \(process \d+ on .*\); wait for it or end it first", told[0])
    assert "src/hrkd/" not in refused.stderr, "no traceback but that of the launcher"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "environment.json", "recipe.yaml"}
    assert "SIGKILL" not in refused.stderr, "the second process waits for nobody"


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_what_cuts_models_up_is_refused(monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(RecipeError, match=r"accelerate is set to (FSDP|DeepSpeed), .*; start it with acc"):
        start_accelerator(RunConfig(device="cpu"))


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_however_steps_are_cut_the_weights_are_the_same(tmp_path):
    cases = [f"{kind}:{size}" for kind in ("tune", "fixed", "joint", "relations") for size in (1, 2, 4)]
    cases += [f"{kind}:{size}" for kind in ("meta", "contrast") for size in (1, 4)]
    expected = {case: found[0] for case, found in cut(tmp_path / "1", 100, *cases, processes=1).items()}
    worst = {}
    for case, found in expected.items():
        worst[case, 1] = largest_difference(found, expected[case.partition(":")[0] + ":1"])
    simplest, *others = ([*own] for _, own in groupby(cases, lambda case: case.partition(":")[0]))
    for processes in (2, 3, 4):
        # Each kind in each number of processes, in turn with each size; the simplest with all.
        some = [*simplest, *(own[(n + processes) % len(own)] for n, own in enumerate(others))]
        for case, found in cut(tmp_path / str(processes), 100, *some, processes=processes).items():
            reference = expected[case.partition(":")[0] + ":1"]
            worst[case, processes] = max(largest_difference(each, reference) for each in found)
    (tmp_path / "worst.json").write_text(json.dumps({f"{case} in {n}": value for (case, n), value in worst.items()}))
    assert max(worst.values()) < 1e-6, worst


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_the_same_launch_twice_is_the_same_to_the_last_bit(tmp_path):
    cases = ("tune:2", "joint:1", "meta:2")
    one, other = (cut(tmp_path / name, 40, *cases, processes=3) for name in ("one", "other"))
    for case in cases:
        for mine, its in zip(one[case], other[case], strict=True):
            assert all(torch.equal(mine[name], its[name]) for name in mine), case


@slow
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


@slow
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
