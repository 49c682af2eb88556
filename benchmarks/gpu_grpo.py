"""Placeholder."""

from typing import Any

ARMS: dict[str, Any] = {}


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Nothing yet."""
