"""The same faults in a training of transformers' Trainer and in one of hrkd, side by side: what is left afterwards?

    python benchmarks/peer_reliability.py > benchmarks/results/2026-01-31-peer-reliability.md

A tiny encoder with dropout learns from the same texts, on the processor. The faults: the process ends within an epoch
and the training goes on from its checkpoint; it ends in the middle of writing a checkpoint; a loss is not a number.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from hrkd.data.batching import MultiDomainLoader, TokenizedDataset, tokenize
from hrkd.data.splits.split import split_domains
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.errors import HrkdError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.scratch import word_tokenizer
from hrkd.recipe.schema import RunConfig, TrainingConfig
from hrkd.training import checkpoint
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import EpochScore, train
from hrkd.training.session import Session

STEPS, CUT_AT, EVERY = 16, 11, 4
KILLED = 9


def corpus() -> TokenizedDataset:
    made = synthetic_reviews(domains=2, examples=80, seed=1)
    parts = split_domains(made.dataset, seed=0, dev=0.2, test=0.2)
    return tokenize(parts.train, word_tokenizer(vocabulary(), max_tokens=32), 24)


def plain(data: TokenizedDataset) -> BertForSequenceClassification:
    torch.manual_seed(0)
    words = len(data.collator.tokenizer)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    labels = len(data.texts.labels)
    return BertForSequenceClassification(BertConfig(vocab_size=words, num_labels=labels, **sizes))


class Killing(TrainerCallback):  # type: ignore[misc]
    """Ends the process after a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, *arguments: object, **_: object) -> None:
        if arguments[1].global_step == self.step:  # type: ignore[attr-defined]
            os._exit(KILLED)


class Masking:
    """Batches in which every tenth word is another one, drawn when the batch is made, as for masked language models."""

    def __init__(self, collator: Callable[[object], dict[str, Tensor]]) -> None:
        self.collator = collator

    def __call__(self, rows: object) -> dict[str, Tensor]:
        batch = self.collator(rows)
        ids = batch["input_ids"]
        batch["input_ids"] = torch.where(torch.rand(ids.shape) < 0.1, torch.randint_like(ids, 5, 50), ids)
        return batch


