"""Two BERTs with random weights, of the paper's pair of sizes, for measuring speed: with a model's tokenizer and names.

python benchmarks/random_models.py MODEL BERT_12 BERT_4 --tokens 128
hrkd export BERT_4 onnx --to onnx               # and the other forms; 8-bit ones with a recipe and its data
python benchmarks/export_routes.py RECIPE BERT_12 BERT_4 onnx ... --tokens 128 --texts 64 --rounds 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from hrkd.models.open_model import open_model
from hrkd.models.scratch import new_teacher

SIZES = (
    {"layers": 12, "width": 768, "heads": 12, "feed_forward": 3072},
    {"layers": 4, "width": 312, "heads": 12, "feed_forward": 1200},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model of hrkd, whose tokenizer, domains and labels are taken")
    parser.add_argument("large", type=Path, help="folder of 12 x 768")
    parser.add_argument("small", type=Path, help="folder of 4 x 312")
    parser.add_argument("--tokens", type=int, default=128)
    asked = parser.parse_args()
    model, tokenizer = open_model(asked.model)
    for sizes, folder in zip(SIZES, (asked.large, asked.small), strict=True):
        torch.manual_seed(0)
        made = new_teacher(
            sizes,
            vocabulary_size=len(tokenizer),
            domains=model.domains,
            labels=model.labels,
            max_tokens=asked.tokens,
        )
        made.config.columns = model.config.columns
        made.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
