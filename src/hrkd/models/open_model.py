"""Opening the folder of a multi-domain model (student or teacher), with messages that say what was found instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hrkd.data.rows import fault_of
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.folder import CONFIG, ModelFolder, found_instead, look_into, read_fields, unfinished_run
from hrkd.models.kind import is_own, neighbour
from hrkd.recipe.schema import Keep
from hrkd.support.arguments import path_of
from hrkd.support.domain_index import read_domain_index
from hrkd.support.manifest import check_manifest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.models.multi_domain import MultiDomainClassifier, MultiDomainConfig

__all__ = ["ModelFacts", "are_columns", "are_names", "open_model", "own_config", "read_facts"]

ROLES = {"text", "text_pair", "label", "domain"}
RESTORE = "restore the folder or make it anew"


@dataclass(frozen=True)
class ModelFacts:
    """What the folder of a model says of it.

    Args:
        domains, labels: names, in the order of their numbers.
        max_tokens: longest input, in tokens.
        keep: what is read of a longer text.
        one_head: it says the same of a text whatever its domain.
        columns: names of ``text``, ``text_pair`` (None: it takes single texts), ``label`` and ``domain`` in the table
            that it was made from; None: an older model, of which it is not known.
        routes: it can find the domain of a text by itself.
    """

    domains: list[str]
    labels: list[str]
    max_tokens: int
    one_head: bool
    columns: dict[str, str | None] | None
    keep: Keep = "head"
    routes: bool = False

    @property
    def pairs(self) -> bool | None:
        """Whether it takes pairs of texts; None: not known."""
        return None if self.columns is None else self.columns["text_pair"] is not None


def read_facts(folder: str | Path) -> ModelFacts:
    """What the folder of a model that hrkd wrote says of it, once its files are found to be whole; none is opened.

    Raises:
        ArtifactError: the folder is missing, holds something else, or is damaged.
    """
    return _facts(_check(path_of("folder", folder, "the folder of a student"), weights=False))


def _facts(folder: ModelFolder) -> ModelFacts:
    config, place = folder.fields, folder.path / CONFIG
    labels = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # which transformers leaves out
    domains: Any = config.get("domains")
    columns, longest = config.get("columns"), config.get("max_tokens", 128)
    heads, keep = config.get("heads", "per_domain"), config.get("keep", "head")
    if not are_names(domains) or not isinstance(labels, dict) or not are_names([*labels.values()]):
        raise ArtifactError(f"{place}: names no domains or labels, or one twice; {RESTORE}")
    in_order = set(labels) == set(map(str, range(len(labels))))
    if (
        not (columns is None or are_columns(columns))
        or not (type(longest) is int and longest > 0 and in_order)
        or heads not in ("per_domain", "shared")
        or keep not in get_args(Keep)
    ):
        raise ArtifactError(
            f"{place}: its labels, columns, heads, keep or max_tokens are no longer what was written; {RESTORE}"
        )
    names = [labels[i] for i in sorted(labels, key=int)]
    return ModelFacts(domains, names, longest, heads == "shared", columns, keep, _router_of(folder) is not None)


def _router_of(folder: ModelFolder) -> dict[str, float] | None:
    """What its configuration says of a router; None: there is none."""
    router = folder.fields.get("router")
    if router is None:
        return None
    level, sharpness = (router.get(name) if isinstance(router, dict) else None for name in ("level", "sharpness"))
    if type(level) is not int or not isinstance(sharpness, float):
        raise ArtifactError(f"{folder.path / CONFIG}: its router is no longer what was written; {RESTORE}")
    return {"level": level, "sharpness": sharpness}


def are_columns(value: Any) -> bool:
    """Whether a value names the columns of a table by their roles."""
    names = value.values() if isinstance(value, dict) and set(value) == ROLES else [0]
    return all(name is None or isinstance(name, str) for name in names)


def are_names(value: Any) -> bool:
    """Whether a value is a list of different names."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) and fault_of(name) is None for name in value)
        and len(set(value)) == len(value)
    )


def own_config(folder: str | Path) -> MultiDomainConfig:
    """The configuration of a model that hrkd wrote; no weight is read.

    Raises:
        ArtifactError: the folder is missing, holds something else, or is damaged.
    """
    return _config(_check(path_of("folder", folder, "the folder of a student")))


