"""Keep secrets out of what is written: manifests, logs, messages.

A secret is known by where it stands (a key such as `api_key`), by its form (a token of a provider that marks its own, a
bearer header, a password in an address), or by being the value of an environment variable that holds one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MASK = "***"
# api_key_env and the like name a variable, max_tokens counts: neither is a secret.
SECRET_KEY = re.compile(r"(^|_)(api_?key|token|secret|password|passwd|authorization|credentials?)$", re.IGNORECASE)
SECRET_VARIABLE = re.compile(r"(_|^)((API|ACCESS|SECRET|PRIVATE)_?KEY|TOKEN|SECRET|PASSWORD)$")
PERHAPS_SECRET = re.compile(r"(_|^)KEY$")  # OPENROUTER_KEY, but SORT_KEY too: its value tells
_LIKE_A_SECRET = re.compile(r"(?=\S*[A-Za-z])(?=\S*[0-9])\S{16,}")
SHORTEST = 8  # characters: what is shorter may be any word
_FORMS = re.compile(
    r"\b(?:hf_|gsk_|gh[oprsu]_|r8_|fw_)[A-Za-z0-9]{16,}"  # Hugging Face, Groq, GitHub, Replicate, Fireworks
    r"|\bgithub_pat_[A-Za-z0-9_]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI and its like
    # NVIDIA, xAI, Perplexity, GitLab; names of models begin so too
    r"|\b(?:nvapi|xai|pplx|glpat)-(?=[a-z0-9_-]{0,64}[A-Z])(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{16,}"  # Google
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=[Bb]asic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=://)[^/\s:@]{1,256}:[^/\s@]{1,256}(?=@)"
)


def redacted(value: Any) -> Any:
    """A JSON value without its secrets: texts are masked in part, values of secret keys whole."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: MASK if _is_secret(key, item) else redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, str) and bool(value) and SECRET_KEY.search(key) is not None


def redact_text(text: str, key: str = "") -> str:
    """The text with every secret in it masked, and the key that is known to be one. Linear in its length."""
    for secret in [*environment_secrets(), *([key] if len(key) >= SHORTEST else [])]:
        text = text.replace(secret, MASK)
    return _FORMS.sub(MASK, text)


def secret_keys(value: Any, path: str = "") -> list[str]:
    """Where a value holds something that `redacted` would mask, as a.b.c paths."""
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}" if path else str(key), key, item) for key, item in value.items()]
        return [
            place
            for where, key, item in inner
            for place in ([where] if _is_secret(key, item) else secret_keys(item, where))
        ]
    if isinstance(value, list | tuple):
        return [place for index, item in enumerate(value) for place in secret_keys(item, f"{path}.{index}")]
    return [path] if isinstance(value, str) and redact_text(value) != value else []


def environment_secrets() -> list[str]:
    """Values of HF_TOKEN, WANDB_API_KEY, OPENAI_API_KEY and their like, longest first."""
    found = {value for name, value in os.environ.items() if _holds_secret(name, value)}
    return sorted(found, key=len, reverse=True)


def _holds_secret(name: str, value: str) -> bool:
    if SECRET_VARIABLE.search(name):
        return len(value) >= SHORTEST
    return PERHAPS_SECRET.search(name) is not None and _LIKE_A_SECRET.fullmatch(value) is not None


def scrub(path: Path) -> None:
    """Mask the secrets in a finished text file, in place; nothing happens to a file without any."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    clean = redact_text(text)
    if clean != text:
        path.write_text(clean, encoding="utf-8", errors="surrogateescape")
