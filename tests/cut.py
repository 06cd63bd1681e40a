"""Trainings whose steps are cut over processes and batches in many ways; run by torchrun, or by a test itself.

    python -m torch.distributed.run --standalone --nproc-per-node 3 tests/cut.py FOLDER STEPS CASE...

A case is KIND:ACCUMULATION. The weights after the last step go to FOLDER/CASE-RANK.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from hrkd.data.batching import MultiDomainLoader, tokenize
from hrkd.data.splits.split import split_domains
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.recipe.schema import CacheConfig, MethodConfig, RunConfig, TrainingConfig
from hrkd.training.contrast import measure_relations
from hrkd.training.evaluate import predict_logits, typicality
from hrkd.training.fine_tune import FineTuning
from hrkd.training.live_teacher import LiveTeacher
from hrkd.training.loop import train
from hrkd.training.selection import last_epoch
from hrkd.training.session import Session
from hrkd.training.teacher_cache.source import teacher_logits, teacher_source
from hrkd.training.trainers import distill_from_models

METHODS = {
    "fixed": {},
    "contrast": {
        "graph": "contrast", "learning": "joint", "related_weight": 0.5, "hierarchy": "none", "relative": True
    },
    "joint": {
        "graph": "relational", "learning": "joint", "ratio_gradient": True, "label_weight": 0.3,
        "prototype_momentum": 0.9,
    },
    "meta": {"graph": "relational", "learning": "meta", "meta_interval": 1, "relative": True},
    "relations": {"level_loss": "relations", "levels": "last"},
}  # fmt: skip
STEP = 8
"""Examples of every domain in a step, in however many batches."""


def data_and_models():
    """Three domains of 40, 21 and 9 rows, a teacher and a student without dropout, in double precision."""
    torch.set_default_dtype(torch.float64)
    splits = split_domains(synthetic_reviews(domains=3, examples=60, seed=1).dataset, seed=0, dev=0.1, test=0.1)
    tokenizer = word_tokenizer(vocabulary(), max_tokens=32)
    whole = tokenize(splits.train, tokenizer, 24)
    rows = [np.flatnonzero(whole.domain_ids == d)[:n] for d, n in enumerate((40, 21, 9))]
    dev = tokenize(splits.dev, tokenizer, 24)
    models = []
    for seed, width in ((1, 16), (0, 8)):
        torch.manual_seed(seed)
        sizes = {"layers": 2, "width": width, "heads": 2, "feed_forward": 16}
        model = new_teacher(
            sizes, vocabulary_size=len(tokenizer), domains=splits.domains, labels=splits.labels, max_tokens=32
        )
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        models.append(model)
    return whole.select(np.concatenate(rows)), dev, *models


def trained(kind, accumulation, steps):
    """All trained tensors after so many steps, by name."""
    train_set, dev, teacher, student = data_and_models()
    accelerator, set_to = Accelerator(cpu=True), {"batch_size": STEP // accumulation}
    settings = TrainingConfig(
        epochs=1, min_steps=steps, gradient_accumulation=accumulation, learning_rate=2e-3, **set_to
    )
    session = Session(accelerator, RunConfig(seed=3))
    if kind == "tune":
        set_seed(3)
        loader = MultiDomainLoader(
            train_set,
            seed=3,
            accumulation=accumulation,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
            **set_to,
        )
        module = FineTuning(student, row_weights=torch.linspace(0.2, 2, len(train_set)))
        train(module, loader, settings=settings, evaluate=last_epoch, session=session)
        return dict(student.state_dict())
    method = MethodConfig(**{"preset": "published", "graph_heads": 2, "graph_dropout": 0.0} | METHODS[kind])
    distill_from_models(
        teacher, student, train_set, dev, method=method, settings=settings, evaluate=last_epoch,
        session=session,
    )  # fmt: skip
    return dict(student.state_dict())


def measured(folder):
    """What is said of rows, and which batches this process looked at itself."""
    rows, dev, teacher, _ = data_and_models()
    torch.set_default_dtype(torch.float32)
    teacher, device, looked = teacher.float(), torch.device("cpu"), []
    teacher.register_forward_pre_hook(lambda _, __, inputs: looked.append(len(inputs["input_ids"])), with_kwargs=True)
    live = LiveTeacher(teacher, (0, 2), attention="none")

    def counted(name, function):
        looked.clear()
        found = function()
        return {name: found, f"looked at for {name}": torch.tensor(sum(looked))}

    rules = CacheConfig(folder=folder / f"cache-{Accelerator(cpu=True).num_processes}", precision="fp32")
    found = counted("logits", lambda: predict_logits(teacher, dev, batch_size=4))
    found |= counted("alone", lambda: predict_logits(teacher, dev, batch_size=4, alone=True))
    found |= counted(
        "typicality", lambda: torch.cat([p.flatten() for p in typicality(live, rows, device, batch_size=4)])
    )
    found |= counted("few", lambda: typicality(live, dev.select([0, 1, 7]), device, batch_size=4)[0])
    found |= counted("relations", lambda: measure_relations(live, rows, device))
    found |= counted("cache", lambda: teacher_logits(teacher, rows, rules=rules, device=device))
    found |= counted("cached", lambda: teacher_logits(teacher, rows, rules=rules, device=device))
    source = teacher_source(live, rows, rules=rules, device=device)
    found["states"] = source(rows.batch(np.arange(len(rows)))).hidden_states[1].clone()
    return {name: torch.as_tensor(each) for name, each in found.items()}


def main(arguments: list[str]) -> None:
    """Train every case that the arguments name."""
    folder, steps, *cases = arguments
    for case in cases:
        kind, accumulation = case.split(":")
        try:
            found = measured(Path(folder)) if kind == "measure" else trained(kind, int(accumulation), int(steps))
        finally:
            torch.set_default_dtype(torch.float32)
        torch.save(found, Path(folder) / f"{kind}-{accumulation}-{Accelerator().process_index}.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
