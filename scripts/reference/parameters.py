"""docs/reference/parameters.md, from toolkit/config/sections.py and toolkit/config/parameters.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml

import toolkit.config
from toolkit.config import ConversationsConfig, Recipe, Section
from toolkit.config.sections import FILE_DATA

TEXTS = Path(toolkit.config.__file__).with_name("parameters.yaml")
PARTS = {"does": "What it does", "change": "Change it", "range": "Sane", "wrong": "What goes wrong"}


HEAD = """\
# Every key of a recipe

Written by `make docs` from `toolkit/config/sections.py` and `toolkit/config/parameters.yaml`; don't edit it here.
Any key can be overridden on the command line: `--set grpo.learning_rate=1e-5`."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a recipe. name: in parameters.yaml; shown: as a recipe has it; schema: its JSON Schema."""

    name: str
    shown: str
    section: type[Section]
    schema: Mapping[str, Any]
    required: bool


def keys(section: type[Section] = Recipe, prefix: str = "", shown: str = "") -> Iterator[Key]:
    """Every key that holds a value: those of a section itself, then those of the sections in it."""
    schema = section.model_json_schema()
    below: list[tuple[type[Section], str, str]] = []
    for name, field in section.model_fields.items():
        nested = list(_sections(field.annotation))
        if not nested:
            required = name in schema.get("required", ())
            yield Key(f"{prefix}{name}", f"{shown}{name}", section, schema["properties"][name], required)
        for each in nested:
            own = FILE_DATA if each is ConversationsConfig else f"{prefix}{name}"
            below.append((each, f"{own}.", f"{shown}{name}."))
    for each, inner, inner_shown in below:
        yield from keys(each, inner, inner_shown)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


@cache
def texts() -> dict[str, dict[str, str]]:
    """The teaching text of each key, by its name."""
    read: dict[str, dict[str, str]] = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    return read


def parameters_page() -> str:
    """The page, as Markdown."""
    out = [HEAD]
    section: type[Section] | None = None
    for key in keys():
        if key.section is not section:
            section = key.section
            out += ["", f"## {_title(key)}", "", (section.__doc__ or "").strip()]
        out += ["", f"### `{key.shown}` {{ #{key.name.replace('.', '-')} }}", "", _facts(key), ""]
        out += [f"- **{title}:** {texts()[key.name][part]}" for part, title in PARTS.items()]
    return "\n".join(out) + "\n"


def _title(key: Key) -> str:
    inner = key.shown.rpartition(".")[0]
    if not inner:
        return "The recipe itself"
    if key.section is ConversationsConfig:
        return "`data`, of a file"
    return f"`{inner}`"


def _facts(key: Key) -> str:
    default = "required" if key.required else f"default {_default(key.schema)}"
    return f"{key.schema['description']} ({_kind(key.schema)}; {default})"


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    if value is None:
        return "none"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in words, with its bounds."""
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    name = {"string": "text", "boolean": "true or false", "null": "none", "array": "a list", "object": "a mapping"}
    word = name.get(schema["type"], schema["type"])
    bounds = [
        f"{sign} {schema[bound]}"
        for bound, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))
        if bound in schema
    ]
    return " ".join([word, ", ".join(bounds)]).strip()
