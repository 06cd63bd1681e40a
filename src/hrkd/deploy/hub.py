"""Putting a folder on the Hugging Face Hub, when it is asked for."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hrkd.deploy.export_folder import EXPORT
from hrkd.errors import HrkdError
from hrkd.support.domain_index import INDEX
from hrkd.support.manifest import MANIFEST, listed_names
from hrkd.support.messages import first_line

__all__ = ["check_hub_name", "push_to_hub"]

CARD = "README.md"
OURS = ("model.onnx", "model.xml", "model.bin", EXPORT, INDEX, "tokenizer.json")
"""Beside the card, what exports of the several forms hold: where it is not in the new one, it was another form's."""


def check_hub_name(name: str) -> None:
    """Whether a repository can be called so.

    Raises:
        HrkdError: it cannot.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HrkdError(f"--push-to-hub: {name!r} is no name of a repository ({first_line(error)})") from None


def push_to_hub(folder: Path, name: str, *, api: HfApi | None = None) -> str:
    """Upload what hrkd wrote into ``folder``, in one commit; what others put there stays at home. Returns the address.

    Files of an earlier export that are not in this one go.

    Args:
        folder: of an export or a model.
        name: of the repository, such as ``me/reviews``; it is made, private, if there is none.
        api: the Hub's client; default: that of the token in the environment.

    Raises:
        HrkdError: the Hub cannot be reached, or refuses.
    """
    check_hub_name(name)
    client = api or HfApi()
    files = [*(listed_names(folder) or []), MANIFEST, CARD]
    for inner in folder.iterdir():  # a plain export: a folder for each domain, each with a list of its own
        if inner.is_dir() and not inner.is_symlink():
            files += [f"{inner.name}/{file}" for file in (*(listed_names(inner) or []), MANIFEST)]
    try:
        client.create_repo(name, private=True, exist_ok=True)
        commit = client.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns=[*OURS],
            commit_message="Written by hrkd",
        )
    except Exception as error:  # the client's, its transport's, and the system's
        raise HrkdError(
            f"--push-to-hub {name}: {first_line(error)}; the folder {folder} is finished. Log in (hf auth login) as "
            "somebody who may write there, and upload it again"
        ) from error
    return str(commit.repo_url)
