"""Distil live models without a recipe: a data frame in, a student out.

Stands for your own case: replace the generated reviews by your data frame, and the new teacher by
`MultiDomainClassifier.from_pretrained(...)` or `load_fine_tuned(...)`.
"""

import argparse
from pathlib import Path

import torch

from hrkd import (
    MethodConfig,
    Predictor,
    StudentConfig,
    TrainingConfig,
    distill_from_models,
    fine_tune,
    load_domains,
    new_teacher,
    split_domains,
    start_student,
    synthetic_reviews,
    tokenize,
    word_tokenizer,
)

MAX_TOKENS = 48


def main(output: Path, examples: int, epochs: int) -> None:
    """Train a tiny teacher, distil it, save the student."""
    corpus = synthetic_reviews(domains=3, examples=examples)
    frame = corpus.dataset.rows.to_pandas().assign(
        label=[corpus.dataset.labels[i] for i in corpus.dataset.label_ids],
        domain=[corpus.dataset.domains[i] for i in corpus.dataset.domain_ids],
    )
    splits = split_domains(load_domains(frame), dev=0.2, test=0.2)
    words = {word for text in frame["text"] for word in text.lower().split()}
    tokenizer = word_tokenizer(sorted(words), max_tokens=MAX_TOKENS)
    train_set, dev_set, test_set = (tokenize(part, tokenizer, MAX_TOKENS) for _, part in splits)

    torch.manual_seed(0)
    teacher = new_teacher(
        {"layers": 2, "width": 32, "heads": 2, "feed_forward": 64},
        vocabulary_size=len(tokenizer),
        domains=splits.domains,
        labels=splits.labels,
        max_tokens=MAX_TOKENS,
    )
    training = TrainingConfig(epochs=epochs, learning_rate=1e-3)
    fine_tune(teacher, train_set, dev_set, settings=training)

    student, layer_map = start_student(teacher, StudentConfig(layers=1, width=16, heads=2), train_set, tokenizer)
    history = distill_from_models(
        teacher,
        student.model,
        train_set,
        dev_set,
        method=MethodConfig(preset="published"),
        settings=training,
        layer_map=layer_map,
        basis=student.basis,
    )
    print(f"best epoch {history.best_epoch}, mean dev accuracy {history.best_score:.1%}")

    student.model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    text = test_set.source.rows[0]["text"]
    print(text, Predictor.from_pretrained(output)(text, domain=splits.domains[0]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", default=Path("runs/live"), help="folder of the student")
    parser.add_argument("--examples", type=int, default=600, help="generated reviews of each domain")
    parser.add_argument("--epochs", type=int, default=10, help="of teacher and student")
    arguments = parser.parse_args()
    main(arguments.output, arguments.examples, arguments.epochs)