class OfTrainer:
    """Training with transformers, in a folder, from the beginning or from the checkpoint that is there."""

    name = f"transformers {transformers.__version__}, Trainer"

    def __init__(self, data: TokenizedDataset) -> None:
        self.data = data
        self.logged: list[dict[str, float]] = []

    def __call__(
        self, folder: Path, *, kill_at: int | None = None, spoilt: int | None = None, masked: bool = False
    ) -> Tensor:
        model = plain(self.data)
        rows = [
            {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": int(label)}
            for ids, label in zip(self.data.rows["input_ids"], self.data.label_ids_or_none, strict=True)
        ]
        options = TrainingArguments(
            output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=8, learning_rate=1e-3, seed=0,
            save_steps=EVERY, logging_steps=1, use_cpu=True, report_to=[],
            disable_tqdm=True, dataloader_num_workers=0,
        )  # fmt: skip
        collator = Masking(self.data.collator) if masked else self.data.collator
        trainer = Trainer(model, options, train_dataset=rows, data_collator=collator)
        trainer.remove_callback(PrinterCallback)
        if kill_at is not None:
            trainer.add_callback(Killing(kill_at))
        if spoilt is not None:
            _spoil(model, spoilt)
        going_on = any(folder.glob("checkpoint-*"))
        trainer.train(resume_from_checkpoint=True if going_on else None)
        self.logged = trainer.state.log_history
        return _weights(model)


class OfHrkd:
    """The same with hrkd."""

    name = "hrkd"

    def __init__(self, data: TokenizedDataset) -> None:
        self.data = data

    def __call__(self, folder: Path, *, kill_at: int | None = None, spoilt: int | None = None) -> Tensor:
        model = MultiDomainClassifier.from_plain(
            plain(self.data), domains=self.data.texts.domains, labels=self.data.texts.labels, max_tokens=32
        )
        torch.manual_seed(0)
        module = FineTuning(model)
        seen = [0]

        def step(*_: object) -> None:
            seen[0] += 1
            if seen[0] - 1 == kill_at:
                os._exit(KILLED)

        module.register_forward_pre_hook(step)
        if spoilt is not None:
            _spoil(model, spoilt)
        loader = MultiDomainLoader(self.data, batch_size=4, seed=0)
        epochs = -(-STEPS // len(loader))
        session = Session(
            Accelerator(cpu=True),
            RunConfig(checkpoint_minutes=None, checkpoint_steps=EVERY),
            checkpoint=folder,
            title="student",
        )
        settings = TrainingConfig(epochs=epochs, learning_rate=1e-3)
        train(module, loader, settings=settings, evaluate=lambda _: EpochScore(1.0), session=session)
        return _weights(model)


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _spoil(model: nn.Module, step: int) -> None:
    """Have the logits of one step be no numbers."""
    count = [0]

    def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
        count[0] += model.training
        return output * float("nan") if count[0] == step else output

    next(module for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)).register_forward_hook(
        hook
    )


def forked(work: Callable[[], object]) -> int:
    """The exit status of ``work`` in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


Way = OfTrainer | OfHrkd


def goes_on(way: Way, place: Path, **options: bool) -> str:
    """Killed within an epoch, after a checkpoint, and gone on with."""
    whole = way(place / "whole", **options)
    status = forked(lambda: way(place / "cut", kill_at=CUT_AT, **options))
    assert status == KILLED
    return compared(way(place / "cut", **options), whole)


def goes_on_with_words_drawn(way: Way, place: Path) -> str:
    """The same where batches are drawn at random."""
    if isinstance(way, OfHrkd):
        return "is not offered: altered texts are drawn once, before the training"
    return goes_on(way, place, masked=True)


def cut_in_a_save(way: Way, place: Path) -> str:
    """Killed while the second checkpoint is written: its weights are there, the rest is not."""
    whole = way(place / "whole")

    def work() -> None:
        module, name, last = (torch, "save", 3) if isinstance(way, OfTrainer) else (checkpoint.json, "dumps", 2)
        original, calls = getattr(module, name), [0]

        def counted(*arguments: object, **options: object) -> object:
            calls[0] += 1
            if calls[0] == last:
                os._exit(KILLED)
            return original(*arguments, **options)

        setattr(module, name, counted)
        way(place / "cut")

    status = forked(work)
    assert status == KILLED, status
    if forked(lambda: torch.save(way(place / "cut"), place / "found.pt")):
        return "the next start takes the half checkpoint, and fails"
    return f"the next start goes on; {compared(torch.load(place / 'found.pt'), whole)}"


def not_a_number(way: Way, place: Path) -> str:
    """Everything is no number in the sixth step."""
    try:
        weights = way(place, spoilt=6)
    except HrkdError as error:
        return f"ends with an error: {error}"
    assert isinstance(way, OfTrainer)
    losses = [entry["loss"] for entry in way.logged if "loss" in entry]
    told, finite = sum(loss != loss for loss in losses), int(weights.isfinite().sum())
    return (
        f"goes on to the end, no error; of {len(losses)} logged losses {told} are NaN; of {len(weights):,} weights "
        f"{finite} are numbers"
    )


def compared(found: Tensor, whole: Tensor) -> str:
    """Weights against those of a training that was never killed."""
    difference = (found - whole).abs().max().item()
    return "the same weights, bit for bit" if difference == 0 else f"weights differ by up to {difference:.1e}"


FAULTS = {
    "killed within an epoch, gone on with": goes_on,
    "the same, with words drawn at random for each batch": goes_on_with_words_drawn,
    "killed while a checkpoint is written": cut_in_a_save,
    "a loss that is not a number": not_a_number,
}


def main() -> None:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    data = corpus()
    ways = [OfTrainer(data), OfHrkd(data)]
    print(f"| fault | {' | '.join(way.name for way in ways)} |\n|---|{'---|' * len(ways)}")
    for title, fault in FAULTS.items():
        cells = []
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(fault(way, Path(folder)))
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
