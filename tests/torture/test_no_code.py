"""Folders of strangers are data: nothing in them runs, is imported or unpickled, and nothing leaves the machine."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hrkd.support.manifest import MANIFEST, write_manifest
from tiny import letter_tokenizer, tiny_model

HERE = Path(__file__).parent


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def student(folder):
    tiny_model().save_pretrained(folder)
    letter_tokenizer(folder)
    return folder


def changed(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def evil(folder, mark):
    for name in ("modeling_evil", "tokenization_evil", "configuration_evil", "evil"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")


AUTO_MAP = {
    "AutoConfig": "configuration_evil.Evil",
    "AutoModel": "modeling_evil.Evil",
    "AutoModelForSequenceClassification": "modeling_evil.Evil",
    "AutoTokenizer": ["tokenization_evil.Evil", None],
}


def remote_code(folder, mark):
    evil(folder, mark)
    changed(folder / "config.json", auto_map=AUTO_MAP, trust_remote_code=True)


def remote_code_in_a_nested_config(folder, mark):
    evil(folder, mark)
    nested = {"model_type": "bert", "auto_map": AUTO_MAP, "trust_remote_code": True}
    changed(folder / "config.json", text_config=nested, encoder=nested)


def remote_tokenizer(folder, mark):
    evil(folder, mark)
    changed(folder / "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Evil")


def pickled_weights(folder, mark):
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))


def pickles_beside_weights(folder, mark):
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "scheduler.pt"):
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))


def a_model_type_of_its_own(folder, mark):
    evil(folder, mark)
    changed(folder / "config.json", model_type="evil", architectures=["Evil"])


def an_adapter(folder, mark):
    evil(folder, mark)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "evil/evil", "peft_type": "LORA", "auto_mapping": AUTO_MAP})
    )
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Payload(mark)))


HOSTILE = [
    remote_code,
    remote_code_in_a_nested_config,
    remote_tokenizer,
    pickled_weights,
    pickles_beside_weights,
    a_model_type_of_its_own,
    an_adapter,
]


def commands_on(folder, table, output, recipe):
    return [
        ["predict", str(folder), "--domain", "books", "good"],
        ["evaluate", str(folder), str(table), "--run.device", "cpu"],
        ["export", str(folder), str(output / f"out-{folder.name}"), "--to", "plain"],
        [
            "compress",
            str(recipe),
            "--run.output",
            str(output / f"run-{folder.name}"),
            "--teacher.fine-tuned",
            str(folder),
        ],
    ]


@pytest.mark.timeout(600)
def test_nothing_of_a_hostile_folder_runs(tmp_path):
    (tmp_path / "hostile").mkdir()
    (tmp_path / "output").mkdir()
    mark, table, recipe = tmp_path / "ran", tmp_path / "rows.csv", tmp_path / "recipe.yaml"
    rows = [f"{domain},{label},a {label} {domain} {n}" for n in range(12) for domain in ("books", "dvd", "kitchen")
            for label in ("bad", "fair", "good")]  # fmt: skip
    table.write_text("\n".join(["domain,label,text", *rows]) + "\n")
    recipe.write_text(
        f"data: {{source: {table}, format: table, max_length: 16}}\nteacher: {{}}\nstudent: {{layers: 1, width: 8}}\n"
    )
    whole = student(tmp_path / "whole")
    commands, folders = [], []
    for way in HOSTILE:
        for listed in (False, True):
            folder = tmp_path / "hostile" / f"{way.__name__}-{listed}"
            shutil.copytree(whole, folder)
            way(folder, mark)
            (folder / MANIFEST).unlink(missing_ok=True)
            if listed:
                write_manifest(folder)
            folders.append(str(folder))
            commands += commands_on(folder, table, tmp_path / "output", recipe)
    yaml = tmp_path / "hostile" / "evil.yaml"
    yaml.write_text(f"data: !!python/object/apply:os.system ['touch {mark}']\n")
    commands += [["compress", str(yaml)], ["check", str(yaml)]]
    own = [str(tmp_path / "output"), str(tmp_path / "cache"), str(tmp_path / "tmp")]
    (tmp_path / "tmp").mkdir()
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"commands": commands, "hostile": [str(tmp_path / "hostile")], "own": own}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TORCH"))} | {
        "HRKD_CACHE": own[1], "TMPDIR": own[2], "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "output" / "hub"),
    }  # fmt: skip
    command = [sys.executable, "-B", HERE / "audited.py", plan]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, input="y\ny\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(commands), done.stderr
    assert not mark.exists()
    assert {" ".join(each["command"]): each["broken"] for each in found if each["broken"]} == {}
    assert {each["status"] for each in found} <= {0, 2}
    never = ("pickled_weights", "a_model_type_of_its_own", "an_adapter")
    read = [each["command"] for each in found if each["status"] == 0]
    assert [command for command in read if any(name in " ".join(command) for name in never)] == []
    assert any("pickles_beside_weights" in " ".join(command) for command in read), "what is not needed is not opened"
    assert [each["said"] for each in found if "Traceback" in each["said"]] == []
