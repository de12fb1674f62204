"""Models on a hub (extra `hub`): folders of `pixpnet export`, fetched and sent by ``huggingface_hub``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.errors import CheckpointError, ConfigError
from pixpnet.runs import MODEL_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CONTENT = (MODEL_FILE, "config.json", "README.md", "results/*.json", "thumbnails/*.png")
"""What a folder of `pixpnet export` holds: nothing else of a repository is fetched, or replaced."""


def fetch_model(
    repo_id: str,
    *,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
) -> Path:
    """The folder of a repository's model in the cache, which is brought up to date if the hub can be asked.

    Args: as `Model.from_pretrained`.

    Raises:
        CheckpointError: It can't be fetched and is not in the cache, or is no model of PixPNet.
        ConfigError: The extra is missing.
    """
    failed = f"{repo_id} is no folder here, and can't be fetched from the hub"
    with _hub(token, failed=failed, revision=revision) as api:
        folder = Path(
            api.snapshot_download(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                allow_patterns=list(CONTENT),
            )
        )
    if not (folder / MODEL_FILE).is_file():
        raise CheckpointError(f"{repo_id} on the hub is no model of PixPNet: it has no {MODEL_FILE}.")
    return folder


def send_model(folder: Path, repo_id: str, *, private: bool, token: str | bool | None) -> str:
    """Make the folder of a model what a repository holds of `CONTENT`, and give the address of the commit.

    Args: as `Model.push_to_hub`.

    Raises:
        CheckpointError: The hub doesn't take it.
        ConfigError: The extra is missing.
    """
    with _hub(token, failed=f"the model can't be sent to {repo_id}") as api:
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            delete_patterns=list(CONTENT),
            commit_message="A model of PixPNet",
        )
        return done.commit_url


@contextmanager
def _hub(token: str | bool | None, *, failed: str, revision: str | None = None) -> Iterator[HfApi]:
    """The hub to ask; what goes wrong then becomes one line."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ConfigError("the hub needs huggingface_hub: pip install 'pixpnet[hub]'.") from error
    try:
        # The library itself reads HF_ENDPOINT only once, when it is imported.
        yield HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None, token=token)
    except Exception as error:  # of HTTP, of files, of what is written in Rust: they have no common base
        raise CheckpointError(f"{failed}: {_reason(error, revision)}") from error


def _reason(error: Exception, revision: str | None) -> str:
    """What went wrong, and what to do next."""
    from huggingface_hub import errors

    told = _first_line(error)
    if isinstance(error, errors.HFValidationError):
        return "no repository can be named so; wanted USER/NAME."
    if isinstance(error, errors.GatedRepoError):
        return "its owner chooses who gets it; ask on its page, and log in (`hf auth login`)."
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository for you; if it is a private one, log in (`hf auth login`)."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}; give a branch, a tag or a commit of it."
    if isinstance(error, errors.LocalEntryNotFoundError):
        why = _first_line(error.__cause__) if error.__cause__ else "local_files_only"
        return (
            f"it is not whole in the cache, and nothing came from the hub ({why}); go online, and try again."
        )
    if isinstance(error, errors.HfHubHTTPError):
        told = error.server_message or told
        if error.response.status_code in (401, 403):
            return f"you may not ({told}); log in (`hf auth login`) as who may."
    return f"{told}; try again."


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
