"""Distil a fine-tuned encoder that serves many domains into one small, fast student.

The public names, each imported from its module when it is first used, so that ``import hrkd`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrkd.comparison.command import compare
    from hrkd.comparison.planning import load_grid
    from hrkd.data.batching import tokenize
    from hrkd.data.readers.sources import load_domains
    from hrkd.data.splits.split import split_domains
    from hrkd.data.synthetic.corpus import synthetic_reviews
    from hrkd.data.types import MultiDomainDataset
    from hrkd.deploy.export.plain import export_plain
    from hrkd.deploy.predict import Predictor
    from hrkd.errors import ArtifactError, BudgetError, DataError, HrkdError, ModelError, RecipeError, TrainingError
    from hrkd.models.loading import load_fine_tuned
    from hrkd.models.multi_domain import MultiDomainClassifier
    from hrkd.models.scratch import new_teacher, word_tokenizer
    from hrkd.models.start.student import start_student
    from hrkd.models.tokenizers import load_tokenizer
    from hrkd.recipe.loading import load_recipe
    from hrkd.recipe.schema import (
        CacheConfig,
        EvaluationConfig,
        MethodConfig,
        Recipe,
        RunConfig,
        StudentConfig,
        StudentTrainingConfig,
        TrainingConfig,
    )
    from hrkd.run.benchmark import benchmark
    from hrkd.run.commands import compress, distill, train_baseline, train_teacher
    from hrkd.run.describe_data import describe_data
    from hrkd.run.evaluation import evaluate
    from hrkd.run.export import export
    from hrkd.run.plan import plan
    from hrkd.training.session import Session
    from hrkd.training.trainers import distill_from_models, fine_tune

    __version__: str

__all__ = [
    "ArtifactError",
    "BudgetError",
    "CacheConfig",
    "DataError",
    "EvaluationConfig",
    "HrkdError",
    "MethodConfig",
    "ModelError",
    "MultiDomainClassifier",
    "MultiDomainDataset",
    "Predictor",
    "Recipe",
    "RecipeError",
    "RunConfig",
    "Session",
    "StudentConfig",
    "StudentTrainingConfig",
    "TrainingConfig",
    "TrainingError",
    "__version__",
    "benchmark",
    "compare",
    "compress",
    "describe_data",
    "distill",
    "distill_from_models",
    "evaluate",
    "export",
    "export_plain",
    "fine_tune",
    "load_domains",
    "load_fine_tuned",
    "load_grid",
    "load_recipe",
    "load_tokenizer",
    "new_teacher",
    "plan",
    "split_domains",
    "start_student",
    "synthetic_reviews",
    "tokenize",
    "train_baseline",
    "train_teacher",
    "word_tokenizer",
]

_HOMES = {
    "ArtifactError": "hrkd.errors",
    "BudgetError": "hrkd.errors",
    "CacheConfig": "hrkd.recipe.schema",
    "DataError": "hrkd.errors",
    "EvaluationConfig": "hrkd.recipe.schema",
    "HrkdError": "hrkd.errors",
    "MethodConfig": "hrkd.recipe.schema",
    "ModelError": "hrkd.errors",
    "MultiDomainClassifier": "hrkd.models.multi_domain",
    "MultiDomainDataset": "hrkd.data.types",
    "Predictor": "hrkd.deploy.predict",
    "Recipe": "hrkd.recipe.schema",
    "RecipeError": "hrkd.errors",
    "RunConfig": "hrkd.recipe.schema",
    "Session": "hrkd.training.session",
    "StudentConfig": "hrkd.recipe.schema",
    "StudentTrainingConfig": "hrkd.recipe.schema",
    "TrainingConfig": "hrkd.recipe.schema",
    "TrainingError": "hrkd.errors",
    "benchmark": "hrkd.run.benchmark",
    "compare": "hrkd.comparison.command",
    "compress": "hrkd.run.commands",
    "describe_data": "hrkd.run.describe_data",
    "distill": "hrkd.run.commands",
    "distill_from_models": "hrkd.training.trainers",
    "evaluate": "hrkd.run.evaluation",
    "export": "hrkd.run.export",
    "export_plain": "hrkd.deploy.export.plain",
    "fine_tune": "hrkd.training.trainers",
    "load_domains": "hrkd.data.readers.sources",
    "load_fine_tuned": "hrkd.models.loading",
    "load_grid": "hrkd.comparison.planning",
    "load_recipe": "hrkd.recipe.loading",
    "load_tokenizer": "hrkd.models.tokenizers",
    "new_teacher": "hrkd.models.scratch",
    "plan": "hrkd.run.plan",
    "split_domains": "hrkd.data.splits.split",
    "start_student": "hrkd.models.start.student",
    "synthetic_reviews": "hrkd.data.synthetic.corpus",
    "tokenize": "hrkd.data.batching",
    "train_baseline": "hrkd.run.commands",
    "train_teacher": "hrkd.run.commands",
    "word_tokenizer": "hrkd.models.scratch",
}


def __getattr__(name: str) -> Any:
    """The public name ``name``, imported now (PEP 562)."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("hrkd")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
