"""Putting a folder on the Hugging Face Hub, when it is asked for."""

from __future__ import annotations

import glob
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hrkd.deploy.export_folder import EXPORT
from hrkd.errors import HrkdError
from hrkd.support.domain_index import INDEX
from hrkd.support.manifest import MANIFEST, listed_names
from hrkd.support.messages import first_line

__all__ = ["check_hub", "push_to_hub"]

CARD = "README.md"
REFUSED = (401, 403)
"""Status of an answer to somebody who may not."""
OURS = ("model.onnx", "model.xml", "model.bin", EXPORT, INDEX, "tokenizer.json")
"""What exports of the several forms hold, wherever there is no list of their files."""


def check_hub(name: str, *, api: HfApi | None = None) -> None:
    """Whether something can be put there, before it is made: the name, the way to the Hub, and who is logged in.

    Args:
        name: of the repository.
        api: as :func:`push_to_hub`.

    Raises:
        HrkdError: it cannot; says which of these is wrong.
    """
    _check_name(name)
    try:
        (api or HfApi()).whoami()
    except Exception as error:  # the client's, its transport's, and the system's
        raise HrkdError(f"--push-to-hub {name}: {_cause_of(error)}. Nothing was exported") from error


def _cause_of(error: Exception) -> str:
    """What keeps one from the Hub, and what to do."""
    if isinstance(error, LocalTokenNotFoundError):
        return "nobody is logged in here; log in (hf auth login), or set HF_TOKEN"
    answer = getattr(error, "response", None)
    if getattr(answer, "status_code", None) in REFUSED:
        return f"the Hub refuses ({first_line(error)}); log in (hf auth login) as somebody who may write there"
    if answer is not None:
        return f"the Hub answers with an error ({first_line(error)}); try again later"
    return f"the Hub cannot be reached ({first_line(error)}); see to the network"


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise HrkdError(f"--push-to-hub: {name!r} is no name of a repository ({first_line(error)})") from None


def push_to_hub(folder: Path, name: str, *, api: HfApi | None = None) -> str:
    """Upload what hrkd wrote into ``folder``, in one commit; what others put there stays at home. Returns the address.

    Files that an earlier upload's own lists name (``manifest.json`` there, and in each domain's folder) and that are
    not in this one go, in the same commit; so do the files of other forms that are known by their names.

    Args:
        folder: of an export or a model.
        name: of the repository, such as ``me/reviews``; it is made, private, if there is none.
        api: the Hub's client; default: that of the token in the environment.

    Raises:
        HrkdError: the Hub cannot be reached, or refuses.
    """
    _check_name(name)
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
            delete_patterns=[*OURS, *map(glob.escape, _earlier(client, name) - set(files))],
            commit_message="Written by hrkd",
        )
    except Exception as error:  # the client's, its transport's, and the system's
        raise HrkdError(
            f"--push-to-hub {name}: {_cause_of(error)}, then upload {folder}, which is finished (hf upload)"
        ) from error
    return str(commit.repo_url)


def _earlier(client: HfApi, name: str) -> set[str]:
    """Files of a repository that hrkd's lists there name, and these lists."""
    there, found = set(client.list_repo_files(name)), set[str]()
    lists = [file for file in there if Path(file).name == MANIFEST and file.count("/") <= 1]
    with tempfile.TemporaryDirectory(prefix="hrkd-") as folder:
        for file in lists:
            client.hf_hub_download(name, file, local_dir=folder)
            place = Path(file).parent
            if (listed := listed_names(Path(folder) / place)) is not None:  # else another tool's file of that name
                found |= {file, *((place / each).as_posix() for each in listed)}
    return found & there
