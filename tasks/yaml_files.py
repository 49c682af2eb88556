"""YAML as people write it: read safely, with the place of a mistake, and without values that blow up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rewards.core import UserError

MAX_BYTES, MAX_NODES = 1 << 18, 100_000  # of a file, its references followed
# What PyYAML lets through beside its own errors: a date that isn't one, a number of 5,000 digits, nesting without end.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)


def read_yaml(
    path: Path, kind: str = "recipe", absent: str = "no such file", shown: Path | None = None
) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises UserError that names the place for anything else.

    kind: what the file is, and absent: what to say where there is none. shown: the path for messages.
    """
    shown = shown or path
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{shown}: has more than {MAX_BYTES >> 10} KiB; is it a {kind}?")
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        _check_tree(raw)
    except FileNotFoundError as error:
        raise UserError(f"{shown}: {absent}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown}: can't be read as text: {error}") from error
    except (yaml.YAMLError, *UNREADABLE) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{shown}{place}: broken YAML: {yaml_problem(error)}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{shown}: a {kind} is a mapping of keys to values, this is {type(raw).__name__}")
    return raw


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML's own reader takes the last one in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """One mapping as it is written, before merges add keys to it."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def yaml_value(text: str, where: str) -> Any:
    """The value that a text on the command line stands for; `where` begins the error message."""
    try:
        value = yaml.safe_load(text)
        _check_tree(value)
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise UserError(f"{where}: the value isn't YAML: {yaml_problem(error)}") from error
    plain = isinstance(value, str) and not text.lstrip().startswith(("'", '"', "|", ">", "&", "!"))
    return text.strip() if plain else value  # nobody comments a command line: "my #1.csv" is a name


def yaml_problem(error: Exception) -> str:
    """The reader's complaint, one line of it."""
    text = "nested too deeply" if isinstance(error, RecursionError) else str(getattr(error, "problem", None) or error)
    return (text.splitlines() or [type(error).__name__])[0]


def _check_tree(value: Any) -> None:
    """Raise YAMLError for what references blow up: a list that holds itself, or a few lines that mean millions."""
    sizes: dict[int, int] = {}

    def size_of(node: Any) -> int:
        if not isinstance(node, dict | list | set | tuple):
            return 1
        if sizes.get(id(node)) == 0:  # begun and not ended: we are inside it
            raise yaml.YAMLError("a value contains itself")
        if id(node) not in sizes:
            sizes[id(node)] = 0
            children = [*node, *node.values()] if isinstance(node, dict) else node
            sizes[id(node)] = 1 + sum(map(size_of, children))
        return sizes[id(node)]

    if size_of(value) > MAX_NODES:
        raise yaml.YAMLError(f"its references stand for more than {MAX_NODES} values")
