"""Make the folder in which pages are tried: python workshop.py FOLDER ENCODER..."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from transformers import BertConfig, BertModel

from hrkd import synthetic_reviews, word_tokenizer
from hrkd.data.synthetic.corpus import vocabulary

RECIPE = """\
data:
  source: reviews.csv
  text: review
  label: stars
  domain: category
  max_length: 32
teacher:
  model: bert-base-uncased
  allow_weak: true
  training: {epochs: 2, min_steps: 0, learning_rate: 0.001}
student:
  layers: 1
  width: 32
  heads: 2
  training: {epochs: 1, min_steps: 0}
run:
  output: runs/mine
"""


def main() -> None:
    """Tables, encoders, a run and an export."""
    folder, encoders = Path(sys.argv[1]), sys.argv[2:]
    corpus = synthetic_reviews(domains=3, examples=240, seed=3).dataset
    names = dict(zip(corpus.domains, ("books", "dvd", "kitchen"), strict=True))
    rows = [
        {"review": row["text"], "stars": corpus.labels[row["label"]], "category": names[corpus.domains[domain]]}
        for row, domain in zip(corpus.rows, corpus.domain_ids, strict=True)
    ]
    table = pd.DataFrame(rows)
    table.iloc[:600].to_csv(folder / "reviews.csv", index=False)
    table.iloc[600:].to_csv(folder / "new_labelled.csv", index=False)
    table.iloc[600:].drop(columns="stars").to_csv(folder / "new.csv", index=False)
    more = table.iloc[600:].rename(columns={"review": "text", "category": "domain"}).drop(columns="stars")
    more.to_csv(folder / "more.csv", index=False)
    for name, (layers, width) in zip(encoders, ((2, 64), (4, 128)), strict=True):
        torch.manual_seed(0)
        tokenizer = word_tokenizer(vocabulary(), max_tokens=512)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=2 * width,
        )
        place = folder / name
        place.mkdir(parents=True)
        BertModel(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
    (folder / "my.yaml").write_text(RECIPE)
    for words in (["compress", "my.yaml"], ["export", "runs/mine", "small", "--to", "onnx-int8", "--allowance", "30"]):
        subprocess.run([sys.executable, "-m", "hrkd", *words], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    main()
