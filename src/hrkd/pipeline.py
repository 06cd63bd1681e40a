"""The wiring: from a recipe to a measured student. Configuration objects end here.

``compress`` is ``train_teacher`` and ``distill``; every stage leaves a finished folder or nothing, and is taken
up where it stopped. :func:`distill_from_models` is the same distillation on live objects, without a recipe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from transformers import PreTrainedTokenizerBase

from hrkd.config import Recipe, RunConfig, TrainingConfig
from hrkd.data.batching import MultiDomainLoader, TokenizedDataset, length_sorted_batches, tokenize
from hrkd.data.describe import describe
from hrkd.data.fewshot import few_shot
from hrkd.data.sources import load_domains
from hrkd.data.splits import save_split_ids, split_domains
from hrkd.data.synthetic import SyntheticCorpus, synthetic_reviews
from hrkd.data.types import Splits
from hrkd.errors import ArtifactError, RecipeError, TrainingError
from hrkd.files import read_json, replace_folder, write_json, write_text
from hrkd.method.compare_aggregate import CompareAggregate, LevelMean, NoHierarchy
from hrkd.method.domain_graph import PublishedGraph, UniformScores
from hrkd.method.fit import FitLayers
from hrkd.method.ratios import DomainRatios
from hrkd.models.multi_domain import MultiDomainClassifier, load_plain_classifier
from hrkd.models.trace import choose_attention, set_attention
from hrkd.run import Run, digest
from hrkd.training.distill import Distillation, TeacherReader
from hrkd.training.evaluate import predict_logits
from hrkd.training.fine_tune import FineTuning
from hrkd.training.loop import TrainingHistory, train
from hrkd.training.metrics import Scores, no_better_than_chance, score
from hrkd.training.progress import Progress
from hrkd.training.record import Recorder
from hrkd.training.selection import BestPerDomain, DevAccuracy
