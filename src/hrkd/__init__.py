"""Distil a fine-tuned encoder that serves many domains into one small, fast student.

The public names, each imported from its module when it is first used, so that ``import hrkd`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrkd.comparison.command import compare
    from hrkd.comparison.planning import load_grid
    from hrkd.data.readers.sources import load_domains
    from hrkd.data.splits.split import split_domains
    from hrkd.data.types import MultiDomainDataset
    from hrkd.deploy.export import export_plain
    from hrkd.deploy.predict import Predictor
    from hrkd.errors import ArtifactError, DataError, HrkdError, ModelError, RecipeError, TrainingError
    from hrkd.models.multi_domain import MultiDomainClassifier
    from hrkd.recipe.loading import load_recipe
    from hrkd.recipe.schema import Recipe
    from hrkd.run.commands import compress, distill, evaluate, train_baseline, train_teacher
    from hrkd.run.describe_data import describe_data
    from hrkd.training.trainers import distill_from_models

    __version__: str

__all__ = [
    "ArtifactError",
    "DataError",
    "HrkdError",
    "ModelError",
    "MultiDomainClassifier",
    "MultiDomainDataset",
    "Predictor",
    "Recipe",
    "RecipeError",
    "TrainingError",
    "__version__",
    "compare",
    "compress",
    "describe_data",
    "distill",
    "distill_from_models",
    "evaluate",
    "export_plain",
    "load_domains",
    "load_grid",
    "load_recipe",
    "split_domains",
    "train_baseline",
    "train_teacher",
]

_HOMES = {
    "ArtifactError": "hrkd.errors",
    "DataError": "hrkd.errors",
    "HrkdError": "hrkd.errors",
    "ModelError": "hrkd.errors",
    "MultiDomainClassifier": "hrkd.models.multi_domain",
    "MultiDomainDataset": "hrkd.data.types",
    "Predictor": "hrkd.deploy.predict",
    "Recipe": "hrkd.recipe.schema",
    "RecipeError": "hrkd.errors",
    "TrainingError": "hrkd.errors",
    "compare": "hrkd.comparison.command",
    "compress": "hrkd.run.commands",
    "describe_data": "hrkd.run.describe_data",
    "distill": "hrkd.run.commands",
    "distill_from_models": "hrkd.training.trainers",
    "evaluate": "hrkd.run.commands",
    "export_plain": "hrkd.deploy.export",
    "load_domains": "hrkd.data.readers.sources",
    "load_grid": "hrkd.comparison.planning",
    "load_recipe": "hrkd.recipe.loading",
    "split_domains": "hrkd.data.splits.split",
    "train_baseline": "hrkd.run.commands",
    "train_teacher": "hrkd.run.commands",
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
