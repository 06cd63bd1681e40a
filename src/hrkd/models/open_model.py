"""Opening the folder of a multi-domain model (student or teacher), with messages that say what was found instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.errors import ArtifactError, ModelError
from hrkd.models.kind import is_own
from hrkd.support.atomic_files import read_json
from hrkd.support.domain_index import read_domain_index
from hrkd.support.manifest import check_manifest
from hrkd.support.messages import did_you_mean, first_line, first_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.models.multi_domain import MultiDomainClassifier

__all__ = ["ModelFacts", "open_model", "read_facts"]


@dataclass(frozen=True)
class ModelFacts:
    """What the folder of a model says of it.

    Args:
        domains, labels: names, in the order of their numbers.
        max_tokens: longest input, in tokens.
        one_head: it says the same of a text whatever its domain.
        columns: names of ``text``, ``text_pair`` (None: it takes single texts), ``label`` and ``domain`` in the table
            that it was made from; None: an older model, of which it is not known.
    """

    domains: list[str]
    labels: list[str]
    max_tokens: int
    one_head: bool
    columns: dict[str, str | None] | None

    @property
    def pairs(self) -> bool | None:
        """Whether it takes pairs of texts; None: not known."""
        return None if self.columns is None else self.columns["text_pair"] is not None


def read_facts(folder: str | Path) -> ModelFacts:
    """What the folder of a model that hrkd wrote says of it, once its files are found to be whole; none is opened.

    Raises:
        ArtifactError: the folder is missing, holds something else, or is damaged.
    """
    folder = Path(folder).expanduser()
    config = _check(folder)
    labels = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # which transformers leaves out
    domains, columns, longest = config.get("domains"), config.get("columns"), config.get("max_tokens", 128)
    if (
        not isinstance(domains, list)
        or not _are_names(domains)
        or not isinstance(labels, dict)
        or not _are_names(list(labels.values()))
    ):
        raise ArtifactError(f"{folder / 'config.json'}: names no domains or labels; restore the folder or make it anew")
    roles = {"text", "text_pair", "label", "domain"}
    sound = columns is None or (isinstance(columns, dict) and set(columns) == roles)
    if not sound or not isinstance(longest, int) or sorted(labels, key=str) != sorted(map(str, range(len(labels)))):
        raise ArtifactError(
            f"{folder / 'config.json'}: its labels, columns or max_tokens are no longer what was written; restore the "
            "folder or make it anew"
        )
    in_order = [labels[i] for i in sorted(labels, key=int)]
    return ModelFacts(domains, in_order, longest, config.get("heads") == "shared", columns)


def _are_names(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(name, str) for name in value)


def open_model(folder: str | Path) -> tuple[MultiDomainClassifier, PreTrainedTokenizerBase]:
    """Model (in evaluation mode) and tokenizer from a folder that hrkd wrote.

    Raises:
        ArtifactError: the folder is missing, holds something else, or is damaged.
    """
    folder = Path(folder).expanduser()
    _check(folder)  # before the imports, which take far longer
    from safetensors import SafetensorError

    from hrkd.models.multi_domain import MultiDomainClassifier
    from hrkd.models.tokenizers import load_tokenizer

    try:
        model, tokenizer = MultiDomainClassifier.from_pretrained(folder), load_tokenizer(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ModelError) as error:
        raise ArtifactError(
            f"{folder}: the model cannot be loaded ({first_line(error)}); restore the folder or make it anew"
        ) from error
    return model.eval(), tokenizer


def _check(folder: Path) -> dict[str, Any]:
    """The model's configuration."""
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "no such folder"
        raise ArtifactError(f"{folder}: {what}; expected the folder of a student, such as runs/NAME/student")
    if not (folder / "config.json").is_file():
        if not read_domain_index(folder):
            check_manifest(folder)
        raise ArtifactError(f"{folder}: no hrkd model: config.json is missing; {_found_instead(folder)}")
    config = read_json(folder / "config.json", what="the model's configuration")
    if not isinstance(config, dict) or not is_own(config):
        raise ArtifactError(f"{folder}: no hrkd model but {_other_model(config)}")
    check_manifest(folder)
    if not (folder / "tokenizer_config.json").is_file():
        raise ArtifactError(f"{folder}: the tokenizer is missing (tokenizer_config.json); restore the folder")
    return config


def _found_instead(folder: Path) -> str:
    if index := read_domain_index(folder):
        what = "an export of plain classifiers" if index.holds == "plain" else "a teacher with a model"
        folders = ", ".join(map(str, index.folders.values()))
        return f"this is the folder of {what} for each domain; take one of {folders}"
    inside = [path.name for path in sorted(folder.iterdir()) if (path / "config.json").is_file()]
    if "levels" in inside and "student" not in inside:
        return "this is the folder of a run whose student is not finished yet; hrkd compress goes on with it"
    if "student" in inside:
        return f"this is the folder of a run; its student is {folder / 'student'}"
    if inside:
        return did_you_mean(folder / inside[0])
    names = sorted(path.name for path in folder.iterdir())
    return f"found {first_of(names)}" if names else "the folder is empty"


def _other_model(config: Any) -> str:
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind is None:
        return "a config.json without model_type; give the folder of a student"
    classes = config.get("architectures") or []
    what = f"a plain {kind} model ({', '.join(classes)})" if classes else f"a plain {kind} model"
    if any("ForSequenceClassification" in name for name in classes):
        return f"{what}; use it with transformers.pipeline('text-classification')"
    return f"{what}; give the folder of a student"
