"""Recipes: their sections (sections.py), and reading and checking them (reading.py)."""

from toolkit.config.reading import apply_overrides, check_recipe, dump_recipe, load_recipe
from toolkit.config.sections import (
    ColumnsConfig,
    ConversationsConfig,
    DataConfig,
    GrpoConfig,
    LoraConfig,
    ModelConfig,
    Recipe,
    Section,
    SftConfig,
)

__all__ = [
    "ColumnsConfig",
    "ConversationsConfig",
    "DataConfig",
    "GrpoConfig",
    "LoraConfig",
    "ModelConfig",
    "Recipe",
    "Section",
    "SftConfig",
    "apply_overrides",
    "check_recipe",
    "dump_recipe",
    "load_recipe",
]
