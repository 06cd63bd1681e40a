"""Distil live models without a recipe: a data frame in, a student out.

Stands for your own case: replace the generated reviews by your data frame, and the new teacher by
`MultiDomainClassifier.from_pretrained(...)` or `load_fine_tuned(...)`.
"""

import argparse
from pathlib import Path

import torch

from hrkd import load_domains, split_domains
from hrkd.data.batching import length_sorted_batches, tokenize
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.deploy.predict import Predictor
from hrkd.models.layer_map import uniform_layer_map
from hrkd.models.scratch import new_teacher, word_tokenizer
from hrkd.models.shape import StudentShape
from hrkd.models.start.build import build_student
from hrkd.training.trainers import distill_from_models, fine_tune

MAX_TOKENS = 48


def main(output: Path, examples: int, epochs: int) -> None:
    """Train a tiny teacher, distil it, save the student."""
    corpus = synthetic_reviews(domains=3, examples=examples).dataset
    frame = corpus.rows.to_pandas().assign(
        label=[corpus.labels[i] for i in corpus.label_ids], domain=[corpus.domains[i] for i in corpus.domain_ids]
    )
    splits = split_domains(load_domains(frame), dev=0.2, test=0.2)
    tokenizer = word_tokenizer(vocabulary(), max_tokens=MAX_TOKENS)
    train_set, dev_set, test_set = (tokenize(part, tokenizer, MAX_TOKENS) for _, part in splits)

    torch.manual_seed(0)
    teacher = new_teacher(
        {"layers": 2, "width": 32, "heads": 2, "feed_forward": 64},
        vocabulary_size=len(tokenizer),
        domains=splits.domains,
        labels=splits.labels,
        max_tokens=MAX_TOKENS,
    )
    fine_tune(teacher, train_set, dev_set, epochs=epochs, learning_rate=1e-3)

    started = build_student(
        teacher,
        StudentShape(layers=1, width=16, heads=2, feed_forward=32),
        layer_map=uniform_layer_map(1, 2),
        batches=(batch.inputs for batch in length_sorted_batches(train_set, 32)),
    )
    history = distill_from_models(
        teacher, started.model, train_set, dev_set, basis=started.basis, epochs=epochs, learning_rate=1e-3
    )
    print(f"best epoch {history.best_epoch}, mean dev accuracy {history.best_score:.1%}")

    started.model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    text = test_set.source.rows[0]["text"]
    print(text, Predictor.from_pretrained(output)(text, domain=splits.domains[0]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.output, arguments.examples, arguments.epochs)