def open_model(folder: str | Path) -> tuple[MultiDomainClassifier, PreTrainedTokenizerBase]:
    """Model (in evaluation mode, in 32 bits) and tokenizer from a folder that hrkd wrote.

    Raises:
        ArtifactError: the folder is missing, holds something else, or is damaged; weights or outputs are no numbers.
    """
    found = _check(path_of("folder", folder, "the folder of a student"))  # before the imports, which take far longer
    config = _config(found)
    from hrkd.models.families import longest_input
    from hrkd.models.multi_domain import MultiDomainClassifier
    from hrkd.models.plain import check_size
    from hrkd.models.probe import check_finite, check_outputs, opening
    from hrkd.models.tokenizers import check_fits, load_tokenizer

    with _damaged(), opening(found.path, "the model cannot be loaded", RESTORE):
        check_size(config.plain_config(), lambda: MultiDomainClassifier(config), found, found.path)
        model = MultiDomainClassifier.from_pretrained(found.path, config=config, local_files_only=True).eval()
        longest = longest_input(model.encoder)
        if longest is not None and config.max_tokens > longest:
            raise ModelError(
                f"{found.path / CONFIG}: max_tokens: {config.max_tokens}, the encoder takes {longest}; {RESTORE}"
            )
        tokenizer = load_tokenizer(found.path)
        pairs = (config.columns or {}).get("text_pair") is not None
        check_fits(tokenizer, model.encoder.config, pairs=pairs, where=str(found.path))
        check_finite(model, found.path)
        check_outputs(model, tokenizer, where=found.path)
    return model, tokenizer


def _config(folder: ModelFolder) -> MultiDomainConfig:
    facts = _facts(folder)
    from hrkd.models.multi_domain import MultiDomainConfig
    from hrkd.models.plain import check_family
    from hrkd.models.probe import opening

    encoder = folder.fields.get("encoder")
    if not isinstance(encoder, dict):
        raise ArtifactError(
            f"{folder.path / CONFIG}: encoder: expected its configuration, found {encoder!r}; {RESTORE}"
        )
    with _damaged(), opening(folder.path, "its configuration cannot be read", RESTORE):
        check_family(encoder, folder.path)
        config = MultiDomainConfig(
            encoder=encoder,
            domains=facts.domains,
            heads="shared" if facts.one_head else "per_domain",
            max_tokens=facts.max_tokens,
            keep=facts.keep,
            domain_head=folder.fields.get("domain_head") is True,
            router=_router_of(folder),
            columns=facts.columns,
            hrkd_version=folder.fields.get("hrkd_version"),
            id2label=dict(enumerate(facts.labels)),
            label2id={name: i for i, name in enumerate(facts.labels)},
        )
        config.plain_config()
    return config


@contextmanager
def _damaged() -> Iterator[None]:
    """In a folder that hrkd wrote, what is wrong with a model is damage."""
    try:
        yield
    except ModelError as error:
        raise ArtifactError(str(error)) from error


def _check(folder: Path, *, weights: bool = True) -> ModelFolder:
    """The folder, once it is known to be that of a model of hrkd with all its files."""
    with _damaged():
        try:
            is_folder, is_file = folder.is_dir(), folder.is_file()
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder}: cannot be read ({error})") from error
        if not is_folder:
            what = "is a file" if is_file else f"no such folder{neighbour(folder)}"
            run = unfinished_run(folder.parent) if folder.name == "student" else ""
            wanted = "expected the folder of a student, such as runs/NAME/student"
            raise ArtifactError(f"{folder}: {what}; {f'{folder.parent} is {run}' if run else wanted}")
        if not (folder / CONFIG).is_file():
            index = read_domain_index(folder)
            if not index:
                check_manifest(folder)
            elif index.holds == "plain":
                first = next(iter(index.folders.values()))
                raise ArtifactError(
                    f"{folder}: no hrkd model but an export of plain classifiers, one for each domain; use them with "
                    f"transformers.pipeline('text-classification', '{first}', truncation=True), or give the student"
                )
            raise ArtifactError(f"{folder}: no hrkd model: {CONFIG} is missing; {found_instead(folder)}")
        config = read_fields(folder, folder)
        if not is_own(config):
            raise ArtifactError(f"{folder}: no hrkd model but {_other_model(config)}")
        found = look_into(folder, weights=weights)
        if not (folder / "tokenizer_config.json").is_file():
            raise ArtifactError(f"{folder}: the tokenizer is missing (tokenizer_config.json); restore the folder")
    return found


def _other_model(config: Any) -> str:
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind is None:
        return "a config.json without model_type; give the folder of a student"
    given = config.get("architectures")
    classes = list(map(str, given)) if isinstance(given, list) else []
    what = f"a plain {kind} model ({', '.join(classes)})" if classes else f"a plain {kind} model"
    if any("ForSequenceClassification" in name for name in classes):
        return f"{what}; use it with transformers.pipeline('text-classification')"
    return f"{what}; give the folder of a student"
