"""Push an export to the Hugging Face hub, private unless told otherwise. The token is the library's to find."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from eval.redaction import redact_text
from rewards.core import ExitCode, UserError, first_line

ALLOWED = ("*.safetensors", "*.json", "*.jinja", "*.md", "*.model", "*.gguf")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_repo(repo: str | None) -> str:
    """The repository's id. Raises UserError for none, and for what is no id."""
    if repo is None or not _REPO.fullmatch(repo):
        raise UserError(f"--repo {repo!r}: write owner/name")
    return repo


def push(folder: Path, repo: str, public: bool, api: Any = None) -> str:
    """Make the repository where there is none, upload the folder, and give its address. `api`: a HfApi, for tests.

    A repository that is there keeps its visibility, but a public one is refused unless `public` is set. Raises
    UserError, exit code 14, when the hub refuses; its message never holds the token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = api if api is not None else HfApi()
    try:
        api.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        if not public and not api.model_info(repo).private:
            raise UserError(f"{repo} is public already; give --public to push there, or choose another --repo")
        api.upload_folder(
            repo_id=repo,
            folder_path=str(folder),
            repo_type="model",
            allow_patterns=list(ALLOWED),
            commit_message="Upload from reasoning-toolkit",
        )
    except LocalTokenNotFoundError as error:
        raise UserError("the hub needs a token: hf auth login, or HF_TOKEN in the environment") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = redact_text(first_line(error))
        # `from None`: the cause may hold a request with its headers
        raise UserError(
            f"the hub refuses {repo}: {reason}. Is the token allowed to write there?", ExitCode.FAILED
        ) from None
    return f"hub: {repo}, {'public' if public else 'private'}"
