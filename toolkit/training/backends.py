"""Who loads the model and attaches the adapter. A backend is a name and a module:Class, imported only when chosen."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from toolkit.config import LoraConfig, ModelConfig
from toolkit.models import ResolvedModel

BACKENDS = {
    "unsloth": "toolkit.training.unsloth_backend:UnslothBackend",
    "transformers": "toolkit.training.transformers_backend:TransformersBackend",
}


class TrainBackend(Protocol):
    """Loads a model for training. The trainers are TRL's whatever the backend."""

    def load(self, model: ModelConfig, resolved: ResolvedModel, lora: LoraConfig, seed: int) -> tuple[Any, Any]:
        """Give (model, tokenizer): resolved.adapter goes on, a new one begins, or (tuning full) all weights train."""
        ...


def training_backend(name: str) -> TrainBackend:
    """The backend of that name. Import it before trl and transformers: unsloth patches both on import."""
    module, _, class_name = BACKENDS[name].partition(":")
    backend: TrainBackend = getattr(importlib.import_module(module), class_name)()
    return backend


def trained_dir(stage_dir: Path, tuning: str) -> Path:
    """Where a stage leaves what it trained: an adapter, or with tuning full all weights."""
    return stage_dir / ("weights" if tuning == "full" else "adapter")
